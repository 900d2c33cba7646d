import { errorCode, SluiceError } from '../errors.js';
import { type Position, type Txid, ZERO_POSITION } from '../ltx/index.js';
import { type FileKey, formatObjectKey, LEVEL_SNAPSHOT } from './file-names.js';
import { decodeManifest, encodeManifest, isNewerManifest, type Manifest, type ManifestFile } from './manifest.js';
import type { Store, StoredManifest, StoreFile } from './store.js';
import { StoredFiles } from './stored-files.js';
import { listNew, listStored, readChecksum } from './stored-state.js';
import { trustedFiles } from './trusted-files.js';
import type { StoredState } from './upload-plan.js';
import { endOf, findWay, type Way, withFile, withMerged } from './way.js';

/** Whether a store is still this process's is looked up if it wrote nothing there for so long. */
const SURE_MS = 10_000;
/** A way of more files is not told: readers then list. */
const MANIFEST_FILES = 2_000;

export interface LedgerOptions {
  /** Names the database in errors. */
  readonly database: string;
  readonly store: Store;
  /** Names the process that writes, `<node>/<process>`: what stands before the slash stays when a node starts again. */
  readonly owner: string;
  /** How many TXIDs a file of level 0 may span. */
  readonly overlap: number;
  /** A file was taken out of the chain that is not of this database's history. */
  readonly onSetAside?: (file: FileKey) => void;
  readonly now?: () => number;
}

/** Whether the database went through a position; undefined where that is too long ago to tell. */
export type Judge = (position: Position) => boolean | undefined;

/**
 * What one database's place in a store holds, as far as known, and the right to write there. The manifest is both: it names
 * the files that lead to the newest state, and each version of it can be replaced by one writer only. Who takes a store over
 * writes a manifest with the next generation; whoever had it before cannot write a manifest any more, and so learns it.
 *
 * Uploads and upkeep use it at the same time: what reads or writes the manifest happens one after the other.
 */
export class Ledger {
  private files: StoredFiles | undefined;
  /** As in the manifest that was written last, or as it was found. */
  private wayFiles: readonly ManifestFile[] = [];
  private stored: Position = ZERO_POSITION;
  private known = false;
  /** How often it was doubted: what is looked up meanwhile is not to be relied on. */
  private doubts = 0;
  /** What the manifest was last written with, by this node. */
  private confirmedPosition: Position = ZERO_POSITION;
  private tag: string | undefined;
  private generation = 0;
  private owned = false;
  private foreign = false;
  private sureSinceMs = Number.NEGATIVE_INFINITY;
  private fenced: SluiceError | undefined;
  /** In the store, but not of this database's history. */
  private unfit: StoreFile[] = [];
  /** Times in the manifests that were sent since one was certainly written: one of them may be there all the same. */
  private readonly sentMs = new Set<number>();
  private lastSentMs = 0;
  private turn: Promise<unknown> = Promise.resolve();
  private readonly now: () => number;

  constructor(private readonly options: LedgerOptions) {
    this.now = options.now ?? Date.now;
  }

  /** False before the first look, and after an error. */
  get isKnown(): boolean {
    return this.known;
  }

  /** Before the first look at all of it. */
  get isNew(): boolean {
    return this.files === undefined;
  }

  /** Undefined: an empty store. */
  get state(): StoredState | undefined {
    const { files, stored, foreign } = this;
    if (files?.newest === undefined) return undefined;
    const { snapshotTxid, restorableTxid } = files;
    return { position: stored, snapshotTxid, restorableTxid, foreign };
  }

  get snapshotTxid(): Txid {
    return this.files?.snapshotTxid ?? 0;
  }

  /** The files that a restore of the newest state takes, in order; empty if there is no way, or it is not known. */
  get way(): Way {
    return this.wayFiles;
  }

  /** Where the store certainly leads to: what its manifest says that this node wrote. */
  get confirmed(): Position {
    return this.confirmedPosition;
  }

  /** False where this node stored what its manifest does not say: it died, or met an error, between the two. */
  get isConfirmed(): boolean {
    const end = endOf(this.wayFiles);
    return this.foreign || end === undefined || end.txid === this.confirmedPosition.txid;
  }

  /** After an error: an upload that seemed to fail may be there. */
  doubt(): void {
    this.known = false;
    this.doubts++;
  }

  /** A file that should be there is not: all of the store has to be looked at again. */
  forget(): void {
    this.files = undefined;
    this.doubt();
  }

  /** Whether this process has taken the store over, and knows of nobody who did since. */
  get isOwned(): boolean {
    return this.owned;
  }

  /**
   * Looks up what the store holds; takes nothing over. Throws Store's errors, `STORE_FENCED`, `STORE_CHANGED`,
   * `STORE_MANIFEST`.
   */
  lookUp(judge: Judge): Promise<void> {
    return this.inTurn(() => this.look(judge));
  }

