import type { Txid } from '../ltx/index.js';
import type { ProxyCounts } from './proxy-counts.js';

/** A name and the last transaction there. */
export type Told = readonly [name: string, txid: Txid];

/** What a node says of itself; all of it at each change. */
export interface NodeFacts {
  readonly role: 'primary' | 'replica';
  readonly ready: boolean;
  /** The primary's proxy, as it says itself; null while it is not known. */
  readonly primary: string | null;
  /** On a replica: the primary is followed now. */
  readonly connected: boolean;
  readonly lagMs: number | null;
  /** The primary's run: its positions only grow while that lasts. 16 hex digits; null while it is not known. */
  readonly lineage: string | null;
  /** Why it should get no traffic, without names; null if it should. */
  readonly unfit: string | null;
}

/**
 * What a node tells its proxies, as JSON lines. The first are `facts`, `positions` and `told` of all, then `whole`; after that what
 * changes. Txid 0: it is gone.
 */
export type FromNode =
  | { readonly kind: 'facts'; readonly facts: NodeFacts }
  /** What readers of the mount see. */
  | { readonly kind: 'positions'; readonly positions: readonly Told[] }
  /** What the primary said it has; `isNew`: what it said before is void. */
  | { readonly kind: 'told'; readonly isNew: boolean; readonly positions: readonly Told[]; readonly asOfMs: number }
  | { readonly kind: 'whole' }
  /** The positions told before this line have all that was committed when it was asked, if `complete`. */
  | { readonly kind: 'settled'; readonly id: number; readonly complete: boolean };

/** What a proxy tells its node. */
export type ToNode =
  /** `databases`: null for all. */
  | { readonly kind: 'settle'; readonly id: number; readonly databases: readonly string[] | null }
  | { readonly kind: 'counts'; readonly counts: ProxyCounts };

export function isToNode(value: unknown): value is ToNode {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
  if (value.kind === 'settle') return 'id' in value && typeof value.id === 'number' && 'databases' in value;
  return value.kind === 'counts' && 'counts' in value && typeof value.counts === 'object' && value.counts !== null;
}
