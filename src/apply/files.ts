import { readSync, unlinkSync, writeSync } from 'node:fs';
import { errorCode } from '../errors.js';

/** Writes all of it; throws the system's error. */
export function writeFully(fd: number, bytes: Uint8Array, start: number, length: number, position: number): void {
  let done = 0;
  while (done < length) done += writeSync(fd, bytes, start + done, length - done, position + done);
}

/** Reads `length` bytes; what lies behind the end of the file becomes zeros. */
export function readOrZeros(fd: number, bytes: Uint8Array, start: number, length: number, position: number): void {
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, start + done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  bytes.fill(0, start + done, start + length);
}

/** Removes the file if it is there. */
export function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}
