import { describeError, errorCode, SluiceError } from '../errors.js';
import { type Checksum, formatChecksum, formatTxid, type Txid } from '../ltx/index.js';
import { describeFile, type FileKey } from './file-names.js';
import { decodeManifest, type Manifest } from './manifest.js';
import type { Store, StoreFile } from './store.js';
import { type VerifyGroup, verifyOrder } from './verify-order.js';
import { VerifyReader } from './verify-reader.js';
import type { VerifyProblem, VerifyResult } from './verify-result.js';
import { type CheckedFile, type Flaw, UnfitError, VerifyWays } from './verify-ways.js';

/** Problems that are described; further ones are counted. */
const PROBLEMS_LIMIT = 100;
/** Files that cannot be read, one after the other, before it is the store's trouble and not theirs. */
const UNREADABLE_LIMIT = 3;
/** Listings that are made again because files were deleted meanwhile. */
const LISTINGS_LIMIT = 20;

export interface VerifyOptions {
  readonly store: Store;
  readonly onProgress?: (progress: VerifyProgress) => void;
  readonly signal?: AbortSignal;
}

/** Compressed bytes. The total changes only if files were deleted or added meanwhile. */
export interface VerifyProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/**
 * Checks all files of a database's backup, each read once: its own checksums, that it follows the one before it, and the
 * checksum of the whole database after it, from each whole database on that is kept. No database is written: 8 bytes are
 * held for each of its pages. What is wrong is in the result; throws Store's errors where nothing can be read at all,
 * `RESTORE_EMPTY`, and `VERIFY_ABORTED`.
 */
export async function verifyBackup(options: VerifyOptions): Promise<VerifyResult> {
  const stored = await options.store.readManifest();
  const files = await options.store.listAll();
  if (files.length === 0 && stored === undefined)
    throw new SluiceError('RESTORE_EMPTY', `${options.store.url}: there is no backup`);
  const verification = new Verification(options, files);
  if (stored !== undefined && stored !== 'same') verification.useManifest(stored.bytes);
  await verification.run();
  return verification.result();
}

/** The database's checksum after a transaction, and the file that says so. */
interface Claim {
  readonly checksum: Checksum;
  readonly file: FileKey;
}

class Verification {
  private readonly ways = new VerifyWays();
  private readonly claims = new Map<Txid, Claim>();
  /** The same of the format's own checksums, which only files of others have. */
  private readonly standardClaims = new Map<Txid, Claim>();
  private readonly problems: VerifyProblem[] = [];
  private readonly notes: string[] = [];
  private readonly read = new Set<string>();
  private manifest: Manifest | undefined;
  private problemCount = 0;
  private images = 0;
  private unnamed = 0;
  private loose = 0;
  private removed = 0;
  private doneBytes = 0;
  private totalBytes: number;
  private unreadable = 0;
  private readonly timesMs = new Map<Txid, number>();
  /** Files of other histories that no restore uses begin here. */
  private leftTxid: Txid | undefined;

  constructor(
    private readonly options: VerifyOptions,
    private files: readonly StoreFile[],
  ) {
    this.totalBytes = sizeOf(files);
  }

  useManifest(bytes: Uint8Array): void {
    try {
      this.manifest = decodeManifest(bytes);
    } catch (error) {
      this.problem('VERIFY_MANIFEST', undefined, describeError(error), NEW_MANIFEST);
      return;
    }
    const there = new Set(this.files.map(describeFile));
    for (const file of this.manifest.files) {
      if (there.has(describeFile(file))) continue;
      this.problem('VERIFY_MANIFEST', file, 'the manifest names it, but it is not there', NEW_SNAPSHOT);
    }
  }

  async run(): Promise<void> {
    let groups = verifyOrder(this.files);
    for (let listings = 1; ; listings++) {
      const stoppedAt = await this.readGroups(groups);
      if (stoppedAt === undefined) break;
      if (listings === LISTINGS_LIMIT)
        throw new SluiceError(
          'STORE_FAILED',
          `${this.options.store.url}: files are deleted faster than they can be read`,
        );
      this.files = await this.options.store.listAll();
      this.totalBytes = sizeOf(this.files);
      groups = verifyOrder(
        this.files.filter((file) => !this.read.has(describeFile(file))),
        stoppedAt,
        this.ways.ends,
      );
    }
    this.checkEnd();
  }

  result(): VerifyResult {
    const { newest } = this.ways;
    const txid = newest?.txid ?? 0;
    const notes = [...this.notes];
    if (this.unnamed > 0)
      notes.push(`files that name no database checksum, and were compared with each other: ${this.unnamed}`);
    if (this.loose > 0)
      notes.push(`files that nothing leads to, of which only their own checksums were checked: ${this.loose}`);
    if (this.removed > 0) notes.push(`files that were deleted meanwhile, as retention does: ${this.removed}`);
    return {
      url: this.options.store.url,
      files: this.read.size - this.removed,
      images: this.images,
      readBytes: this.doneBytes,
      txid,
      checksum: newest?.sums.checksum() ?? 0n,
      timestampMs: this.timesMs.get(txid) ?? 0,
      pageSize: newest?.sums.pageSize ?? 0,
      pageCount: newest?.commit ?? 0,
      unnamedFiles: this.unnamed,
      looseFiles: this.loose,
      problems: this.problems,
      problemCount: this.problemCount,
      notes,
    };
  }

