import { SluiceError } from '../errors.js';
import type { Txid } from '../ltx/index.js';
import { readFileHeader } from './newest.js';
import type { Store, StoreFile } from './store.js';

/** States behind the one found whose times are looked at, evenly spread: they must be later, unless a clock was set back. */
const LATER_SAMPLES = 32;

/** A state that a backup has, and when its last transaction was made, Unix milliseconds. */
export interface TimedState {
  readonly txid: Txid;
  readonly timestampMs: number;
}

/** The newest state at or before a time. */
export interface StateAtTime {
  readonly state: TimedState;
  /** The one after it; undefined if it is the newest. */
  readonly next: TimedState | undefined;
  /** Later states were met that are not of a later time: the primary's clock was set back, and they may be what is meant. */
  readonly clockWentBack: boolean;
}

/**
 * Finds the last file end whose transaction was made at or before a time. Reads the headers' times, about one for each
 * doubling of the number of files: what a listing tells may be when a file was uploaded or copied. Where the primary's
 * clock was set back, the state found is at or before the time, the one after it is later, and others may be so too.
 * Throws `RESTORE_EMPTY`, `RESTORE_TIME` (all states are newer), `RESTORE_GAP` (no snapshot), and Store's errors.
 */
export async function findStateAt(
  store: Store,
  files: readonly StoreFile[],
  timestampMs: number,
): Promise<StateAtTime> {
  if (files.length === 0) throw new SluiceError('RESTORE_EMPTY', 'there is no backup');
  const ends = fileEnds(files);
  if (ends.length === 0) throw new SluiceError('RESTORE_GAP', 'the backup has no snapshot to start from');
  const read = (i: number): Promise<number | undefined> => readTime(store, ends[i]!);
  const found = await searchByTime(ends.length, timestampMs, read);
  if (found.before === undefined) {
    const oldest = found.after === undefined ? '' : `: the oldest state is of ${formatTime(found.after.timeMs)}`;
    throw new SluiceError('RESTORE_TIME', `the backup has no state of ${formatTime(timestampMs)} or before${oldest}`);
  }
  const timed = ({ index, timeMs }: Probe): TimedState => ({ txid: ends[index]![0]!.maxTxid, timestampMs: timeMs });
  return {
    state: timed(found.before),
    next: found.after && timed(found.after),
    clockWentBack: found.after !== undefined && (await isSetBack(found.after.index, ends.length, timestampMs, read)),
  };
}

/** RFC 3339, UTC. */
export function formatTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString();
}

export interface Probe {
  readonly index: number;
  readonly timeMs: number;
}

/**
 * Of `count` things in order of time, finds the last at or before a time and the first behind it, next to each other. Those
 * without a time (`read` gives undefined) are passed over.
 */
export async function searchByTime(
  count: number,
  wantedMs: number,
  read: (index: number) => Promise<number | undefined>,
): Promise<{ before: Probe | undefined; after: Probe | undefined }> {
  let before: Probe | undefined;
  let after: Probe | undefined;
  let low = 0;
  let high = count - 1;
  // The newest first: a time that has not come yet, or is later than all, is the common case.
  for (let probe = high; low <= high; probe = (low + high) >>> 1) {
    let index = probe;
    let timeMs = await read(index);
    while (timeMs === undefined && index > low) timeMs = await read(--index);
    if (timeMs !== undefined && timeMs > wantedMs) {
      after = { index, timeMs };
      high = index - 1;
    } else {
      if (timeMs !== undefined) before = { index, timeMs };
      low = probe + 1;
    }
  }
  return { before, after };
}

/** Whether one of the states from `first` on, of which some are looked at, is at or before a time. */
async function isSetBack(
  first: number,
  count: number,
  wantedMs: number,
  read: (index: number) => Promise<number | undefined>,
): Promise<boolean> {
  const step = Math.max(1, Math.ceil((count - first) / LATER_SAMPLES));
  const samples: Promise<number | undefined>[] = [];
  for (let index = first; index < count; index += step) samples.push(read(index));
  return (await Promise.all(samples)).some((timeMs) => timeMs !== undefined && timeMs <= wantedMs);
}

/** The files that end at each TXID, by level, from the oldest that can be restored on. */
function fileEnds(files: readonly StoreFile[]): StoreFile[][] {
  const first = files.reduce(
    (min, file) => (file.minTxid === 1 ? Math.min(min, file.maxTxid) : min),
    Number.POSITIVE_INFINITY,
  );
  const ends = new Map<Txid, StoreFile[]>();
  for (const file of files) {
    if (file.maxTxid < first) continue;
    const same = ends.get(file.maxTxid);
    if (same === undefined) ends.set(file.maxTxid, [file]);
    else same.push(file);
  }
  return [...ends.values()].sort((a, b) => a[0]!.maxTxid - b[0]!.maxTxid);
}

/** By the least compacted file: Litestream gives a compaction the time of its first transaction. */
async function readTime(store: Store, files: readonly StoreFile[]): Promise<number | undefined> {
  for (const file of [...files].sort((a, b) => a.level - b.level)) {
    const header = await readFileHeader(store, file);
    if (header !== undefined) return header.timestampMs;
  }
  return undefined;
}
