import { SluiceError } from '../errors.js';

/** LiteFS's HALT. */
const HALT_BYTE = 72;
/** Locks of an open file, not of a process: no other descriptor's close ends them. Linux's numbers, the same everywhere. */
const F_OFD_SETLK = 37;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** struct flock: 0 i16 l_type  2 i16 l_whence  8 i64 l_start  16 i64 l_len  24 i32 l_pid, with 64-bit off_t. */
const FLOCK_BYTES = 32;

/** fcntl(2) on another thread: the file system may be slow to answer. */
interface Fcntl {
  async(fd: number, command: number, argument: Buffer, done: (error: unknown, result: number) => void): void;
}

let loaded: Promise<Fcntl> | undefined;

/** The lock of a lock file, by a descriptor that is open for writing. */
export class LockByte {
  private constructor(
    private readonly fcntl: Fcntl,
    private readonly fd: number,
  ) {}

  /** Throws `CLIENT_FCNTL` where the npm package koffi does not work. */
  static async of(fd: number): Promise<LockByte> {
    loaded ??= load();
    return new LockByte(await loaded, fd);
  }

  /** Whether it is had now. Does not wait for it, but has it asked for where it has to be. */
  tryLock(): Promise<boolean> {
    return this.set(F_WRLCK);
  }

  unlock(): Promise<boolean> {
    return this.set(F_UNLCK);
  }

  private set(type: number): Promise<boolean> {
    const flock = Buffer.alloc(FLOCK_BYTES);
    flock.writeInt16LE(type, 0);
    flock.writeBigInt64LE(BigInt(HALT_BYTE), 8);
    flock.writeBigInt64LE(1n, 16);
    return new Promise((resolve, reject) => {
      this.fcntl.async(this.fd, F_OFD_SETLK, flock, (error, result) => {
        // Held until here, for the other thread.
        if (error !== null && error !== undefined) reject(error);
        else resolve(flock.length > 0 && result === 0);
      });
    });
  }
}

async function load(): Promise<Fcntl> {
  try {
    const koffi = (await import('koffi')).default;
    return koffi.load(null).func('int fcntl(int fd, int command, void *argument)') as unknown as Fcntl;
  } catch (cause) {
    throw new SluiceError(
      'CLIENT_FCNTL',
      'files cannot be locked from here: the npm package koffi cannot be loaded',
      'Install it for this platform',
      { cause },
    );
  }
}
