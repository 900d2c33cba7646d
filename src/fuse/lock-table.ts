import { EAGAIN } from './errno.js';
import type { FileNode, LockOwner, Verdict } from './watcher.js';

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
  /** The open file by which it was taken; 0 if unknown. */
  handle: number;
  /** Where the recorder keeps it; -1 if nowhere yet. */
  slot: number;
}

/** Keeps what is held where the next process finds it; see lock-file.ts. Both may throw a system error. */
export interface LockRecorder {
  /** A lock is new or has changed. Gives it a slot if it has none. */
  write(id: number, lock: HeldLock): void;
  /** The slot is free, whether or not the record could be cleared. */
  clear(slot: number): void;
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
  /** What a request changed, for the recorder: written from the last to the first, then the slots are cleared. */
  readonly #changed: HeldLock[] = [];
  readonly #cleared: number[] = [];
  /** What the owner of the request had before, the first `#hadCount` of it. */
  readonly #had: HeldLock[] = [];
  #hadCount = 0;
  #recorder: LockRecorder | undefined;

  /** From here on every change is told to `recorder`. */
  record(recorder: LockRecorder): void {
    this.#recorder = recorder;
  }

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

  /**
   * Sets or clears a range for an owner. 0, or EAGAIN if another owner is in the way. Throws what the recorder throws.
   * Nothing has changed then: what the next process would not know of is not granted. What is cleared is free in any case.
   */
  set(
    id: number,
    ownerLow: number,
    ownerHigh: number,
    type: number,
    start: number,
    end: number,
    pid: number,
    handle = 0,
  ): number {
    if (type !== F_UNLCK && this.conflict(id, ownerLow, ownerHigh, type, start, end) !== undefined) return EAGAIN;
    let locks = this.#files.get(id);
    if (locks === undefined) {
      if (type === F_UNLCK) return 0;
      locks = [];
      this.#files.set(id, locks);
    }
    let newStart = start;
    let newEnd = end;
    this.#hadCount = 0;
    for (let i = locks.length - 1; i >= 0; i--) {
      const lock = locks[i]!;
      if (lock.ownerLow !== ownerLow || lock.ownerHigh !== ownerHigh) continue;
      this.#remember(lock);
      if (lock.type === type) {
        if (lock.start > end + 1 || lock.end + 1 < start) continue;
        newStart = Math.min(newStart, lock.start);
        newEnd = Math.max(newEnd, lock.end);
        this.#remove(locks, i);
      } else if (lock.start <= end && lock.end >= start) {
        this.#cut(locks, i, start, end);
      }
    }
    if (type !== F_UNLCK) this.#add(locks, ownerLow, ownerHigh, type, newStart, newEnd, pid, handle);
    const error = this.#tell(id);
    if (error !== undefined && type !== F_UNLCK) {
      this.#restore(id, locks, ownerLow, ownerHigh);
      throw error;
    }
    // An empty list stays for the next transaction on the file; `drop` removes it.
    return 0;
  }

  /** A lock of a file that was taken by this handle, or undefined. */
  lockedBy(id: number, handle: number): Readonly<HeldLock> | undefined {
    const locks = this.#files.get(id);
    if (locks === undefined || handle === 0) return undefined;
    for (let i = 0; i < locks.length; i++) if (locks[i]!.handle === handle) return locks[i];
    return undefined;
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
    this.#tell(id);
    if (locks.length === 0) this.#files.delete(id);
    return dropped;
  }

  /** The file is gone. */
  dropFile(id: number): void {
    const locks = this.#files.get(id);
    if (locks === undefined) return;
    while (locks.length > 0) this.#remove(locks, locks.length - 1);
    this.#tell(id);
    this.#files.delete(id);
  }

  /** Whether anybody holds a write lock on a byte of `first..last`. */
  isWriteLocked(id: number, first: number, last: number): boolean {
    return this.conflict(id, NOBODY, NOBODY, F_RDLCK, first, last) !== undefined;
  }

  /** Who holds a write lock on a byte of `first..last`. */
  writerOf(id: number, first: number, last: number): LockOwner | undefined {
    const lock = this.conflict(id, NOBODY, NOBODY, F_RDLCK, first, last);
    return lock === undefined ? undefined : { low: lock.ownerLow, high: lock.ownerHigh };
  }

  /** All locks of a file. */
  held(id: number): readonly Readonly<HeldLock>[] {
    return this.#files.get(id) ?? NONE;
  }

  /**
   * The new lock first, what it replaces last: a process that dies in between must not seem to hold less than its
   * callers believe. The first error, if there is one: what came after it is told all the same.
   */
  #tell(id: number): unknown {
    let failed: unknown;
    for (let i = this.#changed.length - 1; i >= 0; i--) {
      try {
        this.#recorder?.write(id, this.#changed[i]!);
      } catch (error) {
        failed ??= error;
      }
    }
    for (let i = 0; i < this.#cleared.length; i++) {
      try {
        this.#recorder?.clear(this.#cleared[i]!);
      } catch (error) {
        failed ??= error;
      }
    }
    this.#changed.length = 0;
    this.#cleared.length = 0;
    return failed;
  }

  #remember(lock: HeldLock): void {
    const kept = this.#had[this.#hadCount];
    if (kept === undefined) this.#had.push({ ...lock });
    else Object.assign(kept, lock);
    this.#hadCount++;
  }

  /** Gives an owner back what it had; as far as it goes, for the next process too. */
  #restore(id: number, locks: HeldLock[], ownerLow: number, ownerHigh: number): void {
    for (let i = locks.length - 1; i >= 0; i--) {
      const lock = locks[i]!;
      if (lock.ownerLow === ownerLow && lock.ownerHigh === ownerHigh) this.#remove(locks, i);
    }
    for (let i = 0; i < this.#hadCount; i++) {
      const { type, start, end, pid, handle } = this.#had[i]!;
      this.#add(locks, ownerLow, ownerHigh, type, start, end, pid, handle);
    }
    this.#tell(id);
  }

  /** Takes `start..end` out of a lock that overlaps it. */
  #cut(locks: HeldLock[], index: number, start: number, end: number): void {
    const lock = locks[index]!;
    const before = lock.start < start;
    const after = lock.end > end;
    if (before && after) {
      this.#add(locks, lock.ownerLow, lock.ownerHigh, lock.type, end + 1, lock.end, lock.pid, lock.handle);
      lock.end = start - 1;
    } else if (before) lock.end = start - 1;
    else if (after) lock.start = end + 1;
    else {
      this.#remove(locks, index);
      return;
    }
    this.#changed.push(lock);
  }

  #add(
    locks: HeldLock[],
    ownerLow: number,
    ownerHigh: number,
    type: number,
    start: number,
    end: number,
    pid: number,
    handle: number,
  ): void {
    const lock = this.#spare.pop() ?? { ownerLow, ownerHigh, type, start, end, pid, handle, slot: -1 };
    lock.ownerLow = ownerLow;
    lock.ownerHigh = ownerHigh;
    lock.type = type;
    lock.start = start;
    lock.end = end;
    lock.pid = pid;
    lock.handle = handle;
    locks.push(lock);
    this.#changed.push(lock);
  }

  #remove(locks: HeldLock[], index: number): void {
    const lock = locks[index]!;
    const last = locks.pop()!;
    if (last !== lock) locks[index] = last;
    if (lock.slot >= 0) this.#cleared.push(lock.slot);
    lock.slot = -1;
    if (this.#spare.length < SPARE_LIMIT) this.#spare.push(lock);
  }
}

const NONE: readonly HeldLock[] = [];
/** Half of an owner that is none. */
const NOBODY = -1;
