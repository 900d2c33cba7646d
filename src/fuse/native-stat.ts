import { MAX_NAME_BYTES } from './protocol.js';
import type { Attributes, FileSystemAttributes } from './reply.js';

/** Writers of the arrays by which fuse-native is told of files; the same array each time, since it is copied at once. */

const TWO_32 = 0x1_0000_0000;

/**
 * 0 mode  1 uid  2 gid  3 size  5 dev  6 nlink  7 ino  8 rdev  9 blksize  10 blocks  12 atime  14 mtime  16 ctime; two
 * words where the next number is higher by two; times in milliseconds.
 */
export class NativeStat {
  readonly words = new Uint32Array(18);

  fill(a: Attributes, id: number, size: number, nlink: number): Uint32Array {
    const { words } = this;
    words[0] = a.mode;
    words[1] = a.uid;
    words[2] = a.gid;
    this.#put(3, size);
    words[6] = nlink;
    words[7] = id;
    words[8] = a.rdev;
    words[9] = a.blksize;
    this.#put(10, a.blocks);
    this.#put(12, a.atimeMs);
    this.#put(14, a.mtimeMs);
    this.#put(16, a.ctimeMs);
    return words;
  }

  #put(at: number, value: number): void {
    const whole = Math.max(0, Math.floor(value));
    this.words[at] = whole % TWO_32;
    this.words[at + 1] = Math.floor(whole / TWO_32);
  }
}

/**
 * 0 bsize  1 frsize  2 blocks  3 bfree  4 bavail  5 files  6 ffree  7 favail  8 fsid  9 flag  10 namemax. A word each: the
 * blocks of a large disk are told as fewer and larger ones.
 */
export function nativeStatfs(s: FileSystemAttributes): Uint32Array {
  let scale = 1;
  while (s.blocks / scale >= TWO_32) scale *= 2;
  const inWord = (value: number): number => Math.min(TWO_32 - 1, value);
  return Uint32Array.of(
    s.bsize * scale,
    s.bsize * scale,
    Math.floor(s.blocks / scale),
    Math.floor(s.bfree / scale),
    Math.floor(s.bavail / scale),
    inWord(s.files),
    inWord(s.ffree),
    inWord(s.ffree),
    0,
    0,
    MAX_NAME_BYTES,
  );
}
