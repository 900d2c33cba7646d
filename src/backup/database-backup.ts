import type { LogEntry, ReplicatedDatabase } from '../database/types.js';
import { SluiceError } from '../errors.js';
import { formatTxid, type Position, type Txid, ZERO_POSITION } from '../ltx/index.js';
import { type FileKey, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { mergeEntries, readEntry, readEntryHeader } from './merge.js';
import type { Store } from './store.js';
import type { StoredFiles } from './stored-files.js';
import { findNewFiles, findStoredFiles, readChecksum } from './stored-state.js';
import { planUpload, type StoredState, type UploadLimits, type UploadPlan } from './upload-plan.js';

/** An LTX index entry and page header at most, per page, beyond the page itself. */
const PAGE_OVERHEAD_BYTES = 32;

/**
 * What a database's turn goes to. Those of one kind share a limit, so that what takes hours is in nobody's way:
 *
 * - `scan`: a first look at all that a store holds
 * - `increment`: transactions; or a look at what came since the last one
 * - `snapshot`: a database as a whole, which may wait for its image
 * - `large`: a snapshot or a transaction over `largeBytes`
 */
export type Step = 'scan' | 'increment' | 'snapshot' | 'large';

export interface DatabaseLimits extends UploadLimits {
  /** A snapshot or a transaction larger than this counts as large. */
  readonly largeBytes: number;
}

/** One file that was published. */
export interface UploadEvent {
  readonly database: string;
  readonly level: number;
  /** The store now leads up to here. */
  readonly position: Position;
  readonly transactions: number;
  readonly sizeBytes: number;
  readonly durationMs: number;
}

/** Brings one database's place in a store up to date, one file at a time. Decides nothing about when. */
export class DatabaseBackup {
  /** What the store was last known to hold; undefined before the first look. */
  private files: StoredFiles | undefined;
  /** What that comes to; undefined for an empty store too. */
  private stored: StoredState | undefined;
  /** Looked up, and no error since. */
  private known = false;

  constructor(
    readonly database: ReplicatedDatabase,
    private readonly store: Store,
    private readonly limits: DatabaseLimits,
    private readonly onUpload: (event: UploadEvent) => void,
  ) {}

  /** What the store leads up to, as far as known. */
  get position(): Position {
    return this.stored?.position ?? ZERO_POSITION;
  }

  /** How far a restore would get, as far as known. */
  get restorableTxid(): Txid {
    return this.stored?.restorableTxid ?? 0;
  }

  get upToDate(): boolean {
    const { txid, checksum } = this.database.position;
    const { position } = this;
    return this.known && txid === position.txid && checksum === position.checksum && this.restorableTxid === txid;
  }

  /** A file that the store lacks between others, until a snapshot makes up for it. */
  get gap(): SluiceError | undefined {
    const { restorableTxid, position } = this;
    if (restorableTxid === position.txid || position.txid > this.database.position.txid) return undefined;
    return gapError(this.database, restorableTxid, position.txid);
  }

  /** What is to be done next; undefined if all is stored. */
  nextStep(): Step | undefined {
    if (!this.known) return this.files === undefined ? 'scan' : 'increment';
    const plan = this.plan();
    const { pageCount, pageSize } = this.database;
    switch (plan.kind) {
      case 'idle':
        return undefined;
      case 'snapshot':
        return pageCount * pageSize > this.limits.largeBytes ? 'large' : 'snapshot';
      case 'increment':
        return plan.entries[0]!.size > this.limits.largeBytes ? 'large' : 'increment';
      default:
        return 'increment';
    }
  }

  /**
   * Does what is next, if it is still `step`: looks up what the store holds, or publishes one file; true if it published.
   * Throws `STORE_AHEAD`, `STORE_DIVERGED`, Store's errors and the database's. After an error the next step is to look
   * again, at what may have come since: an upload that seemed to fail may be there.
   */
  async take(step: Step): Promise<boolean> {
    try {
      if (this.nextStep() !== step) return false;
      if (this.known) return await this.uploadNext();
      await this.lookUp();
      return false;
    } catch (error) {
      this.known = false;
      throw error;
    }
  }

  private async lookUp(): Promise<void> {
    if (this.files === undefined) {
      this.files = await findStoredFiles(this.store, this.limits.mergeTransactions);
    } else if (!(await findNewFiles(this.store, this.files))) {
      this.files = undefined;
      this.stored = undefined;
      return;
    }
    const { newest } = this.files;
    const checksum = newest === undefined ? 0n : await readChecksum(this.store, newest);
    this.stored = newest && storedState(this.files, { txid: newest.maxTxid, checksum });
    this.known = true;
  }

  private plan(): UploadPlan {
    return planUpload(this.database, this.stored, this.limits);
  }

  private async uploadNext(): Promise<boolean> {
    const plan = this.plan();
    switch (plan.kind) {
      case 'idle':
        return false;
      case 'snapshot':
        await this.uploadSnapshot();
        return true;
      case 'increment':
        await this.uploadIncrement(plan.entries);
        return true;
      case 'ahead':
        throw aheadError(this.database, this.position);
      case 'diverged':
        throw divergedError(this.database);
    }
  }

  private async uploadSnapshot(): Promise<void> {
    const startMs = performance.now();
    const snapshot = await this.database.snapshot();
    try {
      const { position, timestampMs, pageCount, pageSize } = snapshot;
      // The database may have moved on, never back; but another history may end where this snapshot does.
      if (this.files !== undefined && position.txid <= this.files.snapshotTxid) throw divergedError(this.database);
      let sizeBytes = 0;
      const pieces = countBytes(snapshot.chunks(), (bytes) => {
        sizeBytes += bytes;
      });
      const sizeEstimateBytes = pageCount * (pageSize + PAGE_OVERHEAD_BYTES);
      const file = { level: LEVEL_SNAPSHOT, minTxid: 1, maxTxid: position.txid, timestampMs, sizeEstimateBytes };
      await this.store.put(file, pieces);
      this.published(file, position);
      this.report(LEVEL_SNAPSHOT, position.txid, sizeBytes, startMs);
    } finally {
      snapshot.close();
    }
  }

  private async uploadIncrement(entries: readonly LogEntry[]): Promise<void> {
    const startMs = performance.now();
    const first = entries[0]!;
    const last = entries.at(-1)!;
    const key = { level: LEVEL_INCREMENT, minTxid: first.txid, maxTxid: last.txid };
    let sizeBytes = first.size;
    if (entries.length === 1) {
      // One transaction is one LTX file already: the same bytes.
      const { timestampMs } = readEntryHeader(first);
      const body = first.size <= this.limits.mergeBytes ? first.bytes() : readEntry(first);
      await this.store.put({ ...key, timestampMs, sizeEstimateBytes: first.size }, body);
    } else {
      const merged = await mergeEntries(entries);
      sizeBytes = merged.bytes.length;
      await this.store.put({ ...key, timestampMs: merged.timestampMs }, merged.bytes);
    }
    this.published(key, last.after);
    this.report(LEVEL_INCREMENT, entries.length, sizeBytes, startMs);
  }

  private published({ level, minTxid, maxTxid }: FileKey, position: Position): void {
    if (this.files === undefined) return;
    this.files.add({ level, minTxid, maxTxid });
    this.stored = storedState(this.files, position);
  }

  private report(level: number, transactions: number, sizeBytes: number, startMs: number): void {
    this.onUpload({
      database: this.database.name,
      level,
      position: this.position,
      transactions,
      sizeBytes,
      durationMs: performance.now() - startMs,
    });
  }
}

function storedState({ snapshotTxid, restorableTxid }: StoredFiles, position: Position): StoredState {
  return { position, snapshotTxid, restorableTxid };
}

async function* countBytes(
  pieces: AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of pieces) {
    count(piece.length);
    yield piece;
  }
}

function aheadError(database: ReplicatedDatabase, stored: Position): SluiceError {
  return new SluiceError(
    'STORE_AHEAD',
    `the backup of ${database.name} is at TXID ${formatTxid(stored.txid)}, the database only at ${formatTxid(database.position.txid)}`,
    'Another primary may be writing there, or this database was put back to an older state: restore the backup if it is ' +
      'the one to keep, else move its folder aside',
  );
}

function gapError(database: ReplicatedDatabase, reached: Txid, newest: Txid): SluiceError {
  const until = reached === 0 ? '' : `; until then restore with --txid ${formatTxid(reached)}`;
  return new SluiceError(
    'STORE_GAP',
    `the backup of ${database.name} has files up to TXID ${formatTxid(newest)}, but one is missing: ` +
      (reached === 0 ? 'it cannot be restored' : `it can be restored up to ${formatTxid(reached)}`),
    `A new snapshot is being stored${until}`,
  );
}

function divergedError(database: ReplicatedDatabase): SluiceError {
  return new SluiceError(
    'STORE_DIVERGED',
    `the backup of ${database.name} at TXID ${formatTxid(database.position.txid)} is of another history`,
    'It is kept; the next transaction starts a new snapshot',
  );
}
