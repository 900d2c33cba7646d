/**
 * What the rest of Sluice needs of a way to put a file system under a mount point. The raw kernel protocol
 * (`rawDriver`) is the one that exists. A driver on top of libfuse would offer the same: it would serve the calls it
 * gets with `FileOperations` and `NameOperations`, keep a call's callback where the raw one keeps a deferred request,
 * and try those again at `wake`. It could neither survive its process (`survives`) nor see locks (`seesLocks`).
 */
export interface Driver {
  readonly name: 'raw' | 'libfuse';
  /** The kernel mount outlives the process that serves it, and another one can take it over. */
  readonly survives: boolean;
  /** `locks: sluice` is possible. */
  readonly seesLocks: boolean;
  /** Why it cannot be used on this machine, one line; undefined if it can. */
  unusable(): string | undefined;
  /** The main thread's side of one mount that is being served. */
  attach(deviceFd: number, mountPath: string, shared: SharedArrayBuffer): AttachedMount;
}

export interface AttachedMount {
  /** Presents deferred requests again. Cheap, never throws. */
  wake(): void;
  /** Wake-ups and held cores end; the mount itself is the keeper's to end. */
  close(): void;
}
