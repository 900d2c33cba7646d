import { createRequire } from 'node:module';

/** `_IOR('f', 1, long)` and `_IOW('f', 2, long)`; the kernel reads and writes an int. */
const GET_FLAGS = 0x8008_6601;
const SET_FLAGS = 0x4008_6602;
const IMMUTABLE = 0x10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;

/** ioctl(2): the result, or -1. */
export type Ioctl = (fd: number, request: number, argument: Buffer) => number;
type Fcntl = (fd: number, command: number, argument: number) => number;

const require = createRequire(import.meta.url);

/** System calls that Node.js has no function for. */
export class SystemCalls {
  private readonly flags = Buffer.alloc(8);

  constructor(
    readonly ioctl: Ioctl,
    private readonly fcntl: Fcntl,
  ) {}

  /** By the npm package koffi; undefined where that cannot be loaded. */
  static load(): SystemCalls | undefined {
    try {
      const koffi = require('koffi') as typeof import('koffi');
      const libc = koffi.load(null);
      return new SystemCalls(
        libc.func('int ioctl(int fd, unsigned long request, void *argument)') as Ioctl,
        libc.func('int fcntl(int fd, int command, long argument)') as Fcntl,
      );
    } catch {
      return undefined;
    }
  }

  /** Whether nobody has the file open for writing, as far as can be told. `fd`: opened to read only. */
  isUnwritten(fd: number): boolean {
    // A lease to read is given only then. Whoever opens the file before it is given back makes the kernel send SIGIO.
    if (this.fcntl(fd, F_SETLEASE, F_RDLCK) < 0) return false;
    this.fcntl(fd, F_SETLEASE, F_UNLCK);
    return true;
  }

  isImmutable(fd: number): boolean {
    return this.getFlags(fd) && (this.flags.readInt32LE(0) & IMMUTABLE) !== 0;
  }

  /**
   * With it even a write by a handle that is open fails. False if the file system has no such flag, or it may not be set
   * (CAP_LINUX_IMMUTABLE).
   */
  setImmutable(fd: number, on: boolean): boolean {
    if (!this.getFlags(fd)) return false;
    const others = this.flags.readInt32LE(0) & ~IMMUTABLE;
    this.flags.writeInt32LE(on ? others | IMMUTABLE : others, 0);
    return this.ioctl(fd, SET_FLAGS, this.flags) === 0;
  }

  private getFlags(fd: number): boolean {
    this.flags.fill(0);
    return this.ioctl(fd, GET_FLAGS, this.flags) === 0;
  }
}
