import type { Txid } from '../ltx/index.js';
import { LEVEL_SNAPSHOT } from './file-names.js';
import type { StoreFile } from './store.js';

/** Files that go into one at most: what a merge holds of each is small, but not nothing. */
const INPUTS = 64;

/** Files of one level that are to become one of the next. */
export interface CompactionPlan<File extends StoreFile> {
  readonly level: number;
  readonly inputs: readonly File[];
}

/**
 * The next merge on the way to the newest state: of files of one level, two at least, that follow each other there and of
 * which the oldest has waited for `levelsMs[level]`, or of as many as one merge takes. Lower levels first. A file that is
 * alone stays where it is: storing it once more would gain nothing. Pure.
 */
export function planCompaction<File extends StoreFile>(
  way: readonly File[],
  levelsMs: readonly number[],
  nowMs: number,
): CompactionPlan<File> | undefined {
  for (const [below, waitMs] of levelsMs.entries()) {
    for (let at = 0; at < way.length; ) {
      let end = at;
      while (end < way.length && way[end]!.level === below && end - at < INPUTS) end++;
      const run = end - at;
      const isDue = run === INPUTS || (run > 1 && nowMs - way[at]!.timeMs >= waitMs);
      if (isDue) return { level: below + 1, inputs: way.slice(at, end) };
      at = Math.max(end, at + 1);
    }
  }
  return undefined;
}

/** Whether the database is to be stored as a whole again: it moved on since the last time, and that is long enough ago. Pure. */
export function isSnapshotDue(way: readonly StoreFile[], txid: Txid, snapshotMs: number, nowMs: number): boolean {
  const first = way[0];
  if (first === undefined || first.level !== LEVEL_SNAPSHOT) return false;
  // Or as far ahead: a clock that had jumped made it.
  return first.maxTxid < txid && Math.abs(nowMs - first.timeMs) >= snapshotMs;
}
