import { type Checksum, decodeHeader, HEADER_SIZE, LtxError } from '../ltx/index.js';
import { compareFiles, type FileKey, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { readAll, type Store, type StoreFile } from './store.js';
import type { StoredFiles } from './stored-files.js';

const SNAPSHOTS = { firstLevel: LEVEL_SNAPSHOT, lastLevel: LEVEL_SNAPSHOT };

/**
 * What a store holds: its snapshots, then what ends behind the newest of them. `overlap`: how many TXIDs one uploaded file
 * may span, since one that ends behind a snapshot may begin before it. `fits` says which snapshots are to be believed. Throws
 * Store's errors.
 */
export async function listStored(
  store: Store,
  overlap: number,
  fits: (snapshot: StoreFile) => Promise<boolean>,
): Promise<StoreFile[]> {
  const files: StoreFile[] = [];
  for await (const file of store.list(SNAPSHOTS)) if (await fits(file)) files.push(file);
  const snapshotTxid = files.reduce((max, file) => Math.max(max, file.maxTxid), 0);
  const afterMinTxid = Math.max(0, snapshotTxid - overlap);
  const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_SNAPSHOT - 1, afterMinTxid };
  for await (const file of store.list(range)) if (file.maxTxid > snapshotTxid) files.push(file);
  return files;
}

/**
 * What came to a store since it held `known`: looks at its snapshots, and at what begins where the newest file does.
 * Undefined if the newest file or snapshot is no longer there, so that nothing is known any more. Throws Store's errors.
 */
export async function listNew(store: Store, known: StoredFiles): Promise<StoreFile[] | undefined> {
  const { newest, snapshotTxid } = known;
  if (newest === undefined || (newest.level !== LEVEL_INCREMENT && newest.level !== LEVEL_SNAPSHOT)) return undefined;
  const files: StoreFile[] = [];
  for await (const file of store.list(SNAPSHOTS)) files.push(file);
  const snapshotIsThere = snapshotTxid === 0 || files.some((file) => file.maxTxid === snapshotTxid);
  const afterMinTxid = newest.level === LEVEL_INCREMENT ? newest.minTxid - 1 : newest.maxTxid;
  const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_INCREMENT, afterMinTxid };
  for await (const file of store.list(range)) files.push(file);
  const newestIsThere = files.some((file) => compareFiles(file, newest) === 0);
  return newestIsThere && snapshotIsThere ? files : undefined;
}

/** The database's checksum after a file, from its header; 0n if it names none, or is damaged. Throws Store's errors. */
export async function readChecksum(store: Store, file: FileKey): Promise<Checksum> {
  const range = { offsetBytes: 0, lengthBytes: HEADER_SIZE };
  try {
    return decodeHeader(await readAll(store.get(file, range), HEADER_SIZE)).postApply;
  } catch (error) {
    if (error instanceof LtxError) return 0n;
    throw error;
  }
}
