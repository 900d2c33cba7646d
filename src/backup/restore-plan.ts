import { SluiceError } from '../errors.js';
import { formatTxid, type Txid } from '../ltx/index.js';
import { type FileKey, LEVEL_SNAPSHOT } from './file-names.js';

/** Which files, applied in this order, give the database at `txid`. */
export interface RestorePlan<File extends FileKey> {
  readonly files: readonly File[];
  /** Where the last file ends: the target, or the nearest end before it. */
  readonly txid: Txid;
  /** The first end after `txid` that the store has, where the target lies between two; undefined otherwise. */
  readonly nextTxid: Txid | undefined;
}

/**
 * Chooses files as Litestream's restore does: the newest level-9 snapshot at or before the target, then again and again
 * the file that starts at or before the next TXID and ends last. Ranges may overlap.
 *
 * Throws `RESTORE_EMPTY` (no file at all), `RESTORE_TXID` (the target is before the oldest or after the newest) and, with
 * no target, `RESTORE_GAP` (there are newer files, but the one that leads to them is missing).
 */
export function planRestore<File extends FileKey>(files: readonly File[], target?: Txid): RestorePlan<File> {
  if (files.length === 0) throw new SluiceError('RESTORE_EMPTY', 'there is no backup');
  const newest = files.reduce((max, file) => Math.max(max, file.maxTxid), 0);
  if (target !== undefined && target > newest) throw targetError(target, `the newest is ${formatTxid(newest)}`);

  const limit = target ?? newest;
  const plan = newestSnapshot(files, limit);
  let reached = plan.at(-1)?.maxTxid ?? 0;
  for (const file of leadOn(
    files.filter(({ level, maxTxid }) => level !== LEVEL_SNAPSHOT && maxTxid <= limit),
    reached,
  )) {
    plan.push(file);
    reached = file.maxTxid;
  }

  if (plan.length === 0 || (target !== undefined && reached === 0)) throw noStart(files, target);
  if (target === undefined && reached < newest) throw gapError(reached, newest);
  return { files: plan, txid: reached, nextTxid: reached < limit ? nextEnd(files, limit) : undefined };
}

/** Of files in any order those that lead on from a TXID, each as far as one does. Ranges may overlap. Pure. */
export function leadOn<File extends FileKey>(files: readonly File[], txid: Txid): File[] {
  const way: File[] = [];
  const candidates = files.filter((file) => file.maxTxid > txid).sort((a, b) => a.minTxid - b.minTxid);
  let reached = txid;
  let best: File | undefined;
  for (const candidate of candidates) {
    if (best !== undefined && candidate.minTxid > reached + 1) {
      way.push(best);
      reached = best.maxTxid;
      best = undefined;
    }
    if (candidate.minTxid > reached + 1) break;
    if (candidate.maxTxid > reached && isBetter(candidate, best)) best = candidate;
  }
  if (best !== undefined) way.push(best);
  return way;
}

function newestSnapshot<File extends FileKey>(files: readonly File[], limit: Txid): File[] {
  let newest: File | undefined;
  for (const file of files) {
    if (file.level !== LEVEL_SNAPSHOT || file.maxTxid > limit) continue;
    if (newest === undefined || file.maxTxid > newest.maxTxid) newest = file;
  }
  return newest === undefined ? [] : [newest];
}

/** Ends later; else starts earlier; else was compacted more. */
function isBetter(candidate: FileKey, best: FileKey | undefined): boolean {
  if (best === undefined) return true;
  const order = candidate.maxTxid - best.maxTxid || best.minTxid - candidate.minTxid || candidate.level - best.level;
  return order > 0;
}

function nextEnd(files: readonly FileKey[], limit: Txid): Txid | undefined {
  let next: Txid | undefined;
  for (const file of files)
    if (file.maxTxid > limit && (next === undefined || file.maxTxid < next)) next = file.maxTxid;
  return next;
}

function noStart(files: readonly FileKey[], target: Txid | undefined): SluiceError {
  const oldest = files.reduce<Txid | undefined>((min, file) => {
    return file.minTxid === 1 && (min === undefined || file.maxTxid < min) ? file.maxTxid : min;
  }, undefined);
  if (oldest === undefined) return new SluiceError('RESTORE_GAP', 'the backup has no snapshot to start from');
  return targetError(target ?? 0, `the oldest is ${formatTxid(oldest)}`);
}

function targetError(target: Txid, why: string): SluiceError {
  return new SluiceError('RESTORE_TXID', `TXID ${formatTxid(target)} is not in the backup: ${why}`);
}

function gapError(reached: Txid, newest: Txid): SluiceError {
  return new SluiceError(
    'RESTORE_GAP',
    `a file is missing: the backup leads up to TXID ${formatTxid(reached)}, but has files up to ${formatTxid(newest)}`,
    `Find the file that starts at ${formatTxid(reached + 1)}, or restore with --txid ${formatTxid(reached)}`,
  );
}
