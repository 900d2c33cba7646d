import { type Checksum, decodeHeader, HEADER_SIZE, LtxError } from '../ltx/index.js';
import { type FileKey, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { readAll, type Store } from './store.js';
import { StoredFiles } from './stored-files.js';

const SNAPSHOTS = { firstLevel: LEVEL_SNAPSHOT, lastLevel: LEVEL_SNAPSHOT };

/**
 * Looks up what a store holds: its snapshots, then what is newer than the newest of them. `overlap`: how many TXIDs one
 * uploaded file may span, since one that ends behind a snapshot may begin before it. Throws Store's errors.
 */
export async function findStoredFiles(store: Store, overlap: number): Promise<StoredFiles> {
  const files = new StoredFiles();
  for await (const file of store.list(SNAPSHOTS)) files.add(file);
  const afterMinTxid = Math.max(0, files.snapshotTxid - overlap);
  const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_SNAPSHOT - 1, afterMinTxid };
  for await (const file of store.list(range)) files.add(file);
  return files;
}

/**
 * Adds what came to a store since `files` were found: looks at its snapshots, and at what begins where the newest file
 * does. False if the newest file or snapshot is no longer there, so that nothing is known any more. Throws Store's errors.
 */
export async function findNewFiles(store: Store, files: StoredFiles): Promise<boolean> {
  const { newest, snapshotTxid } = files;
  if (newest === undefined || (newest.level !== LEVEL_INCREMENT && newest.level !== LEVEL_SNAPSHOT)) return false;
  let newestIsThere = false;
  let snapshotIsThere = snapshotTxid === 0;
  const add = (file: FileKey): void => {
    files.add(file);
    newestIsThere ||= file.level === newest.level && file.minTxid === newest.minTxid && file.maxTxid === newest.maxTxid;
    snapshotIsThere ||= file.level === LEVEL_SNAPSHOT && file.maxTxid === snapshotTxid;
  };
  for await (const file of store.list(SNAPSHOTS)) add(file);
  const afterMinTxid = newest.level === LEVEL_INCREMENT ? newest.minTxid - 1 : newest.maxTxid;
  const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_INCREMENT, afterMinTxid };
  for await (const file of store.list(range)) add(file);
  return newestIsThere && snapshotIsThere;
}

/** The database's checksum after a file, from its header; 0n if it names none, or is damaged. Throws Store's errors. */
export async function readChecksum(store: Store, file: FileKey): Promise<Checksum> {
  const range = { offsetBytes: 0, lengthBytes: HEADER_SIZE };
  const bytes = await readAll(store.get(file, range), HEADER_SIZE);
  try {
    return decodeHeader(bytes).postApply;
  } catch (error) {
    if (error instanceof LtxError) return 0n;
    throw error;
  }
}
