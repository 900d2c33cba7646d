import { SluiceError } from '../errors.js';
import type { Checksum, Txid } from '../ltx/index.js';
import { describeFile } from './file-names.js';
import { findByManifest, type UnfitFile } from './newest.js';
import { leadOn, planRestore } from './restore-plan.js';
import { findStateAt, type StateAtTime } from './restore-time.js';
import type { Store, StoreFile } from './store.js';

/** Which state of a database is wanted: the newest if nothing is said. */
export interface RestoreTarget {
  /** The state after this transaction, or the nearest before it that the store has. */
  readonly txid?: Txid;
  /** The newest state at or before this time, Unix milliseconds. */
  readonly timestampMs?: number;
}

/** The files that lead to a state. */
export interface RestoreWay {
  /** To be applied in this order. */
  readonly files: readonly StoreFile[];
  readonly txid: Txid;
  /** The database's there, if it is known before the files are read; else 0n. */
  readonly checksum: Checksum;
  /** False where the target TXID lies inside of a file. */
  readonly exact: boolean;
  /** The first state after it that the store has, where the target lies between two. */
  readonly nextTxid: Txid | undefined;
  /** For a target time. */
  readonly time: StateAtTime | undefined;
  /** Files that were not used, since they do not fit or are damaged. */
  readonly leftOut: readonly UnfitFile[];
  /** Other files that end at the same TXID, where it is not known which database that is. */
  readonly rivals: readonly StoreFile[];
}

/**
 * Finds the files that lead to a target: the newest state by the manifest unless `byListing`, others by a listing.
 * Throws `RESTORE_EMPTY`, `RESTORE_TXID`, `RESTORE_TIME`, `RESTORE_GAP` and Store's errors.
 */
export async function findWay(store: Store, target: RestoreTarget = {}, byListing = false): Promise<RestoreWay> {
  try {
    const { txid, timestampMs } = target;
    if (timestampMs !== undefined) return await wayToTime(store, timestampMs);
    if (txid !== undefined) return wayToTxid(await store.listAll(), txid);
    const newest = byListing ? undefined : await findByManifest(store);
    if (newest === undefined) return wayToTxid(await store.listAll());
    return { ...newest, exact: true, nextTxid: undefined, time: undefined, leftOut: newest.unfit, rivals: [] };
  } catch (error) {
    if (!(error instanceof SluiceError) || !error.code.startsWith('RESTORE_')) throw error;
    throw new SluiceError(error.code, `${store.url}: ${error.message}`, error.hint, { cause: error });
  }
}

/**
 * The files that lead a database on from a TXID to where a way ends: the way's own if they do, else any that are listed.
 * Undefined if that takes one of the whole database, or the TXID is behind the way's end. Throws Store's errors.
 */
export async function findRest(store: Store, way: RestoreWay, txid: Txid): Promise<readonly StoreFile[] | undefined> {
  if (txid === way.txid) return [];
  return restOf(way.files, txid, way.txid) ?? restOf(await store.listAll(), txid, way.txid);
}

function restOf(files: readonly StoreFile[], from: Txid, to: Txid): readonly StoreFile[] | undefined {
  const rest = leadOn(
    files.filter(({ minTxid, maxTxid }) => minTxid > 1 && maxTxid <= to),
    from,
  );
  return rest.at(-1)?.maxTxid === to ? rest : undefined;
}

function wayToTxid(files: readonly StoreFile[], wanted?: Txid): RestoreWay {
  const plan = planRestore(files, wanted);
  const rivals = files.filter((file) => file.maxTxid === plan.txid && !plan.files.includes(file));
  const exact = wanted === undefined || plan.txid === wanted;
  return { ...plan, checksum: 0n, exact, time: undefined, leftOut: [], rivals };
}

async function wayToTime(store: Store, timestampMs: number): Promise<RestoreWay> {
  const files = await store.listAll();
  const time = await findStateAt(store, files, timestampMs);
  return { ...wayToTxid(files, time.state.txid), time };
}

/**
 * Other ways to the same state, where files turned out to be damaged: by compacted files instead of single ones, or the
 * other way round, or from an older snapshot. Pure.
 */
export class Detours {
  private readonly open: (readonly UnfitFile[])[] = [];
  private readonly tried = new Set<string>();
  /** The likeliest of each way that failed. */
  private readonly blamed: UnfitFile[] = [];

  constructor(
    private readonly files: readonly StoreFile[],
    /** Of the way that failed first. */
    way: RestoreWay,
    private readonly txid: Txid = way.txid,
  ) {
    this.tried.add(nameFiles(way.files));
  }

  /** Something is wrong with one of `suspects`, the likeliest first, on a way without those `leftOut`. */
  blame(leftOut: readonly UnfitFile[], suspects: readonly UnfitFile[]): void {
    this.blamed.push(...suspects.slice(0, 1));
    this.open.unshift(...suspects.map((suspect) => [...leftOut, suspect]));
  }

  /** A way that was not tried; undefined if there is none left. */
  next(): { files: readonly StoreFile[]; leftOut: readonly UnfitFile[] } | undefined {
    for (let leftOut = this.open.shift(); leftOut !== undefined; leftOut = this.open.shift()) {
      const files = this.filesWithout(leftOut, this.txid);
      if (files === undefined || files.at(-1)!.maxTxid !== this.txid) continue;
      const name = nameFiles(files);
      if (this.tried.has(name)) continue;
      this.tried.add(name);
      return { files, leftOut };
    }
    return undefined;
  }

  /** How far one gets by files that nothing failed with; undefined if not even to a first state. */
  nearest(): Txid | undefined {
    return this.filesWithout(this.blamed, this.txid - 1)?.at(-1)?.maxTxid;
  }

  private filesWithout(leftOut: readonly UnfitFile[], txid: Txid): readonly StoreFile[] | undefined {
    const names = new Set(leftOut.map(({ file }) => describeFile(file)));
    const left = this.files.filter((file) => !names.has(describeFile(file)) && file.maxTxid <= txid);
    try {
      return planRestore(
        left,
        left.reduce((max, file) => Math.max(max, file.maxTxid), 0),
      ).files;
    } catch (error) {
      if (error instanceof SluiceError && error.code.startsWith('RESTORE_')) return undefined;
      throw error;
    }
  }
}

function nameFiles(files: readonly StoreFile[]): string {
  return files.map(describeFile).join(' ');
}
