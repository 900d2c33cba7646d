import { type Position, samePosition, type Txid } from '../ltx/index.js';

/** Why a snapshot is sent: the replica has nothing, is older than the log, or is not in the primary's history. */
export type SnapshotReason = 'new' | 'behind' | 'diverged';

/** How a replica's database gets to where the primary's is. */
export type Decision =
  | { readonly kind: 'live' }
  | { readonly kind: 'catch-up' }
  | { readonly kind: 'snapshot'; readonly reason: SnapshotReason };

/** What deciding needs of a database of the primary; a ReplicatedDatabase is one. */
export interface History {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly log: {
    readonly first: Txid;
    readonly bytes: number;
    get(txid: Txid): { readonly before: Position } | undefined;
  };
}

/** A log of so few bytes is sent as it is, whatever the size of the database. */
const SHORT_LOG_BYTES = 1024 * 1024;

const LIVE: Decision = { kind: 'live' };
const CATCH_UP: Decision = { kind: 'catch-up' };

/**
 * What to send to a replica that holds `held` (undefined or ZERO_POSITION: nothing). Positions are the same only if
 * TXID and checksum are, so a database that went another way under the same TXIDs is seen as what it is.
 */
export function decide(held: Position | undefined, history: History): Decision {
  if (held === undefined || held.txid === 0) return decideNew(history);
  if (samePosition(held, history.position)) return LIVE;
  if (held.txid >= history.position.txid) return { kind: 'snapshot', reason: 'diverged' };
  const next = history.log.get(held.txid + 1);
  if (next === undefined) return { kind: 'snapshot', reason: 'behind' };
  return samePosition(next.before, held) ? CATCH_UP : { kind: 'snapshot', reason: 'diverged' };
}

/** A new replica takes the log if that has everything, and is little or less than the database is. */
function decideNew({ pageSize, pageCount, log }: History): Decision {
  const short = log.bytes <= Math.max(SHORT_LOG_BYTES, pageSize * pageCount);
  return short && log.first === 1 && log.get(1) !== undefined ? CATCH_UP : { kind: 'snapshot', reason: 'new' };
}