  /**
   * Before something is written: the store is, or becomes, this process's. False if it is not known any more what it holds.
   * Throws `STORE_FENCED`, `STORE_CHANGED`.
   */
  own(): Promise<boolean> {
    return this.inTurn(async () => {
      if (this.fenced !== undefined) throw this.fenced;
      if (!this.known) return false;
      if (!this.owned || !this.isConfirmed) await this.write(this.wayFiles);
      else if (!this.isSure()) await this.checkOwned();
      await this.setUnfitAside();
      return true;
    });
  }

  /** After something that took long, and before what cannot be undone. Throws `STORE_FENCED`, `STORE_CHANGED`. */
  stillOwn(): Promise<void> {
    return this.inTurn(async () => {
      this.mustOwn();
      if (!this.isSure()) await this.checkOwned();
    });
  }

  /**
   * A file was published that leads on, or, with `position`, to where increments go on from. It counts as stored when the
   * manifest names it.
   */
  added(file: ManifestFile, position?: Position): Promise<void> {
    return this.inTurn(async () => {
      this.mustOwn();
      await this.write(withFile(this.wayFiles, file));
      this.files?.add(file);
      if (position !== undefined) this.stored = position;
    });
  }

  /** Increments go on from a snapshot that is there already. */
  goOnFrom(position: Position): void {
    this.stored = position;
  }

  /** A file was published that holds what several others do. */
  merged(inputs: readonly FileKey[], output: ManifestFile): Promise<void> {
    return this.inTurn(async () => {
      this.mustOwn();
      await this.write(withMerged(this.wayFiles, inputs, output));
    });
  }

  /** Which of these are certainly of another history: somebody who had lost the store finished an upload. */
  async strangers(files: readonly StoreFile[], judge: Judge): Promise<StoreFile[]> {
    const named = new Set(this.wayFiles.map(formatObjectKey));
    const strangers: StoreFile[] = [];
    for (const file of files) {
      if (named.has(formatObjectKey(file))) continue;
      if (judge({ txid: file.maxTxid, checksum: await readChecksum(this.options.store, file) }) === false)
        strangers.push(file);
    }
    return strangers;
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const done = this.turn.then(action);
    this.turn = done.catch(() => undefined);
    return done;
  }

  private async look(judge: Judge): Promise<void> {
    if (this.fenced !== undefined) throw this.fenced;
    const { store, overlap } = this.options;
    const { doubts } = this;
    const manifest = await this.readManifest();
    const unfit: StoreFile[] = [];
    const named = this.foreign ? undefined : manifest;
    const known = this.files;
    const believedTxid = Math.min(
      named?.position.txid ?? 0,
      known === undefined ? Number.POSITIVE_INFINITY : this.stored.txid,
    );
    const fits = (file: StoreFile): Promise<boolean> => this.fits(file, named, believedTxid, judge, unfit);
    const found = known === undefined ? await listStored(store, overlap, fits) : await listNew(store, known);
    if (found === undefined) {
      this.files = undefined;
      this.stored = ZERO_POSITION;
      return;
    }
    const fit: StoreFile[] = [];
    // The snapshots of a first look were asked about.
    for (const file of found) {
      if ((known === undefined && file.level === LEVEL_SNAPSHOT) || (await fits(file))) fit.push(file);
    }
    const files = known ?? new StoredFiles();
    for (const file of fit) files.add(file);
    const checksum = files.newest === undefined ? 0n : await readChecksum(store, files.newest);
    const trusted = known === undefined ? await trustedFiles(store, fit, named?.files ?? []) : [];
    if (this.doubts !== doubts) return;
    this.unfit = unfit;
    this.stored = files.newest === undefined ? ZERO_POSITION : { txid: files.newest.maxTxid, checksum };
    const before = known === undefined ? [] : this.wayFiles;
    const byListing = findWay([...before, ...fit], manifest?.files ?? [], this.stored);
    const later = fit.filter((file) => file.maxTxid > believedTxid);
    const byManifest = trusted.length === 0 ? [] : findWay([...trusted, ...later], trusted, this.stored);
    // A stranger's file between those that the manifest names would end later, and be taken for the better one.
    this.wayFiles = endOf(byManifest)?.txid === endOf(byListing)?.txid ? byManifest : byListing;
    this.files = files;
    this.known = true;
  }

  /**
   * Whether a file that was found is to be believed. What is behind the position of this node's own manifest, or what this
   * process stored, has to be of its history; and so has a snapshot that the way does not begin with though it is newer, or it would become its beginning.
   */
  private async fits(
    file: StoreFile,
    manifest: Manifest | undefined,
    believedTxid: Txid,
    judge: Judge,
    unfit: StoreFile[],
  ): Promise<boolean> {
    if (manifest === undefined) return true;
    const first = manifest.files[0];
    const isNewStart = file.level === LEVEL_SNAPSHOT && first !== undefined && file.maxTxid > first.maxTxid;
    if (file.maxTxid <= believedTxid && !isNewStart) return true;
    const judged = judge({ txid: file.maxTxid, checksum: await readChecksum(this.options.store, file) });
    if (judged === false) unfit.push(file);
    return judged ?? !isNewStart;
  }

