import { errorCode, SluiceError } from '../errors.js';
import { type Checksum, decodeHeader, HEADER_SIZE, type LtxHeader, type Txid } from '../ltx/index.js';
import { LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { decodeManifest, type Manifest } from './manifest.js';
import { planRestore } from './restore-plan.js';
import { readAll, type Store, type StoredManifest, type StoreFile } from './store.js';

/** A primary writes the manifest after each upload: where more files than this are behind it, it is not looked at. */
const BEHIND_LIMIT = 64;

/** The files that lead to a database's newest state. */
export interface Newest {
  /** To be applied in this order: a snapshot, then what leads on from it. */
  readonly files: readonly StoreFile[];
  readonly txid: Txid;
  /** The database's at `txid`; 0n where only the files' contents tell it. */
  readonly checksum: Checksum;
  /** The manifest that led to it; undefined where a listing of all files did. */
  readonly manifest: Manifest | undefined;
  /** Files of later transactions that do not continue from `txid`: a primary left them that had lost the store. */
  readonly unfit: readonly UnfitFile[];
}

/** A file that is left out, and why. */
export interface UnfitFile {
  readonly file: StoreFile;
  readonly why: string;
  /** Nothing may be wrong with it: it is another primary's, or one that is being stored now. Else it is damaged. */
  readonly isUnnamed?: true;
}

/** A level-0 file that begins behind a manifest's position. */
export interface FileBehind {
  readonly file: StoreFile;
  readonly header: LtxHeader;
}

/**
 * By the manifest, and what was uploaded since it was written; where that does not lead anywhere, by a listing of all files.
 * A manifest may name a file that is gone: who meets that asks `findNewestByListing`.
 * Throws Store's errors and those of planRestore.
 */
export async function findNewest(store: Store): Promise<Newest> {
  return (await findByManifest(store)) ?? (await findNewestByListing(store));
}

/**
 * One GET, and a LIST of level 0 behind the manifest's position and one of the snapshots. Undefined if there is no manifest,
 * or one that is not understood or too old.
 */
export async function findByManifest(store: Store): Promise<Newest | undefined> {
  const manifest = readManifest(await store.readManifest());
  return manifest === undefined || manifest.files.length === 0 ? undefined : continueManifest(store, manifest);
}

/** By a listing of all files, whatever the manifest says. */
export async function findNewestByListing(store: Store): Promise<Newest> {
  const { files, txid } = planRestore(await store.listAll());
  return { files, txid, checksum: 0n, manifest: undefined, unfit: [] };
}

/**
 * Adds to a manifest's way what continues it. Pure. Undefined if the manifest cannot be right or says too little: there is
 * a hole behind it, or a file that does not say what it follows (another program's).
 */
export function followManifest(manifest: Manifest, behind: readonly FileBehind[]): Newest | undefined {
  const files: StoreFile[] = [...manifest.files];
  let { txid, checksum } = manifest.position;
  for (;;) {
    const next = behind.filter(({ file }) => file.minTxid === txid + 1);
    if (next.some(({ header }) => header.preApply === 0n)) return undefined;
    const fitting = next.filter(({ header }) => checksum === 0n || header.preApply === checksum);
    const longest = fitting.reduce<FileBehind | undefined>(longer, undefined);
    if (longest === undefined) break;
    files.push(longest.file);
    txid = longest.file.maxTxid;
    checksum = longest.header.postApply;
  }
  const rest = behind.filter(({ file }) => file.maxTxid > txid).map(({ file }) => file);
  // They are another chain if they lead on from one that does not fit; after a hole nobody can know whose they are.
  let reached = txid;
  for (const file of rest) {
    if (file.minTxid > reached + 1) return undefined;
    reached = Math.max(reached, file.maxTxid);
  }
  const why = 'it does not continue from the newest state that the manifest leads to';
  return { files, txid, checksum, manifest, unfit: rest.map((file) => ({ file, why, isUnnamed: true })) };
}

function longer(best: FileBehind | undefined, other: FileBehind): FileBehind {
  return best === undefined || other.file.maxTxid > best.file.maxTxid ? other : best;
}

async function continueManifest(store: Store, manifest: Manifest): Promise<Newest | undefined> {
  const { txid } = manifest.position;
  const [increments, snapshots] = await Promise.all([filesBehind(store, txid), snapshotsBehind(store, txid)]);
  if (increments.length > BEHIND_LIMIT) return undefined;
  const headers = await Promise.all(increments.map((file) => readFileHeader(store, file)));
  const behind: FileBehind[] = [];
  for (const [i, file] of increments.entries()) {
    const header = headers[i];
    if (header === undefined || header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) return undefined;
    behind.push({ file, header });
  }
  const newest = followManifest(manifest, behind);
  if (newest === undefined) return undefined;
  // A snapshot does not say what it follows: what counts as stored is named by the manifest.
  const why = 'the manifest does not name it: a primary that had lost the store may have left it';
  const late = snapshots
    .filter((file) => file.maxTxid > newest.txid)
    .map((file) => ({ file, why, isUnnamed: true as const }));
  return { ...newest, unfit: [...newest.unfit, ...late] };
}

/** Level-0 files that begin behind a TXID; no more than one over the limit. */
async function filesBehind(store: Store, txid: Txid): Promise<StoreFile[]> {
  const found: StoreFile[] = [];
  const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_INCREMENT, afterMinTxid: txid };
  for await (const file of store.list(range)) if (found.push(file) > BEHIND_LIMIT) break;
  return found;
}

async function snapshotsBehind(store: Store, txid: Txid): Promise<StoreFile[]> {
  const found: StoreFile[] = [];
  const range = { firstLevel: LEVEL_SNAPSHOT, lastLevel: LEVEL_SNAPSHOT };
  for await (const file of store.list(range)) if (file.maxTxid > txid) found.push(file);
  return found;
}

/** Undefined if the file is gone, or what is there has no header. Throws Store's other errors. */
export async function readFileHeader(store: Store, file: StoreFile): Promise<LtxHeader | undefined> {
  try {
    const range = { offsetBytes: 0, lengthBytes: HEADER_SIZE };
    return decodeHeader(await readAll(store.get(file, range), HEADER_SIZE));
  } catch (error) {
    const code = errorCode(error) ?? '';
    if (code === 'STORE_NOT_FOUND' || code.startsWith('LTX_')) return undefined;
    throw error;
  }
}

function readManifest(stored: StoredManifest | 'same' | undefined): Manifest | undefined {
  if (stored === undefined || stored === 'same') return undefined;
  try {
    return decodeManifest(stored.bytes);
  } catch (error) {
    if (error instanceof SluiceError && error.code === 'STORE_MANIFEST') return undefined;
    throw error;
  }
}
