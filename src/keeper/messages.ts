import type { Config } from '../config/index.js';

/** An error as it crosses the channel between node and keeper. */
export interface FailureText {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** What the keeper tells its node. The order is: start, mounted, then at the end stop, unmounted. */
export type ToNode =
  /** The same config for the first node and its successors, whatever happens to the file. */
  | { readonly kind: 'start'; readonly config: Config }
  | { readonly kind: 'mounted'; readonly takeover: boolean }
  | { readonly kind: 'stop' }
  | { readonly kind: 'unmounted' };

/** What the node tells its keeper. The order is: locked, serving, ready, then at the end drained. */
export type ToKeeper =
  /** The data folder is this node's, and its HTTP address too: the mount may be made. */
  | { readonly kind: 'locked' }
  | { readonly kind: 'serving' }
  /** Applications may start. */
  | { readonly kind: 'ready' }
  /** Nothing of the node is open on the mount: it may go. */
  | { readonly kind: 'drained' }
  /** It cannot start, or not go on; it ends itself after this. */
  | { readonly kind: 'failed'; readonly failure: FailureText };

export type ToKeeperKind = ToKeeper['kind'];
