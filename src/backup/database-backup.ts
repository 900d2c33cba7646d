import type { LogEntry, ReplicatedDatabase } from '../database/types.js';
import { SluiceError } from '../errors.js';
import { formatTxid, type Position, ZERO_POSITION } from '../ltx/index.js';
import { LEVEL_INCREMENT, LEVEL_SNAPSHOT } from './file-names.js';
import { mergeEntries, readEntry, readEntryHeader } from './merge.js';
import type { Store } from './store.js';
import { readStoredState } from './stored-state.js';
import { planUpload, type StoredState, type UploadLimits } from './upload-plan.js';

/** An LTX index entry and page header at most, per page, beyond the page itself. */
const PAGE_OVERHEAD_BYTES = 32;

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
  /** Not looked up yet, or not to be trusted any more. */
  private known = false;
  private stored: StoredState | undefined;

  constructor(
    readonly database: ReplicatedDatabase,
    private readonly store: Store,
    private readonly limits: UploadLimits,
    private readonly onUpload: (event: UploadEvent) => void,
  ) {}

  /** What the store leads up to, as far as known. */
  get position(): Position {
    return this.stored?.position ?? ZERO_POSITION;
  }

  get upToDate(): boolean {
    const { txid, checksum } = this.database.position;
    return this.known && txid === this.position.txid && checksum === this.position.checksum;
  }

  /**
   * Publishes the next file, if one is due; true if there may be more. Throws `STORE_AHEAD`, `STORE_DIVERGED`, Store's
   * errors and the database's. After an error the store is looked at anew: an upload that seemed to fail may be there.
   */
  async advance(): Promise<boolean> {
    try {
      if (!this.known) {
        this.stored = await readStoredState(this.store);
        this.known = true;
      }
      return await this.uploadNext();
    } catch (error) {
      this.known = false;
      throw error;
    }
  }

  private async uploadNext(): Promise<boolean> {
    const plan = planUpload(this.database, this.stored, this.limits);
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
      if (this.stored !== undefined && position.txid <= this.stored.snapshotTxid) throw divergedError(this.database);
      let sizeBytes = 0;
      const pieces = countBytes(snapshot.chunks(), (bytes) => {
        sizeBytes += bytes;
      });
      const sizeEstimateBytes = pageCount * (pageSize + PAGE_OVERHEAD_BYTES);
      const file = { level: LEVEL_SNAPSHOT, minTxid: 1, maxTxid: position.txid, timestampMs, sizeEstimateBytes };
      await this.store.put(file, pieces);
      this.stored = { position, snapshotTxid: position.txid };
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
    this.stored = { position: last.after, snapshotTxid: this.stored?.snapshotTxid ?? 0 };
    this.report(LEVEL_INCREMENT, entries.length, sizeBytes, startMs);
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

function divergedError(database: ReplicatedDatabase): SluiceError {
  return new SluiceError(
    'STORE_DIVERGED',
    `the backup of ${database.name} at TXID ${formatTxid(database.position.txid)} is of another history`,
    'It is kept; the next transaction starts a new snapshot',
  );
}
