import { type Checksum, decodeHeader, HEADER_SIZE, LtxError } from '../ltx/index.js';
import { LEVEL_SNAPSHOT } from './file-names.js';
import { readAll, type Store, type StoreFile } from './store.js';
import type { StoredState } from './upload-plan.js';

/**
 * Looks up the newest state that a store holds: one listing, and the header of the newest file for its checksum (0n if
 * it names none, or is damaged). Undefined for an empty store. Throws Store's errors.
 */
export async function readStoredState(store: Store): Promise<StoredState | undefined> {
  let newest: StoreFile | undefined;
  let snapshotTxid = 0;
  for (const file of await store.listAll()) {
    // A snapshot is preferred at the same TXID: it is what a restore would begin with.
    if (newest === undefined || file.maxTxid >= newest.maxTxid) newest = file;
    if (file.level === LEVEL_SNAPSHOT) snapshotTxid = Math.max(snapshotTxid, file.maxTxid);
  }
  if (newest === undefined) return undefined;
  return { position: { txid: newest.maxTxid, checksum: await readChecksum(store, newest) }, snapshotTxid };
}

async function readChecksum(store: Store, file: StoreFile): Promise<Checksum> {
  const range = { offsetBytes: 0, lengthBytes: HEADER_SIZE };
  const bytes = await readAll(store.get(file, range), HEADER_SIZE);
  try {
    return decodeHeader(bytes).postApply;
  } catch (error) {
    if (error instanceof LtxError) return 0n;
    throw error;
  }
}
