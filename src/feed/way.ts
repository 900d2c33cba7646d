import type { ManifestFile } from '../backup/index.js';
import type { Standing } from '../database/types.js';
import { type Position, samePosition } from '../ltx/index.js';

/** What a store tells of one database. */
export interface Told {
  /** Tells one writer, in one time of writing, from all others; 0n: there is no manifest. */
  readonly run: bigint;
  /** Where its files lead to; checksum 0n: not known. */
  readonly position: Position;
  /** Files that lead to it, in order; those that begin with TXID 1 are whole databases. Empty if they are not known. */
  readonly files: readonly ManifestFile[];
}

/** What to do next. */
export type Step =
  /** It is where the store is. `confirmed`: the store says so by the checksum. */
  | { readonly kind: 'none'; readonly confirmed: boolean }
  /** The store is behind it, though it is of the same history: an old answer. */
  | { readonly kind: 'stale' }
  /** Which files lead on is not known. */
  | { readonly kind: 'list' }
  /** `confirmed`: the position is one that the store has been at. */
  | { readonly kind: 'file'; readonly file: ManifestFile; readonly confirmed: boolean }
  | { readonly kind: 'snapshot'; readonly file: ManifestFile; readonly reason: 'new' | 'behind' | 'diverged' };

/** How a database gets to where its store is. Pure. `doubtful`: its position counts only if the store confirms it. */
export function decide(standing: Standing | undefined, told: Told, doubtful: boolean): Step {
  const { position, files, run } = told;
  if (standing === undefined) return position.txid === 0 ? NONE : snapshot(files, 'new');
  const held = standing.position;
  const ends = held.txid === position.txid ? [position] : [];
  for (const file of files) if (file.maxTxid === held.txid) ends.push({ txid: held.txid, checksum: file.checksum });
  const named = ends.filter((end) => end.checksum !== 0n);
  const confirmed = named.length > 0 && named.every((end) => samePosition(end, held));
  if (!standing.isKnown || (named.length > 0 && !confirmed)) return snapshot(files, 'diverged');
  if (!confirmed && (doubtful || standing.isStray)) return snapshot(files, 'diverged');
  if (held.txid === position.txid) return { kind: 'none', confirmed };
  if (held.txid > position.txid) {
    const isOwn = run === 0n || standing.origin === run;
    return isOwn || position.txid === 0 ? { kind: 'stale' } : snapshot(files, 'diverged');
  }
  const next = files.findLast(({ minTxid, maxTxid }) => minTxid <= held.txid + 1 && held.txid < maxTxid);
  if (next === undefined) return { kind: 'list' };
  if (next.minTxid === 1) return { kind: 'snapshot', file: next, reason: 'behind' };
  // In the middle of a file of others nothing says that what is here was theirs.
  if (!confirmed && next.minTxid <= held.txid && standing.origin !== run) return snapshot(files, 'behind');
  return { kind: 'file', file: next, confirmed };
}

const NONE: Step = { kind: 'none', confirmed: false };

function snapshot(files: readonly ManifestFile[], reason: 'new' | 'behind' | 'diverged'): Step {
  const first = files[0];
  return first?.minTxid === 1 ? { kind: 'snapshot', file: first, reason } : { kind: 'list' };
}