  /** Undefined when all were read; else a file was found to be deleted meanwhile, and this is where it got until then. */
  private async readGroups(groups: readonly VerifyGroup<StoreFile>[]): Promise<Txid | undefined> {
    const reader = new VerifyReader(
      this.options.store,
      groups.flatMap(({ files }) => files),
    );
    let index = 0;
    this.ways.advance(0, groups[0]?.txid ?? Number.POSITIVE_INFINITY);
    for (const [i, group] of groups.entries()) {
      if (group.anew) this.checkBreak(group);
      for (const file of group.files) {
        if (await this.readFile(file, reader.read(index++))) continue;
        return this.ways.advance(group.txid, group.txid);
      }
      this.ways.advance(group.txid, groups[i + 1]?.txid ?? Number.POSITIVE_INFINITY);
    }
    return undefined;
  }

  /** False if it was deleted since the listing. */
  private async readFile(file: StoreFile, pieces: AsyncIterable<Uint8Array>): Promise<boolean> {
    const name = describeFile(file);
    const check = this.ways.file(file);
    try {
      for await (const piece of pieces) {
        if (this.options.signal?.aborted === true)
          throw new SluiceError('VERIFY_ABORTED', 'the verification was stopped');
        check.push(piece);
        this.progress(piece.length);
      }
      const checked = check.end();
      this.ways.take(check);
      this.note(file, checked);
    } catch (error) {
      if (errorCode(error) === 'STORE_NOT_FOUND' && !(await this.isListed(file))) {
        this.read.add(name);
        this.removed++;
        return false;
      }
      this.unfit(file, error);
    }
    this.read.add(name);
    return true;
  }

  private async isListed(file: StoreFile): Promise<boolean> {
    const range = { firstLevel: file.level, lastLevel: file.level, afterMinTxid: file.minTxid - 1 };
    for await (const other of this.options.store.list(range)) {
      if (other.minTxid > file.minTxid) return false;
      if (other.maxTxid === file.maxTxid) return true;
    }
    return false;
  }

  private progress(bytes: number): void {
    this.doneBytes += bytes;
    const { doneBytes, totalBytes } = this;
    this.options.onProgress?.({ doneBytes, totalBytes: Math.max(totalBytes, doneBytes) });
  }

  /** Of a file whose own checksums are right. */
  private note(file: StoreFile, checked: CheckedFile): void {
    this.unreadable = 0;
    const { header, named, states, flaws } = checked;
    if (file.minTxid === 1) this.images++;
    if (!named) this.unnamed++;
    if (states === 0) this.loose++;
    this.timesMs.set(header.maxTxid, header.timestampMs);
    if (flaws.some(({ image }) => image === undefined)) {
      for (const flaw of flaws) this.flaw(file, flaw);
      return;
    }
    for (const flaw of flaws) this.stray(flaw.image!, flaw);
    this.compareBefore(file, checked);
    this.compareAfter(file, checked);
  }

  /** A whole database that others show to be wrong: nothing is compared with it any more. */
  private stray(image: FileKey, flaw: Flaw): void {
    if (this.claims.get(image.maxTxid)?.file === image) this.claims.delete(image.maxTxid);
    this.flaw(image, flaw);
  }

  private flaw(file: FileKey, { message, link }: Flaw): void {
    const position = this.manifest?.position.txid;
    if (link && position !== undefined && file.minTxid > position) {
      // A primary that had lost the store left it; restores look at the header, too.
      this.leftTxid = Math.min(this.leftTxid ?? file.minTxid, file.minTxid);
      this.notes.push(`${describeFile(file)} is of another history, and no restore uses it: ${message}`);
      return;
    }
    this.problem('VERIFY_CHAIN', file, message, NEW_SNAPSHOT);
  }

  /** What it says of the state before it, where no state showed it. */
  private compareBefore(file: StoreFile, { header }: CheckedFile): void {
    this.mustFollow(file, header.preApply, this.claims.get(file.minTxid - 1));
    this.mustFollow(file, header.standardPreApply ?? 0n, this.standardClaims.get(file.minTxid - 1));
  }

  private mustFollow(file: StoreFile, preApply: Checksum, before: Claim | undefined): void {
    if (before === undefined || preApply === 0n || before.checksum === preApply) return;
    const message = `it follows the checksum ${formatChecksum(preApply)}, but ${describeFile(before.file)} ends with ${formatChecksum(before.checksum)}`;
    this.problem('VERIFY_CHAIN', file, message, NEW_SNAPSHOT);
  }

