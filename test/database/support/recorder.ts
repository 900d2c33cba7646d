import type { WalRead } from '../../../src/database/wal-tracker.js';

/** A file in memory that takes writes as a FUSE worker's backing file does. */
export class MemoryFile {
  bytes = Buffer.alloc(0);

  write(position: number, data: Uint8Array): void {
    if (position + data.length > this.bytes.length) {
      this.bytes = Buffer.concat([this.bytes, Buffer.alloc(position + data.length - this.bytes.length)]);
    }
    this.bytes.set(data, position);
  }

  /** 0 behind its end, as from a file. */
  readonly read: WalRead = (target, length, position) =>
    position >= this.bytes.length ? 0 : this.bytes.copy(target, 0, position, position + length);
}
