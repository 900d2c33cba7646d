import { createHash } from 'node:crypto';
import {
  decodeManifest,
  findNewestByListing,
  LEVEL_INCREMENT,
  LEVEL_SNAPSHOT,
  leadOn,
  type Manifest,
  type Store,
  type StoredManifest,
  type StoreFile,
} from '../backup/index.js';
import { errorCode } from '../errors.js';
import { decodeHeader, HEADER_SIZE, type LtxHeader, type Position, type Txid, ZERO_POSITION } from '../ltx/index.js';
import type { Told } from './way.js';

/** Transactions that one uploaded file holds, at most. */
const OVERLAP = 10_000;

const NOTHING: Told = { run: 0n, position: ZERO_POSITION, files: [] };

/** What came of a look at a store. */
export interface Look {
  readonly told: Told;
  /** It is not the answer before. */
  readonly isNew: boolean;
  /** A position counts only if the store confirms it: the store was begun anew. */
  readonly doubtful: boolean;
}

/**
 * What a store tells of one database, with one conditional GET for each look. Where the manifest does not say, files are
 * listed, which costs more and so is done rarely.
 */
export class ToldStore {
  /** Of the version that was read twice. */
  private tag: string | undefined;
  private found: StoredManifest | undefined;
  private manifest: Manifest | undefined;
  private told = NOTHING;
  private listError: unknown;
  private generation = 0;
  private doubtful = false;
  private mustList = false;
  private listedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly store: Store,
    private readonly listMs: number,
    private readonly now: () => number,
  ) {}

  /** The manifest does not lead on, or names files that are gone: the next look lists. */
  doubt(): void {
    this.mustList = true;
  }

  /** The position was brought in line with what the store tells. */
  settle(): void {
    this.doubtful = false;
  }

  /** `held`: where the database is. Throws Store's errors, `STORE_MANIFEST`, and those of planRestore where it lists. */
  async look(held: Txid): Promise<Look> {
    const found = await this.store.readManifest(this.tag);
    let isNew = false;
    if (found !== 'same') {
      const manifest = found && decodeManifest(found.bytes);
      // A server that is no database may give the bytes of one version with the tag of the next. With that tag it would say
      // that nothing is new until there is another: so a version is asked for by its tag when it was read twice.
      this.tag = found !== undefined && isSame(found, this.found) ? found.tag : undefined;
      isNew = this.tag === undefined && this.take(manifest);
      this.found = found;
    }
    if (this.mustList && this.now() - this.listedMs >= this.listMs) {
      await this.listNow(held);
      isNew = true;
    }
    if (this.mustList && this.listError !== undefined) throw this.listError;
    return { told: this.told, isNew, doubtful: this.doubtful };
  }

  /** What is wrong with the files stays wrong until they are listed again. */
  private async listNow(held: Txid): Promise<void> {
    this.listedMs = this.now();
    this.listError = undefined;
    try {
      this.told = await this.list(held);
      this.mustList = this.manifest === undefined;
    } catch (error) {
      if (errorCode(error) === 'RESTORE_EMPTY' && this.manifest === undefined) this.told = NOTHING;
      else if (isUnrestorable(error)) this.listError = error;
      else throw error;
    }
  }

  /**
   * Whether a file that was uploaded leads to this position, though the manifest names it no more, since it was merged: one
   * LIST and a GET of a header. False if it is gone.
   */
  async hasBeenAt({ txid, checksum }: Position): Promise<boolean> {
    const range = {
      firstLevel: LEVEL_INCREMENT,
      lastLevel: LEVEL_INCREMENT,
      afterMinTxid: Math.max(0, txid - OVERLAP),
    };
    for await (const file of this.store.list(range)) {
      if (file.minTxid > txid) return false;
      if (file.maxTxid === txid) return (await readHeader(this.store, file))?.postApply === checksum;
    }
    return false;
  }

  private take(manifest: Manifest | undefined): boolean {
    const had = this.manifest;
    this.manifest = manifest;
    if (manifest === undefined) {
      this.mustList = true;
      return had !== undefined;
    }
    const { generation, position, files } = manifest;
    if (generation < this.generation) this.doubtful = true;
    this.generation = generation;
    this.told = { run: runOf(manifest), position, files };
    this.mustList = files.length === 0 && position.txid > 0;
    return true;
  }

  /** By the files themselves: what leads on from `held`, else all of it. */
  private async list(held: Txid): Promise<Told> {
    const limit = this.manifest === undefined ? Number.MAX_SAFE_INTEGER : this.manifest.position.txid;
    // With the file that leads to `held`, so that a store that has less is known from one that has nothing new.
    const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_SNAPSHOT, afterMinTxid: Math.max(0, held - 1) };
    const files: StoreFile[] = [];
    for await (const file of this.store.list(range)) if (file.maxTxid <= limit) files.push(file);
    const newest = files.reduce((max, file) => Math.max(max, file.maxTxid), 0);
    const way = leadOn(
      files.filter((file) => file.level !== LEVEL_SNAPSHOT),
      held,
    );
    const first = way[0]?.minTxid ?? held + 1;
    const leads = first > held && (way.at(-1)?.maxTxid ?? held) === newest;
    if (held > 0 && leads) return this.tell(way, newest);
    const all = await findNewestByListing(this.store);
    return this.tell(
      all.files.filter((file) => file.maxTxid <= limit),
      Math.min(limit, all.txid),
    );
  }

  private tell(files: readonly StoreFile[], txid: Txid): Told {
    const { manifest } = this;
    const named = manifest !== undefined && manifest.position.txid === txid;
    const checksum = named ? manifest.position.checksum : 0n;
    const run = manifest === undefined ? 0n : runOf(manifest);
    return { run, position: { txid, checksum }, files: files.map((file) => ({ ...file, checksum: 0n })) };
  }
}

/** Whether what is wrong is that the files lead nowhere. */
function isUnrestorable(error: unknown): boolean {
  return errorCode(error)?.startsWith('RESTORE_') === true;
}

/** Undefined if the file is gone, or has none. Throws Store's other errors. */
async function readHeader(store: Store, file: StoreFile): Promise<LtxHeader | undefined> {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of store.get(file, { offsetBytes: 0, lengthBytes: HEADER_SIZE })) pieces.push(piece);
    return decodeHeader(Buffer.concat(pieces));
  } catch (error) {
    const code = errorCode(error) ?? '';
    if (code === 'STORE_NOT_FOUND' || code.startsWith('LTX_')) return undefined;
    throw error;
  }
}

function isSame(a: StoredManifest, b: StoredManifest | undefined): boolean {
  return b !== undefined && a.tag === b.tag && Buffer.compare(a.bytes, b.bytes) === 0;
}

function runOf({ generation, owner }: Manifest): bigint {
  return createHash('sha256').update(`${generation} ${owner}`).digest().readBigUInt64BE() | 1n;
}
