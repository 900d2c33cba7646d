import type { MayLock } from './lock-table.js';
import type { Watcher } from './watcher.js';

/** What the worker needs to serve one mount. Descriptors and folders are the caller's; nothing is global. */
export interface ServeOptions {
  /** `/dev/fuse`, mounted by `mountKernel`. Never closed here. */
  readonly deviceFd: number;
  /** Folder that holds the real files. Must exist. */
  readonly backing: string;
  /** Folder for this mount's `nodes`, `session.json` and `orphans/`, on the same file system as `backing`, outside it. */
  readonly run: string;
  /** `kernel`: POSIX locks stay in the kernel. `sluice`: the worker keeps them. On a takeover the first node's choice holds. */
  readonly locks: 'kernel' | 'sluice';
  /** The kernel mount was served before by a process that died or handed over. */
  readonly takeover: boolean;
  readonly watcher: Watcher;
  /** From `createShared`, made by the main thread. */
  readonly shared: SharedArrayBuffer;
  /** Asked before a lock is granted (not for unlocks); only with `locks: sluice`. */
  readonly mayLock?: MayLock;
  /** Rare things worth a line: an unexpected error of a backing call, a takeover. Never per request. */
  readonly log?: (message: string) => void;
  /** Backing descriptors kept open at most. Default 512. */
  readonly maxOpenFiles?: number;
  /** For tests: each fsync of a file whose path ends so takes this much longer. */
  readonly slowSync?: { readonly suffix: string; readonly delayMs: number };
}

/**
 * Serves a mount until it is unmounted; blocks the thread (call it in a worker). Throws a SluiceError only for what
 * makes serving impossible at the start (`FUSE_PROTOCOL`, `FUSE_RUN_FOLDER`).
 */
export function serveMount(_options: ServeOptions): void {
  throw new Error('not built yet');
}
