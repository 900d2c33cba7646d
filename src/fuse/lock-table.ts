import type { FileNode, Verdict } from './watcher.js';

/** fcntl(2) lock types as Linux numbers them. */
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/**
 * Asked before a lock request is looked at (F_RDLCK or F_WRLCK; with F_UNLCK it is told, its verdict ignored).
 * `ownerLow`, `ownerHigh` are the halves of the lock owner; `end` is inclusive, MAX_SAFE_INTEGER for "to the end".
 * On close the session tells the drop of all locks as one F_UNLCK from 0 to the end.
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
