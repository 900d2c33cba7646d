import { EAGAIN } from './errno.js';
import type { FileNode, Verdict } from './watcher.js';

/** fcntl(2) lock types as Linux numbers them. */
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/**
 * Asked before a lock request is looked at (F_RDLCK or F_WRLCK; with F_UNLCK it is told, its verdict ignored).
 * `ownerLow`, `ownerHigh` are the halves of the lock owner; `end` is inclusive, MAX_SAFE_INTEGER for "to the end".
 * A close that drops locks is told as one F_UNLCK from 0 to the end, and so is the end by a signal of a request that
 * was deferred.
 */
export type MayLock = (
  node: FileNode,
  ownerLow: number,
  ownerHigh: number,
  type: number,
  start: number,
  end: number,
  pid: number,
) => Verdict;

/** One held range. Reused, so never keep one. */
export interface HeldLock {
  ownerLow: number;
  ownerHigh: number;
  type: number;
  start: number;
  /** Inclusive. */
  end: number;
  pid: number;
}

/** Released records kept for the next request. */
const SPARE_LIMIT = 256;

/**
 * POSIX record locks of all files of a mount, by node id: what fcntl(2) says, without waiting (the session keeps the
 * requests that wait). Locks of one owner on one file never overlap, and touching ones of one type are one.
 */
export class LockTable {
  readonly #files = new Map<number, HeldLock[]>();
  readonly #spare: HeldLock[] = [];

  /** The first lock of another owner that is in the way, or undefined. */
  conflict(
    id: number,
    ownerLow: number,
    ownerHigh: number,
    type: number,
    start: number,
    end: number,
  ): Readonly<HeldLock> | undefined {
    const locks = this.#files.get(id);
    if (locks === undefined) return undefined;
    for (let i = 0; i < locks.length; i++) {
      const lock = locks[i]!;
      if (lock.start > end || lock.end < start) continue;
      if (lock.type !== F_WRLCK && type !== F_WRLCK) continue;
      if (lock.ownerLow !== ownerLow || lock.ownerHigh !== ownerHigh) return lock;
    }
    return undefined;
  }

  /** Sets or clears a range for an owner. 0, or EAGAIN if another owner is in the way (nothing changed then). */
  set(id: number, ownerLow: number, ownerHigh: number, type: number, start: number, end: number, pid: number): number {
    if (type !== F_UNLCK && this.conflict(id, ownerLow, ownerHigh, type, start, end) !== undefined) return EAGAIN;
    let locks = this.#files.get(id);
    if (locks === undefined) {
      if (type === F_UNLCK) return 0;
      locks = [];
      this.#files.set(id, locks);
    }
    let newStart = start;
    let newEnd = end;
    for (let i = locks.length - 1; i >= 0; i--) {
      const lock = locks[i]!;
      if (lock.ownerLow !== ownerLow || lock.ownerHigh !== ownerHigh) continue;
      if (lock.type === type) {
        if (lock.start > end + 1 || lock.end + 1 < start) continue;
        newStart = Math.min(newStart, lock.start);
        newEnd = Math.max(newEnd, lock.end);
        this.#remove(locks, i);
      } else if (lock.start <= end && lock.end >= start) {
        this.#cut(locks, i, start, end);
      }
    }
    if (type !== F_UNLCK) this.#add(locks, ownerLow, ownerHigh, type, newStart, newEnd, pid);
    // An empty list stays for the next transaction on the file; `drop` removes it.
    return 0;
  }

  /** Drops all locks of an owner on a file. Returns whether there were any. */
  dropOwner(id: number, ownerLow: number, ownerHigh: number): boolean {
    const locks = this.#files.get(id);
    if (locks === undefined) return false;
    let dropped = false;
    for (let i = locks.length - 1; i >= 0; i--) {
      const lock = locks[i]!;
      if (lock.ownerLow !== ownerLow || lock.ownerHigh !== ownerHigh) continue;
      this.#remove(locks, i);
      dropped = true;
    }
    if (locks.length === 0) this.#files.delete(id);
    return dropped;
  }

  /** The file is gone. */
  dropFile(id: number): void {
    this.#files.delete(id);
  }

  /** All locks of a file, for tests and for saving. */
  held(id: number): readonly Readonly<HeldLock>[] {
    return this.#files.get(id) ?? NONE;
  }

  files(): IterableIterator<[number, readonly Readonly<HeldLock>[]]> {
    return this.#files.entries();
  }

  /** Takes `start..end` out of a lock that overlaps it. */
  #cut(locks: HeldLock[], index: number, start: number, end: number): void {
    const lock = locks[index]!;
    const before = lock.start < start;
    const after = lock.end > end;
    if (before && after) {
      this.#add(locks, lock.ownerLow, lock.ownerHigh, lock.type, end + 1, lock.end, lock.pid);
      lock.end = start - 1;
    } else if (before) lock.end = start - 1;
    else if (after) lock.start = end + 1;
    else this.#remove(locks, index);
  }

  #add(
    locks: HeldLock[],
    ownerLow: number,
    ownerHigh: number,
    type: number,
    start: number,
    end: number,
    pid: number,
  ): void {
    const lock = this.#spare.pop();
    if (lock === undefined) {
      locks.push({ ownerLow, ownerHigh, type, start, end, pid });
      return;
    }
    lock.ownerLow = ownerLow;
    lock.ownerHigh = ownerHigh;
    lock.type = type;
    lock.start = start;
    lock.end = end;
    lock.pid = pid;
    locks.push(lock);
  }

  #remove(locks: HeldLock[], index: number): void {
    const lock = locks[index]!;
    const last = locks.pop()!;
    if (last !== lock) locks[index] = last;
    if (this.#spare.length < SPARE_LIMIT) this.#spare.push(lock);
  }
}

const NONE: readonly HeldLock[] = [];
