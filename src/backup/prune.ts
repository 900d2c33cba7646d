import { SluiceError } from '../errors.js';
import { decodeManifestOf } from './manifest.js';
import { planRestore } from './restore-plan.js';
import { planRetention, type RetentionPolicy } from './retention-plan.js';
import type { Store, StoreFile } from './store.js';

/** What a pruning removes, or would remove, and what stays. */
export interface Pruning {
  readonly removed: readonly StoreFile[];
  readonly kept: readonly StoreFile[];
}

/**
 * Applies a retention policy to what a store holds of one database; `dryRun`: only says what it would do. Throws Store's
 * errors, and `STORE_MANIFEST` where it cannot be known what the manifest needs: then nothing is removed.
 */
export async function prune(store: Store, policy: RetentionPolicy, dryRun: boolean): Promise<Pruning> {
  const files = await store.listAll();
  const removed = planRetention(files, await wayOf(store, files), policy, Date.now());
  const gone = new Set(removed);
  if (!dryRun) await store.delete(removed);
  return { removed, kept: files.filter((file) => !gone.has(file)) };
}

/** What leads to the newest state: as the manifest says, and as the files do. */
async function wayOf(store: Store, files: readonly StoreFile[]): Promise<StoreFile[]> {
  const read = await store.readManifest();
  const named = read === undefined || read === 'same' ? [] : decodeManifestOf(store.url, read.bytes).files;
  try {
    return [...named, ...planRestore(files).files];
  } catch (error) {
    // Where a file is missing, the primary is about to store a snapshot: nothing but what it names is sure to be needed.
    if (error instanceof SluiceError && error.code.startsWith('RESTORE_')) return [...named];
    throw error;
  }
}
