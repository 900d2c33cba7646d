import { closeSync, openSync, readFileSync, writeSync } from '../disk/index.js';
import { F_RDLCK, F_WRLCK, type HeldLock, type LockRecorder, type LockTable } from './lock-table.js';

/**
 * The file `<run>/locks`: every lock held now, so that the next process on the same kernel mount knows what
 * applications believe they hold. Like `nodes` it lives as long as the mount and is never synced. Slots of 48 bytes,
 * little-endian; a slot with id 0 is free:
 *
 *   0 u64 node id  8 u32 owner low  12 u32 owner high  16 u64 start  24 u64 end  32 u32 type  36 u32 pid  40 u64 handle
 */
const SLOT_BYTES = 48;

export class LockFile implements LockRecorder {
  readonly #fd: number;
  readonly #slot = Buffer.alloc(SLOT_BYTES);
  readonly #free: number[] = [];
  #slots = 0;
  /** While the locks of an earlier process are taken over: what the file is to be, and nothing goes to the disk. */
  #gathered: Buffer | undefined;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Starts an empty one. */
  static create(path: string): LockFile {
    return new LockFile(openSync(path, 'w+'));
  }

  /**
   * Puts the locks that an earlier process wrote into `table`, and goes on with the file. A process that died while
   * it changed a lock may have left the old and the new one: the stronger holds, until its request, which the kernel
   * sends again, settles it. The file is overwritten where it stands and in one go: a full disk has no room for another.
   */
  static resume(path: string, table: LockTable): LockFile {
    const bytes = readFileSync(path);
    const file = new LockFile(openSync(path, 'r+'));
    file.#gathered = Buffer.alloc(bytes.length - (bytes.length % SLOT_BYTES));
    table.record(file);
    for (const type of [F_RDLCK, F_WRLCK]) {
      for (let at = 0; at + SLOT_BYTES <= bytes.length; at += SLOT_BYTES) {
        if (bytes.readUInt32LE(at + 32) !== type) continue;
        const [id, start, end, handle] = [0, 16, 24, 40].map((field) => Number(bytes.readBigUInt64LE(at + field)));
        if (!isLock(id!, start!, end!, handle!)) continue;
        const [low, high, pid] = [8, 12, 36].map((field) => bytes.readUInt32LE(at + field));
        table.set(id!, low!, high!, type, start!, end!, pid!, handle!);
      }
    }
    const gathered = file.#gathered;
    file.#gathered = undefined;
    if (gathered.length > 0) writeSync(file.#fd, gathered, 0, gathered.length, 0);
    return file;
  }

  write(id: number, lock: HeldLock): void {
    if (lock.slot < 0) lock.slot = this.#free.pop() ?? this.#slots++;
    const slot = this.#slot;
    putU64(slot, 0, id);
    slot.writeUInt32LE(lock.ownerLow, 8);
    slot.writeUInt32LE(lock.ownerHigh, 12);
    putU64(slot, 16, lock.start);
    putU64(slot, 24, lock.end);
    slot.writeUInt32LE(lock.type, 32);
    slot.writeUInt32LE(lock.pid, 36);
    putU64(slot, 40, lock.handle);
    this.#put(lock.slot);
  }

  clear(slot: number): void {
    this.#free.push(slot);
    this.#slot.fill(0);
    this.#put(slot);
  }

  #put(slot: number): void {
    const at = slot * SLOT_BYTES;
    if (this.#gathered === undefined) {
      writeSync(this.#fd, this.#slot, 0, SLOT_BYTES, at);
      return;
    }
    if (at === this.#gathered.length) this.#gathered = Buffer.concat([this.#gathered, this.#slot]);
    else this.#slot.copy(this.#gathered, at);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A free slot has id 0; what else `write` cannot have made is damaged, and nobody's. */
function isLock(id: number, start: number, end: number, handle: number): boolean {
  return id !== 0 && start <= end && [id, start, end, handle].every(Number.isSafeInteger);
}

function putU64(slot: Buffer, at: number, value: number): void {
  const low = value % 0x1_0000_0000;
  slot.writeUInt32LE(low, at);
  slot.writeUInt32LE((value - low) / 0x1_0000_0000, at + 4);
}