  private async setUnfitAside(): Promise<void> {
    for (let file = this.unfit[0]; file !== undefined; file = this.unfit[0]) {
      await this.options.store.setAside(file);
      this.unfit.shift();
      this.options.onSetAside?.(file);
    }
  }

  /** Neither long ago, nor in a future that a clock came back from. */
  private isSure(): boolean {
    const ageMs = this.now() - this.sureSinceMs;
    return ageMs >= 0 && ageMs < SURE_MS;
  }

  private async checkOwned(): Promise<void> {
    this.mustOwn();
    const found = await this.options.store.readManifest(this.tag);
    if (found !== 'same') this.meet(found);
    this.sureSinceMs = this.now();
  }

  private mustOwn(): void {
    if (this.fenced !== undefined) throw this.fenced;
    if (!this.owned) throw this.changed();
  }

  private async write(way: Way): Promise<void> {
    const { store, owner } = this.options;
    const generation = this.owned ? this.generation : this.generation + 1;
    this.lastSentMs = Math.max(this.now(), this.lastSentMs + 1);
    const manifest: Manifest = {
      generation,
      owner,
      writtenMs: this.lastSentMs,
      position: endOf(way) ?? this.stored,
      files: way.length > MANIFEST_FILES ? [] : way,
    };
    const bytes = encodeManifest(manifest);
    this.sentMs.add(this.lastSentMs);
    try {
      this.tag = await store.writeManifest(bytes, this.tag);
    } catch (error) {
      if (errorCode(error) !== 'STORE_CONFLICT') throw error;
      const there = await store.readManifest();
      this.meet(there === 'same' ? undefined : there);
      this.tag = await store.writeManifest(bytes, this.tag);
    }
    this.sentMs.clear();
    this.wayFiles = way;
    this.confirmedPosition = manifest.position;
    this.generation = generation;
    this.owned = true;
    this.foreign = false;
    this.sureSinceMs = this.now();
  }

  /** Another version than the one that was known is there. Returns if this process sent it, else throws. */
  private meet(found: StoredManifest | undefined): void {
    const { database, owner, store } = this.options;
    const manifest = found && decodeManifest(found.bytes);
    const isOwn = manifest !== undefined && this.owned && manifest.generation === this.generation;
    // An older version of its own is not: the store was put back, and lacks what came since.
    if (isOwn && manifest.owner === owner && (found!.tag === this.tag || this.sentMs.has(manifest.writtenMs))) {
      this.tag = found!.tag;
      this.confirmedPosition = manifest.position;
      this.sentMs.clear();
      return;
    }
    const lost = manifest !== undefined && manifest.generation > this.generation && this.hadIt(manifest);
    this.owned = false;
    this.forget();
    if (!lost) throw this.changed();
    this.fenced = new SluiceError(
      'STORE_FENCED',
      `${store.url}: another primary (${manifest.owner}) has taken over the backup of ${database}`,
      'Nothing more is stored from here. Stop one of the two; to go on from this one start it again',
    );
    throw this.fenced;
  }

  private changed(): SluiceError {
    return new SluiceError(
      'STORE_CHANGED',
      `${this.options.store.url}: the backup of ${this.options.database} was changed by others`,
      'It is looked at anew, and gone on with if it can be',
    );
  }

  /** Whether it was this process's; or this node's when it was looked at last, and is another one's now. */
  private hadIt(now: Manifest): boolean {
    const { owner } = this.options;
    return this.owned || (this.tag !== undefined && !this.foreign && nodeOf(now.owner) !== nodeOf(owner));
  }

  private async readManifest(): Promise<Manifest | undefined> {
    const { store, owner } = this.options;
    const found = await store.readManifest();
    if (found === undefined || found === 'same') {
      this.tag = undefined;
      this.owned = false;
      this.foreign = false;
      this.confirmedPosition = ZERO_POSITION;
      return undefined;
    }
    const manifest = readable(found.bytes);
    if (manifest === undefined) {
      // Whose it was nobody can tell: it is replaced by who leads on from the files.
      this.tag = found.tag;
      this.owned = false;
      this.foreign = true;
      this.confirmedPosition = ZERO_POSITION;
      return undefined;
    }
    if (this.owned || (manifest.generation > this.generation && this.hadIt(manifest))) {
      this.meet(found);
    } else {
      this.tag = found.tag;
      this.generation = Math.max(this.generation, manifest.generation);
      this.foreign = nodeOf(manifest.owner) !== nodeOf(owner);
      this.confirmedPosition = this.foreign ? ZERO_POSITION : manifest.position;
    }
    return manifest;
  }
}

function nodeOf(owner: string): string {
  return owner.split('/', 1)[0]!;
}

/** Undefined for a damaged one. Throws `STORE_MANIFEST` for one of a newer version. */
function readable(bytes: Uint8Array): Manifest | undefined {
  try {
    return decodeManifest(bytes);
  } catch (error) {
    if (isNewerManifest(bytes)) throw error;
    return undefined;
  }
}
