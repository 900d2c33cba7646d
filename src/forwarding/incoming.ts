import { join } from 'node:path';
import { closeSync, openSync, rmSync, writeSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import type { ForwardedFile } from './forwarded-transaction.js';
import { MAX_FORWARD_BYTES, MEMORY_FORWARD_BYTES } from './limits.js';

let files = 0;

/** The pieces of one transaction that a replica sends: gathered in memory, and in a file when they become many. */
export class Incoming {
  private pieces: Uint8Array[] = [];
  private size = 0;
  private path: string | undefined;
  private fd = -1;

  /** `folder`: for the file. */
  constructor(
    private readonly folder: string,
    readonly serial: number,
  ) {}

  /** Throws `FORWARD_BAD` when it is too large, or the system's error. */
  add(bytes: Uint8Array): void {
    this.size += bytes.length;
    if (this.size > MAX_FORWARD_BYTES) {
      throw new SluiceError('FORWARD_BAD', `a transaction of more than ${MAX_FORWARD_BYTES} bytes`, 'Make it smaller');
    }
    if (this.fd >= 0) {
      this.write(bytes);
      return;
    }
    this.pieces.push(bytes);
    if (this.size <= MEMORY_FORWARD_BYTES) return;
    this.path = join(this.folder, `forwarded-${process.pid}-${++files}`);
    this.fd = openSync(this.path, 'w');
    for (const piece of this.pieces.splice(0)) this.write(piece);
  }

  /** All of it came. */
  finish(): ForwardedFile {
    if (this.path === undefined) {
      const [first] = this.pieces;
      const bytes = this.pieces.length === 1 && first !== undefined ? first : Buffer.concat(this.pieces);
      return { kind: 'bytes', bytes };
    }
    this.close();
    return { kind: 'file', path: this.path };
  }

  /** It is of no use any more. */
  remove(): void {
    this.pieces = [];
    this.close();
    if (this.path !== undefined) rmSync(this.path, { force: true });
    this.path = undefined;
  }

  private write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.fd, bytes, at, bytes.length - at);
  }

  private close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }
}
