/**
 * A way to put a file system under a mount point. Both serve what they are asked with the same `FileOperations` and
 * `NameOperations`, and tell the same `Watcher`. `raw` (serve.ts) speaks the kernel's own protocol on /dev/fuse;
 * `libfuse` (libfuse-server.ts) is the npm package fuse-native.
 */
export interface Driver {
  readonly name: 'raw' | 'libfuse';
  /**
   * The kernel mount outlives the process that serves it, and another one can take it over. It is made by the keeper, and
   * without this by the node.
   */
  readonly survives: boolean;
  /** `locks: sluice` is possible. */
  readonly seesLocks: boolean;
  /** Why it cannot be used on this machine, one line; undefined if it can. Loads nothing. */
  unusable(): string | undefined;
}
