import { createRequire } from 'node:module';
import { SluiceError } from '../errors.js';
import { PENDING_BYTE, RESERVED_BYTE, SHARED_FIRST, SHARED_SIZE } from '../sqlite/index.js';
import { HALT_RETRY_MS } from './limits.js';
import type { Turn } from './turn.js';

const F_SETLK = 6;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** struct flock of 64-bit Linux: `0 i16 type  2 i16 whence  8 i64 start  16 i64 length  24 i32 pid`. */
const FLOCK_SIZE = 32;

type Fcntl = (fd: number, command: number, argument: Buffer) => number;

const require = createRequire(import.meta.url);

/**
 * From RESERVED, which a connection of this process holds, to EXCLUSIVE and back, by the same lock bytes: SQLite itself
 * does that only in the middle of a write of its own, and giving RESERVED back first would let another writer in. POSIX
 * locks are the process's, so the connection has them too, and does not notice.
 */
export class ExclusiveUpgrade {
  private constructor(
    private readonly fcntl: Fcntl,
    private readonly fd: number,
  ) {}

  /** `fd`: of the database file. Throws `APPLY_FAILED` where fcntl(2) cannot be called. */
  static of(fd: number): ExclusiveUpgrade {
    try {
      const koffi = require('koffi') as typeof import('koffi');
      return new ExclusiveUpgrade(koffi.load(null).func('int fcntl(int fd, int command, void *argument)') as Fcntl, fd);
    } catch (cause) {
      const text =
        'the npm package koffi cannot be loaded: a rollback-mode database takes no writes of replicas without it';
      throw new SluiceError('APPLY_FAILED', text, 'Install it, or put the database in WAL mode', { cause });
    }
  }

  /** Waits until no reader is left; new ones are kept out meanwhile. False if there still are some after `limitMs`. */
  async take(turn: Turn, nowMs: () => number, limitMs: number): Promise<boolean> {
    const deadlineMs = nowMs() + limitMs;
    while (!this.set(F_WRLCK, PENDING_BYTE, 1) || !this.set(F_WRLCK, SHARED_FIRST, SHARED_SIZE)) {
      if (nowMs() >= deadlineMs) {
        this.set(F_UNLCK, PENDING_BYTE, 1);
        return false;
      }
      await turn.wait(HALT_RETRY_MS);
    }
    return true;
  }

  /** All of it at once, where no connection of this process has the file open; false if somebody holds any. Ends when the descriptor is closed. */
  takeAll(): boolean {
    return (
      this.set(F_WRLCK, PENDING_BYTE, 1) &&
      this.set(F_WRLCK, RESERVED_BYTE, 1) &&
      this.set(F_WRLCK, SHARED_FIRST, SHARED_SIZE)
    );
  }

  /** Back to RESERVED. */
  end(): void {
    const shared = this.set(F_RDLCK, SHARED_FIRST, SHARED_SIZE);
    const pending = this.set(F_UNLCK, PENDING_BYTE, 1);
    if (!shared || !pending) throw new SluiceError('APPLY_FAILED', 'locks could not be given back');
  }

  private set(type: number, start: number, length: number): boolean {
    const flock = Buffer.alloc(FLOCK_SIZE);
    flock.writeInt16LE(type, 0);
    flock.writeBigInt64LE(BigInt(start), 8);
    flock.writeBigInt64LE(BigInt(length), 16);
    return this.fcntl(this.fd, F_SETLK, flock) === 0;
  }
}
