import { compareFiles, type FileKey, formatObjectKey, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import type { StoreFile } from './store.js';

/** What of a store is kept. */
export interface RetentionPolicy {
  /** Every moment within it, back from the newest file, can be restored. */
  readonly ageMs: number;
  /** So many snapshots stay at least; at least one does. */
  readonly snapshots: number;
  /** How long a file of level 0 stays that was merged into another. */
  readonly fineMs: number;
}

/**
 * The files that may go, oldest first. Pure. What stays: the newest snapshots by number and by age, the one before them
 * that leads to the beginning of the age, and what leads on from the oldest of these. `way`, the files that the newest state
 * is restored from, stays in any case, and so does everything where there is no snapshot.
 *
 * Ages count back from the newest file where the clock is ahead of it: one that jumped must not make all of it look old.
 */
export function planRetention(
  files: readonly StoreFile[],
  way: readonly FileKey[],
  policy: RetentionPolicy,
  nowMs: number,
): StoreFile[] {
  const snapshots = files.filter((file) => file.level === LEVEL_SNAPSHOT).sort((a, b) => b.maxTxid - a.maxTxid);
  if (snapshots.length === 0) return [];
  const newestMs = files.reduce((max, file) => Math.max(max, file.timeMs), 0);
  const cutMs = Math.min(nowMs, newestMs) - policy.ageMs;
  const kept = keptSnapshots(snapshots, Math.max(1, policy.snapshots), cutMs);
  const oldest = kept.at(-1)!;
  const protectedKeys = new Set(way.map(formatObjectKey));
  const stays = new Set(kept.map(formatObjectKey));
  const fineMs = Math.min(nowMs, newestMs) - policy.fineMs;
  // All that one file was merged from goes together: without its beginning the rest would lead nowhere.
  const covers = new Covers(
    files.filter((file) => file.level > LEVEL_INCREMENT && file.level < LEVEL_SNAPSHOT && file.timeMs < fineMs),
  );
  const goes = (file: StoreFile): boolean => {
    if (file.level === LEVEL_SNAPSHOT) return !stays.has(formatObjectKey(file));
    if (file.maxTxid <= oldest.maxTxid) return true;
    return file.level === LEVEL_INCREMENT && covers.has(file);
  };
  return files.filter((file) => goes(file) && !protectedKeys.has(formatObjectKey(file))).sort(bySnapshotsThenAge);
}

/** Newest first: by number, by age, and the one that leads to the first moment of it. None is newer than those behind it. */
function keptSnapshots(snapshots: readonly StoreFile[], count: number, cutMs: number): StoreFile[] {
  const kept: StoreFile[] = [];
  let timeMs = Number.POSITIVE_INFINITY;
  for (const snapshot of snapshots) {
    if (kept.length >= count && timeMs <= cutMs) break;
    kept.push(snapshot);
    timeMs = Math.min(timeMs, snapshot.timeMs);
  }
  return kept;
}

/** Whether one of many files holds all of another. */
class Covers {
  private readonly minTxids: number[] = [];
  /** The largest max TXID of those up to here, by min TXID. */
  private readonly maxTxids: number[] = [];

  constructor(files: readonly FileKey[]) {
    let max = 0;
    for (const file of [...files].sort((a, b) => a.minTxid - b.minTxid)) {
      max = Math.max(max, file.maxTxid);
      this.minTxids.push(file.minTxid);
      this.maxTxids.push(max);
    }
  }

  has({ minTxid, maxTxid }: FileKey): boolean {
    let [low, high] = [0, this.minTxids.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.minTxids[middle]! <= minTxid) low = middle + 1;
      else high = middle;
    }
    return low > 0 && this.maxTxids[low - 1]! >= maxTxid;
  }
}

/** Who sees a part of it done must not find a snapshot that nothing leads on from. */
function bySnapshotsThenAge(a: StoreFile, b: StoreFile): number {
  const [first, second] = [a.level === LEVEL_SNAPSHOT, b.level === LEVEL_SNAPSHOT];
  return first === second ? a.maxTxid - b.maxTxid || compareFiles(a, b) : first ? -1 : 1;
}
