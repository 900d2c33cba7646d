import type { LogEntry, TransactionLog } from '../database/types.js';
import { type Position, samePosition, type Txid } from '../ltx/index.js';

/** The newest state that a store holds of a database. */
export interface StoredState {
  readonly position: Position;
  /** Where the newest level-9 snapshot ends; 0 if there is none. */
  readonly snapshotTxid: Txid;
  /** How far a restore gets; less than the position's TXID if a file is missing. */
  readonly restorableTxid: Txid;
  /** Another node wrote it last. */
  readonly foreign: boolean;
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
  /** The same TXID, another checksum, and a snapshot of that TXID; or another node's history: nothing to do without harm. */
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
  // What another node wrote is gone on with only if this database's history has it.
  if (stored.foreign && !leadsOn(database, stored.position)) return { kind: 'diverged' };
  if (stored.restorableTxid < stored.position.txid) return { kind: 'snapshot' };
  if (stored.position.txid === position.txid) {
    if (stored.position.checksum === position.checksum) return IDLE;
    return stored.snapshotTxid < position.txid ? { kind: 'snapshot' } : { kind: 'diverged' };
  }
  const entries = nextEntries(log, stored.position, limits);
  return entries.length > 0 ? { kind: 'increment', entries } : { kind: 'snapshot' };
}

/** Whether a database may be where it is by going on from what a store holds. Pure; costs little. */
export function leadsTo(
  database: { readonly position: Position; readonly log: TransactionLog },
  stored: StoredState,
): boolean {
  const { txid, checksum } = stored.position;
  if (txid > database.position.txid || (stored.foreign && !leadsOn(database, stored.position))) return false;
  return txid < database.position.txid || checksum === database.position.checksum;
}

/** Not from one of which the checksum is not known: it may be any history's. */
function leadsOn(database: { readonly position: Position; readonly log: TransactionLog }, from: Position): boolean {
  if (from.checksum === 0n) return false;
  return samePosition(database.position, from) || database.log.get(from.txid + 1)?.before.checksum === from.checksum;
}

const IDLE: UploadPlan = { kind: 'idle' };

/** The transactions that follow `after`, as many as one file takes; none if the log does not lead on from there. */
function nextEntries(log: TransactionLog, after: Position, limits: UploadLimits): LogEntry[] {
  const entries: LogEntry[] = [];
  if (after.checksum === 0n) return entries;
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
