import type { Config } from '../config/index.js';

/** An error as it crosses the channel between node and keeper. */
export interface FailureText {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/**
 * What the keeper tells its node. The order is: start, mounted, then at the end stop, unmounted; or handOver alone. A
 * keeper outlives its nodes, so one of an older version must understand a newer node, and the other way round.
 */
export type ToNode =
  /** The same config for the first node and its successors, whatever happens to the file. */
  | {
      readonly kind: 'start';
      readonly config: Config;
      /** A node has served this mount before. Keepers of older versions do not say it. */
      readonly served?: boolean;
    }
  | { readonly kind: 'mounted'; readonly takeover: boolean }
  | { readonly kind: 'stop' }
  /** Another process is waiting: end, without a loss, and leave the mount to it. */
  | { readonly kind: 'handOver' }
  | { readonly kind: 'unmounted' };

/** What the node tells its keeper. The order is: loaded, locked, answering, serving, ready, then at the end drained or paused. */
export type ToKeeper =
  /** All its code is there; nothing of the data folder or the mount was touched. */
  | { readonly kind: 'loaded'; readonly version: string }
  /** The data folder is this node's, and its HTTP address too: the mount may be made. */
  | { readonly kind: 'locked' }
  /** The kernel's requests are answered: no application waits any more. */
  | { readonly kind: 'answering' }
  | { readonly kind: 'serving' }
  /** Applications may start. */
  | { readonly kind: 'ready' }
  /** Nothing of the node is open on the mount: it may go. */
  | { readonly kind: 'drained' }
  /** It hands over, and answers the kernel no more: from now on applications wait. */
  | { readonly kind: 'paused' }
  /** It cannot start, or not go on; it ends itself after this. */
  | { readonly kind: 'failed'; readonly failure: FailureText };

export type ToKeeperKind = ToKeeper['kind'];
