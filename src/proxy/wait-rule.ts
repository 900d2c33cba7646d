import type { Txid } from '../ltx/index.js';
import type { Bookmark } from './bookmark.js';

/** What a rule needs to know of the node here. */
export interface Standing {
  readonly role: 'primary' | 'replica';
  /** Of the primary that is followed; null while none is. */
  readonly lineage: string | null;
  /** Monotonic milliseconds: all that the primary had then is in `told`. */
  readonly asOfMs: number;
  /** What readers of the mount see. */
  txid(name: string): Txid | undefined;
  /** What the primary said that it has, in this lineage. */
  told(name: string): Txid | undefined;
  /** It was followed here before the present one. */
  isPast(lineage: string): boolean;
  /** It is one of the databases that count. */
  covers(name: string): boolean;
}

/** `go`: what is here is enough; `wait`: it will be; `primary`: only the primary is sure to have it. */
export type Verdict = 'go' | 'wait' | 'primary';

/**
 * Whether a read that came at `arrivedMs` may be served here. A position is waited for if it can come: if the primary said that it
 * has it, or may have it since its last word. What a primary does not have by its word of after the request came in is of a
 * history that it does not go on; it is enough to be where the primary said it is, in case it has the same under another number.
 * One who was followed here before the present primary said its last word then: of its positions what the present one does not
 * have is known to be lost at once.
 */
export function verdictOf(bookmark: Bookmark, node: Standing, arrivedMs: number): Verdict {
  if (node.role === 'primary') return 'go';
  if (bookmark.positions === null) return 'primary';
  const isHeard = node.lineage !== null && node.asOfMs >= arrivedMs;
  const isPast = node.lineage !== null && bookmark.lineage !== node.lineage && node.isPast(bookmark.lineage);
  for (const [name, txid] of bookmark.positions) {
    const here = node.txid(name) ?? 0;
    if (here >= txid || !node.covers(name)) continue;
    const told = node.told(name) ?? 0;
    if (told < txid && !isHeard && !isPast) return 'wait';
    if (here < Math.min(told, txid)) return 'wait';
  }
  return 'go';
}
