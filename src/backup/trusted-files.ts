import { formatObjectKey, LEVEL_INCREMENT } from './file-names.js';
import type { ManifestFile } from './manifest.js';
import type { Store, StoreFile } from './store.js';
import { readChecksum } from './stored-state.js';

/**
 * Of the files that were found, those that are certainly of a manifest's history: those it names, and merges of several of them,
 * which end with the same database: a process may die before its manifest says so. None if one that is named was not found.
 * Throws Store's errors.
 */
export async function trustedFiles(
  store: Store,
  found: readonly StoreFile[],
  named: readonly ManifestFile[],
): Promise<ManifestFile[]> {
  const names = new Set(found.map(formatObjectKey));
  if (!named.every((file) => names.has(formatObjectKey(file)))) return [];
  const trusted = [...named];
  for (const file of found) {
    const first = named.findIndex(({ minTxid }) => minTxid === file.minTxid);
    const last = named.findIndex(({ maxTxid }) => maxTxid === file.maxTxid);
    if (file.level === LEVEL_INCREMENT || first < 0 || last <= first) continue;
    const { checksum } = named[last]!;
    if (checksum !== 0n && (await readChecksum(store, file)) === checksum) trusted.push({ ...file, checksum });
  }
  return trusted;
}
