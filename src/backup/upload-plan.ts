import type { LogEntry, TransactionLog } from '../database/types.js';
import type { Position, Txid } from '../ltx/index.js';

/** The newest state that a store holds of a database. */
export interface StoredState {
  readonly position: Position;
  /** Where the newest level-9 snapshot ends; 0 if there is none. */
  readonly snapshotTxid: Txid;
  /** How far a restore gets; less than the position's TXID if a file is missing. */
  readonly restorableTxid: Txid;
}

/** What to do next for one database. */
export type UploadPlan =
  | { readonly kind: 'idle' }
  /** The whole database: there is nothing yet, or what is there cannot be restored or does not lead to where the log begins. */
  | { readonly kind: 'snapshot' }
  /** Merge these transactions, which follow what is stored, in one file. Not empty. */
  | { readonly kind: 'increment'; readonly entries: readonly LogEntry[] }
  /** The store's TXID is larger than the database's: another history, or another primary. */
  | { readonly kind: 'ahead' }
  /** The same TXID, another checksum, and a snapshot of that TXID: nothing to do without overwriting it. */
  | { readonly kind: 'diverged' };

export interface UploadLimits {
  /** Of LTX files merged in one. A single larger transaction goes up as it is. */
  readonly mergeBytes: number;
  readonly mergeTransactions: number;
}

/** Pure: compares what a store holds with where a database is. `stored` undefined: the store is empty. */
export function planUpload(
  database: { readonly position: Position; readonly log: TransactionLog },
  stored: StoredState | undefined,
  limits: UploadLimits,
): UploadPlan {
  const { position, log } = database;
  if (position.txid === 0) return stored === undefined ? IDLE : { kind: 'ahead' };
  if (stored === undefined) return { kind: 'snapshot' };
  if (stored.position.txid > position.txid) return { kind: 'ahead' };
  if (stored.restorableTxid < stored.position.txid) return { kind: 'snapshot' };
  if (stored.position.txid === position.txid) {
    if (stored.position.checksum === position.checksum) return IDLE;
    return stored.snapshotTxid < position.txid ? { kind: 'snapshot' } : { kind: 'diverged' };
  }
  const entries = nextEntries(log, stored.position, limits);
  return entries.length > 0 ? { kind: 'increment', entries } : { kind: 'snapshot' };
}

const IDLE: UploadPlan = { kind: 'idle' };

/** The transactions that follow `after`, as many as one file takes; none if the log does not lead on from there. */
function nextEntries(log: TransactionLog, after: Position, limits: UploadLimits): LogEntry[] {
  const entries: LogEntry[] = [];
  let sizeBytes = 0;
  for (let txid = after.txid + 1; txid <= log.last && entries.length < limits.mergeTransactions; txid++) {
    const entry = log.get(txid);
    if (entry === undefined) break;
    if (entries.length === 0 && entry.before.checksum !== after.checksum) break;
    sizeBytes += entry.size;
    if (entries.length > 0 && sizeBytes > limits.mergeBytes) break;
    entries.push(entry);
  }
  return entries;
}
