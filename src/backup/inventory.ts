import { describeError, SluiceError } from '../errors.js';
import type { Txid } from '../ltx/index.js';
import { LEVEL_SNAPSHOT } from './file-names.js';
import { decodeManifestOf, type Manifest } from './manifest.js';
import { planRestore } from './restore-plan.js';
import type { Store, StoreFile } from './store.js';

/** What a store holds of one database. Times are Unix milliseconds. */
export interface Inventory {
  readonly url: string;
  readonly files: number;
  readonly sizeBytes: number;
  /** How far a restore gets, and of when that is; undefined if there is nothing that can be restored. */
  readonly newest: { readonly txid: Txid; readonly timeMs: number } | undefined;
  /** Whether there are files behind that, which nothing leads to. */
  readonly hasGap: boolean;
  /** From here on there are states to restore. */
  readonly oldest: { readonly txid: Txid; readonly timeMs: number } | undefined;
  readonly snapshots: readonly StoreFile[];
  readonly levels: readonly LevelInventory[];
  readonly manifest: Manifest | undefined;
  /** Why there is none, though there is a file of its name; the rest is what a listing of the files tells. */
  readonly manifestProblem: string | undefined;
}

/** The files of one level below the snapshots'. */
export interface LevelInventory {
  readonly level: number;
  readonly files: number;
  readonly sizeBytes: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** One LIST and one GET. Throws Store's errors. */
export async function takeInventory(store: Store): Promise<Inventory> {
  const files = await store.listAll();
  const read = await store.readManifest();
  if (read === undefined || read === 'same') return inventoryOf(store.url, files, undefined);
  try {
    return inventoryOf(store.url, files, decodeManifestOf(store.url, read.bytes));
  } catch (error) {
    if (!(error instanceof SluiceError) || error.code !== 'STORE_MANIFEST') throw error;
    return { ...inventoryOf(store.url, files, undefined), manifestProblem: describeError(error) };
  }
}

/** Pure. */
export function inventoryOf(url: string, files: readonly StoreFile[], manifest: Manifest | undefined): Inventory {
  const snapshots = files.filter((file) => file.level === LEVEL_SNAPSHOT);
  const levels = new Map<number, LevelInventory>();
  for (const file of files) {
    if (file.level === LEVEL_SNAPSHOT) continue;
    const { level, minTxid, maxTxid, timeMs, sizeBytes } = file;
    const so = levels.get(level);
    levels.set(level, {
      level,
      files: (so?.files ?? 0) + 1,
      sizeBytes: (so?.sizeBytes ?? 0) + sizeBytes,
      minTxid: Math.min(so?.minTxid ?? minTxid, minTxid),
      maxTxid: Math.max(so?.maxTxid ?? maxTxid, maxTxid),
      firstMs: Math.min(so?.firstMs ?? timeMs, timeMs),
      lastMs: Math.max(so?.lastMs ?? timeMs, timeMs),
    });
  }
  const last = newestOf(files);
  const first = files.filter((file) => file.minTxid === 1).sort((a, b) => a.maxTxid - b.maxTxid)[0];
  return {
    url,
    files: files.length,
    sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    newest: last && { txid: last.maxTxid, timeMs: commitTime(last, manifest) },
    hasGap: files.some((file) => file.maxTxid > (last?.maxTxid ?? 0)),
    oldest: first && { txid: first.maxTxid, timeMs: first.timeMs },
    snapshots,
    levels: [...levels.values()].sort((a, b) => a.level - b.level),
    manifest,
    manifestProblem: undefined,
  };
}

/** A bucket's listing has the time of an upload, which for a merge is later than that of its transactions. */
function commitTime(last: StoreFile, manifest: Manifest | undefined): number {
  const named = manifest?.files.at(-1);
  return named?.maxTxid === last.maxTxid ? Math.min(named.timeMs, last.timeMs) : last.timeMs;
}

/** The file that a restore of the newest state ends with. */
function newestOf(files: readonly StoreFile[]): StoreFile | undefined {
  const limit = files.reduce((max, file) => Math.max(max, file.maxTxid), 0);
  try {
    return planRestore(files, limit).files.at(-1);
  } catch (error) {
    if (error instanceof SluiceError && error.code.startsWith('RESTORE_')) return undefined;
    throw error;
  }
}
