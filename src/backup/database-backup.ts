import type { LogEntry, ReplicatedDatabase } from '../database/types.js';
import { SluiceError } from '../errors.js';
import { formatTxid, type Position, samePosition, type Txid, ZERO_POSITION } from '../ltx/index.js';
import { type FileKey, LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { Ledger } from './ledger.js';
import { mergeEntries, readEntry, readEntryHeader } from './merge.js';
import type { Store } from './store.js';
import { leadsTo, planUpload, type UploadLimits, type UploadPlan } from './upload-plan.js';

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
  readonly ledger: Ledger;
  private closed = false;

  constructor(
    readonly database: ReplicatedDatabase,
    readonly store: Store,
    owner: string,
    private readonly limits: DatabaseLimits,
    private readonly onUpload: (event: UploadEvent) => void,
    onSetAside?: (file: FileKey) => void,
  ) {
    const overlap = limits.mergeTransactions;
    this.ledger = new Ledger({ database: database.name, store, owner, overlap, ...(onSetAside && { onSetAside }) });
  }

  /** What the store leads up to, as far as known. */
  get position(): Position {
    return this.ledger.state?.position ?? ZERO_POSITION;
  }

  /** How far a restore would get, as far as known. */
  get restorableTxid(): Txid {
    return this.ledger.state?.restorableTxid ?? 0;
  }

  get upToDate(): boolean {
    const { txid, checksum } = this.database.position;
    const { position } = this;
    return (
      this.ledger.isKnown &&
      this.ledger.isConfirmed &&
      txid === position.txid &&
      checksum === position.checksum &&
      this.restorableTxid === txid
    );
  }

  /** A file that the store lacks between others, until a snapshot makes up for it. */
  get gap(): SluiceError | undefined {
    const { restorableTxid, position } = this;
    // A scheduled snapshot may be ahead of the increments.
    if (restorableTxid >= position.txid || position.txid > this.database.position.txid) return undefined;
    return gapError(this.database, restorableTxid, position.txid);
  }

  /** What is to be done next; undefined if all is stored. */
  nextStep(): Step | undefined {
    if (!this.ledger.isKnown) return this.ledger.isNew ? 'scan' : 'increment';
    const plan = this.plan();
    const { pageCount, pageSize } = this.database;
    switch (plan.kind) {
      case 'idle':
        return this.ledger.isConfirmed ? undefined : 'increment';
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
   * Throws `STORE_AHEAD`, `STORE_DIVERGED`, `STORE_FENCED`, Store's errors and the database's. After an error the next step is to look
   * again, at what may have come since: an upload that seemed to fail may be there.
   */
  async take(step: Step): Promise<boolean> {
    try {
      if (this.nextStep() !== step) return false;
      if (this.ledger.isKnown) return await this.uploadNext();
      await this.ledger.lookUp(this.wentThrough);
      return false;
    } catch (error) {
      this.ledger.doubt();
      throw error;
    }
  }

  /** Whether the database went through a position; undefined where its log does not go back so far. */
  readonly wentThrough = (position: Position): boolean | undefined => {
    const { log } = this.database;
    if (position.txid > this.database.position.txid) return false;
    if (position.txid === this.database.position.txid) return samePosition(position, this.database.position);
    const checksum = log.get(position.txid)?.after.checksum ?? log.get(position.txid + 1)?.before.checksum;
    return checksum === undefined ? undefined : checksum === position.checksum;
  };

  /** Whether what the store holds does not lead to where the database is: another history, or another primary's. */
  get isAtOdds(): boolean {
    const { state } = this.ledger;
    return state !== undefined && !leadsTo(this.database, state);
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** What is under way breaks off where it can. */
  close(): void {
    this.closed = true;
  }

  private plan(): UploadPlan {
    return planUpload(this.database, this.ledger.state, this.limits);
  }

  private async uploadNext(): Promise<boolean> {
    const plan = this.plan();
    switch (plan.kind) {
      case 'idle':
        if (!this.ledger.isConfirmed) await this.ledger.own();
        return false;
      case 'snapshot':
        if (!(await this.ledger.own())) return false;
        await this.uploadSnapshot(true);
        return true;
      case 'increment':
        if (!(await this.ledger.own())) return false;
        await this.uploadIncrement(plan.entries);
        return true;
      case 'ahead':
        throw aheadError(this.database, this.position);
      case 'diverged':
        throw divergedError(this.database);
    }
  }

  /** Stores the database as a whole, if it moved on since the last time; increments go on beside it. */
  async takeSnapshot(): Promise<void> {
    if (!this.ledger.isKnown || this.database.position.txid <= this.ledger.snapshotTxid) return;
    if (await this.ledger.own()) await this.uploadSnapshot(false);
  }

  /** `leadsOn`: increments go on from it; else it only shortens the way. */
  async uploadSnapshot(leadsOn: boolean): Promise<void> {
    const startMs = performance.now();
    const snapshot = await this.database.snapshot();
    try {
      const { position, timestampMs, pageCount, pageSize } = snapshot;
      const first = this.ledger.way[0];
      if (
        first?.level === LEVEL_SNAPSHOT &&
        samePosition({ txid: first.maxTxid, checksum: first.checksum }, position)
      ) {
        // One that was scheduled is there already.
        if (leadsOn) this.ledger.goOnFrom(position);
        return;
      }
      // The database may have moved on, never back; but another history may end where this snapshot does.
      if (position.txid <= this.ledger.snapshotTxid) throw divergedError(this.database);
      let sizeBytes = 0;
      const pieces = countBytes(snapshot.chunks(), (bytes) => {
        if (this.closed) throw new SluiceError('STORE_FAILED', `the backup of ${this.database.name} ends`);
        sizeBytes += bytes;
      });
      // It may have taken hours: it gets its name only if the store is still this process's.
      const lastly = () => this.ledger.stillOwn();
      const sizeEstimateBytes = pageCount * (pageSize + PAGE_OVERHEAD_BYTES);
      const key = { level: LEVEL_SNAPSHOT, minTxid: 1, maxTxid: position.txid };
      await this.store.put({ ...key, timestampMs, sizeEstimateBytes }, followedBy(pieces, lastly));
      const file = { ...key, sizeBytes, timeMs: timestampMs, checksum: position.checksum };
      await this.ledger.added(file, leadsOn ? position : undefined);
      this.report({ level: LEVEL_SNAPSHOT, transactions: position.txid, sizeBytes }, startMs);
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
    let timeMs: number;
    if (entries.length === 1) {
      // One transaction is one LTX file already: the same bytes.
      const { timestampMs } = readEntryHeader(first);
      timeMs = timestampMs;
      const body = first.size <= this.limits.mergeBytes ? first.bytes() : readEntry(first);
      await this.store.put({ ...key, timestampMs, sizeEstimateBytes: first.size }, body);
    } else {
      const merged = await mergeEntries(entries);
      sizeBytes = merged.bytes.length;
      timeMs = merged.timestampMs;
      await this.store.put({ ...key, timestampMs: merged.timestampMs }, merged.bytes);
    }
    await this.ledger.added({ ...key, sizeBytes, timeMs, checksum: last.after.checksum }, last.after);
    this.report({ level: LEVEL_INCREMENT, transactions: entries.length, sizeBytes }, startMs);
  }

  /** Tells of a file that was published. */
  report(
    file: { readonly level: number; readonly sizeBytes: number; readonly transactions: number },
    startMs: number,
  ): void {
    this.onUpload({
      database: this.database.name,
      level: file.level,
      // Not what is known now: that may have been forgotten since.
      position: this.ledger.confirmed,
      transactions: file.transactions,
      sizeBytes: file.sizeBytes,
      durationMs: performance.now() - startMs,
    });
  }
}

/** Fails before its end if `lastly` does. */
async function* followedBy(
  pieces: AsyncIterable<Uint8Array>,
  lastly: () => Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* pieces;
  await lastly();
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
    'It is kept as it is: restore it if it is the one to keep, else move its folder aside',
  );
}
