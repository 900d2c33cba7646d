import { readSync } from '../disk/index.js';

/** Bytes that can be read at any place, synchronously: a buffer, or a range of an open file. */
export interface ByteSource {
  readonly size: number;
  /** Reads up to `length` bytes at `position` into `target`; returns how many. Fewer only at the end. */
  read(target: Uint8Array, targetOffset: number, length: number, position: number): number;
}

/** A source over memory. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read(target, targetOffset, length, position) {
      const part = bytes.subarray(position, position + length);
      target.set(part, targetOffset);
      return part.length;
    },
  };
}

/** A source over `size` bytes at `offset` of an open file. The descriptor stays the caller's. */
export function fileSource(fd: number, offset: number, size: number): ByteSource {
  return {
    size,
    read(target, targetOffset, length, position) {
      const wanted = Math.min(length, size - position);
      let done = 0;
      while (done < wanted) {
        const n = readSync(fd, target, targetOffset + done, wanted - done, offset + position + done);
        if (n === 0) break;
        done += n;
      }
      return done;
    },
  };
}