  /** All files that end with a transaction have to agree on what the database is then. */
  private compareAfter(file: StoreFile, { checksum, standardPostApply = 0n }: CheckedFile): void {
    this.mustAgree(file, checksum, this.claims);
    this.mustAgree(file, standardPostApply, this.standardClaims);
  }

  private mustAgree(file: StoreFile, checksum: Checksum, claims: Map<Txid, Claim>): void {
    if (checksum === 0n) return;
    const other = claims.get(file.maxTxid);
    if (other === undefined) {
      claims.set(file.maxTxid, { checksum, file });
    } else if (other.checksum !== checksum) {
      const message =
        `after it the database's checksum is ${formatChecksum(checksum)}, but after ${describeFile(other.file)}, ` +
        `which ends with the same transaction, it is ${formatChecksum(other.checksum)}`;
      this.problem('VERIFY_CHAIN', file, message, NEW_SNAPSHOT);
    }
  }

  /** A file that cannot be read, or is damaged. Throws what is the store's trouble. */
  private unfit(file: StoreFile, error: unknown): void {
    const code = errorCode(error) ?? '';
    if (error instanceof UnfitError || code.startsWith('LTX_')) {
      this.unreadable = 0;
      this.problem('VERIFY_CORRUPT', file, describeError(error), NEW_SNAPSHOT);
      return;
    }
    if (!code.startsWith('STORE_') || this.read.size === 0 || ++this.unreadable === UNREADABLE_LIMIT) throw error;
    this.problem('VERIFY_UNREADABLE', file, describeError(error), NEW_SNAPSHOT);
  }

  /** Nothing leads on to the next whole database. Where files are that should, one is missing. */
  private checkBreak({ txid, files }: VerifyGroup<StoreFile>): void {
    if (txid === 0) return;
    const end = files[0]!.maxTxid;
    const from = formatTxid(txid + 1);
    const strays = this.files.filter((file) => file.minTxid > txid + 1 && file.minTxid <= end && file.maxTxid > txid);
    if (strays.length === 0) {
      // A snapshot that was made while the levels below it were listed: what leads to it was not there yet.
      if (this.files.every(({ maxTxid }) => maxTxid <= end)) return;
      this.notes.push(
        `states from TXID ${from} up to ${formatTxid(end)} are not kept: nothing leads from one whole database to the next`,
      );
      return;
    }
    const next = strays.sort((a, b) => a.minTxid - b.minTxid)[0]!;
    const message = `a file is missing: none begins at TXID ${from}, but ${describeFile(next)} is there; the states up to ${formatTxid(end)} cannot be restored`;
    this.problem('VERIFY_GAP', undefined, message, 'The newest state is not concerned, as a later snapshot is there');
  }

  private checkEnd(): void {
    const reached = this.ways.newest?.txid ?? 0;
    const newest = this.files.reduce((max, { maxTxid, minTxid }) => {
      return this.leftTxid !== undefined && minTxid >= this.leftTxid ? max : Math.max(max, maxTxid);
    }, 0);
    if (reached < newest) {
      const message =
        reached === 0
          ? 'no whole database is right, so that nothing can be restored'
          : `the files lead up to TXID ${formatTxid(reached)}, but there are some up to ${formatTxid(newest)}`;
      const hint = reached === 0 ? NEW_ONE : `${NEW_ONE}; until then restore with --txid ${formatTxid(reached)}`;
      this.problem('VERIFY_GAP', undefined, message, hint);
    }
    const { manifest } = this;
    if (manifest === undefined) return;
    const { txid, checksum } = manifest.position;
    const claim = this.claims.get(txid);
    if (txid > newest) {
      const message = `it is of TXID ${formatTxid(txid)}, but the newest file ends with ${formatTxid(newest)}`;
      this.problem('VERIFY_MANIFEST', undefined, message, NEW_MANIFEST);
    } else if (claim !== undefined && checksum !== 0n && claim.checksum !== checksum) {
      const message = `its checksum for TXID ${formatTxid(txid)} is ${formatChecksum(checksum)}, that of the files ${formatChecksum(claim.checksum)}`;
      this.problem('VERIFY_MANIFEST', undefined, message, NEW_MANIFEST);
    }
  }

  private problem(code: string, file: FileKey | undefined, message: string, hint: string): void {
    this.problemCount++;
    if (this.problems.length === PROBLEMS_LIMIT) return;
    this.problems.push({ code, file: file === undefined ? null : describeFile(file), message, hint });
  }
}

function sizeOf(files: readonly StoreFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

const NEW_SNAPSHOT =
  'The next scheduled snapshot makes the newest state independent of it; to have one at once: sluice backup now --snapshot';
const NEW_MANIFEST = 'Restores can go by a listing instead; move it out of the store, and the primary writes another';
const NEW_ONE = 'A primary that starts stores a new snapshot where a file is missing';
