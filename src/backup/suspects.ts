import { compareFiles, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import type { StoreFile } from './store.js';

/**
 * Files that a primary which had lost the store may have left: snapshots, and increments that overlap what the store's owner
 * uploaded, fill a hole there, or go on behind its end. Pure. What one process uploads follows on from each other, so that
 * there are few of these.
 */
export function findSuspects(files: readonly StoreFile[]): StoreFile[] {
  const suspects = new Set(files.filter((file) => file.level === LEVEL_SNAPSHOT));
  const increments = files.filter((file) => file.level === LEVEL_INCREMENT).sort(compareFiles);
  let last: StoreFile | undefined;
  for (const file of increments) {
    if (last !== undefined && file.minTxid <= last.maxTxid) suspects.add(last).add(file);
    if (last !== undefined && file.minTxid > last.maxTxid + 1) suspects.add(last);
    if (last === undefined || file.maxTxid > last.maxTxid) last = file;
  }
  if (last !== undefined) suspects.add(last);
  return [...suspects];
}
