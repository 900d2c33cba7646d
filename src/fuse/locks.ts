import { type Result, refusal } from './backing.js';
import { Deferrals } from './deferrals.js';
import { EAGAIN, EINVAL } from './errno.js';
import { F_RDLCK, F_UNLCK, F_WRLCK, type LockTable, type MayLock } from './lock-table.js';
import type { RegularFile, VirtualFile } from './nodes.js';
import { FUSE_SETLKW, LK_FLOCK } from './protocol.js';
import { writeLock } from './reply.js';
import * as r from './request.js';
import { PROCEED, type Verdict, type Watcher } from './watcher.js';

const TO_THE_END = Number.MAX_SAFE_INTEGER;

/** What can be locked. */
export type Lockable = RegularFile | VirtualFile;

/** Lock requests of `locks: sluice`: the table, the hook before it, and the requests that wait for a lock. */
export class Locks {
  readonly table: LockTable;
  readonly waiters = new Deferrals();
  /** Node id of the file whose locks changed while requests waited for one; -1 if none did. The session resets it. */
  released = -1;
  readonly #mayLock: MayLock | undefined;
  readonly #watcher: Watcher;

  constructor(table: LockTable, mayLock: MayLock | undefined, watcher: Watcher) {
    this.table = table;
    this.#mayLock = mayLock;
    this.#watcher = watcher;
  }

  /** GETLK: writes the lock in the way, or F_UNLCK, into `out`. */
  get(file: Lockable, request: Buffer, out: Buffer): Result {
    const type = r.lkType(request);
    const start = r.lkStart(request);
    const end = r.lkEnd(request);
    if (!valid(request, type, start, end)) return -EINVAL;
    const found = this.table.conflict(file.id, r.lkOwnerLow(request), r.lkOwnerHigh(request), type, start, end);
    return found === undefined
      ? writeLock(out, 0, 0, F_UNLCK, 0)
      : writeLock(out, found.start, found.end, found.type, found.pid);
  }

  /** SETLK: 0, -EAGAIN if another owner is in the way, or what the hook says. */
  set(file: Lockable, request: Buffer): Result {
    const type = r.lkType(request);
    const start = r.lkStart(request);
    const end = r.lkEnd(request);
    if (!valid(request, type, start, end)) return -EINVAL;
    const low = r.lkOwnerLow(request);
    const high = r.lkOwnerHigh(request);
    const verdict = this.#ask(file, low, high, type, start, end, request);
    if (verdict !== 0 && type !== F_UNLCK) return refusal(verdict);
    const errno = this.table.set(file.id, low, high, type, start, end, r.lkPid(request), r.lkHandle(request));
    if (errno === EAGAIN) return -EAGAIN;
    if (this.waiters.count > 0) this.released = file.id;
    return 0;
  }

  /** FLUSH: all locks of the owner on the file go. */
  close(file: Lockable, request: Buffer): void {
    this.#drop(file, r.flushOwnerLow(request), r.flushOwnerHigh(request), request);
  }

  /**
   * RELEASE: the last descriptor of one open is closed. What was locked by it is locked still only if the owner is the
   * open itself (F_OFD_SETLK), because a process that is the owner has had its FLUSH before. The kernel tells nothing
   * else of the end of such locks.
   */
  release(file: Lockable, request: Buffer): void {
    const handle = r.releaseHandle(request);
    for (let lock = this.table.lockedBy(file.id, handle); lock; lock = this.table.lockedBy(file.id, handle)) {
      this.#drop(file, lock.ownerLow, lock.ownerHigh, request);
    }
  }

  #drop(file: Lockable, low: number, high: number, request: Buffer): void {
    if (!this.table.dropOwner(file.id, low, high)) return;
    this.#ask(file, low, high, F_UNLCK, 0, TO_THE_END, request);
    if (this.waiters.count > 0) this.released = file.id;
  }

  /** A lock request that waited was ended by a signal. */
  ended(file: Lockable, request: Buffer): void {
    const low = r.lkOwnerLow(request);
    const high = r.lkOwnerHigh(request);
    this.#ask(file, low, high, F_UNLCK, r.lkStart(request), r.lkEnd(request), request);
  }

  #ask(file: Lockable, low: number, high: number, type: number, start: number, end: number, request: Buffer): Verdict {
    if (file.kind === 'file')
      return this.#mayLock?.(file, low, high, type, start, end, r.headerPid(request)) ?? PROCEED;
    const waits = r.headerOpcode(request) === FUSE_SETLKW;
    return this.#watcher.mayLockVirtual?.({ node: file, owner: { low, high }, type, start, end, waits }) ?? PROCEED;
  }
}

function valid(request: Buffer, type: number, start: number, end: number): boolean {
  if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return false;
  return start <= end && (r.lkFlags(request) & LK_FLOCK) === 0;
}
