/**
 * What the file system tells the rest of Sluice about the files under the mount, and what it asks before it changes
 * one. The file system knows files; it does not know transactions. All calls are synchronous, on the worker thread,
 * between reading one request and writing its reply: they must not allocate on the write path, wait, or throw. They name
 * only nodes that `added` told of; what was unlinked in the time of an earlier process and is still open is never named.
 */

/** A regular file of the mount, alive as long as the kernel or an open handle may name it. */
export interface FileNode {
  /** The kernel's node id. Stable for the life of the mount, also across a restart of the node process. */
  readonly id: number;
  /** Path under the mount without a leading slash, `/`-separated. Changes on rename. */
  readonly path: string;
  /** Descriptor on the backing file, opened read-write on first use and kept in a cache. */
  fd(): number;
  /** Open handles that the kernel holds now, and how many of them may write. Unknown (0) for handles older than this process. */
  readonly handles: number;
  readonly writers: number;
  /** Whether an earlier process may have opened it, for handles that are not counted. */
  readonly inherited: boolean;
  /** Unlinked or replaced, but still open. */
  readonly orphan: boolean;
  /** The kernel reads, writes and maps the backing file by itself, for all handles: nobody is asked, or told of it. */
  readonly passed: boolean;
  /** The watcher's own; the file system never looks at it. */
  tag: unknown;
}

/** Do it now. Any positive verdict is the errno to answer instead. */
export const PROCEED = 0;
/**
 * Do not do it yet: the session keeps the whole request and presents it again, from the start and in order, after the
 * next wake-up (see Session.wake). The caller sees a slow call, nothing else.
 */
export const DEFER = -1;

/** PROCEED, DEFER, or a positive errno. */
export type Verdict = number;

/** A virtual file: by name only. */
export interface VirtualNode {
  /** As a FileNode's. */
  readonly id: number;
  readonly path: string;
}

/** What there is to know of a virtual file that is there to be locked. */
export interface LockFileFacts {
  /** Path of the regular file whose owner and mode it has. */
  readonly like: string;
  /** Whether it may be opened for writing, as a write lock wants: PROCEED or an errno. */
  readonly mayWrite: Verdict;
}

/** A request for a lock, or for its end, on a virtual file. */
export interface VirtualLock {
  readonly node: VirtualNode;
  readonly owner: LockOwner;
  /** F_RDLCK, F_WRLCK or F_UNLCK. */
  readonly type: number;
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
  /** Whoever asks waits for it (F_SETLKW): only then it may be deferred. */
  readonly waits: boolean;
}

/** Who holds locks on the files of a mount. On the worker thread. */
export interface HeldLocks {
  /**
   * Whether a process holds a write lock on a byte of `first..last` of the file; true also where that cannot be known.
   * In the kernel's keeping, locks of processes with pid 0 (see Watcher) are not seen.
   */
  isWriteLocked(node: FileNode | VirtualNode, first: number, last: number): boolean;
  /** Whose write lock it is; undefined if nobody has one. Left out where the kernel keeps the locks. */
  writerOf?(node: FileNode | VirtualNode, first: number, last: number): LockOwner | undefined;
}

/** The halves of the kernel's lock owner. */
export interface LockOwner {
  readonly low: number;
  readonly high: number;
}

/** `pid` is the caller's thread id as the kernel gives it: 0 if it is in a PID namespace that cannot be seen from here. */
export interface Watcher {
  /** Before the first request, and before `added`: what it may ask later. */
  serving?(locks: HeldLocks): void;
  /** A regular file became known: looked up for the first time, or just created (`created`). */
  added(node: FileNode, created: boolean): void;
  /** It no longer exists under its path: unlinked, or replaced by a rename. Called after the change. */
  removed(node: FileNode): void;
  /** It has a new path (itself or a folder above it was renamed). Called after the change, `node.path` is new. */
  renamed(node: FileNode, oldPath: string): void;

  /** Before an open; `flags` are Linux open(2) flags (O_ACCMODE 3, O_TRUNC 0x200). */
  mayOpen(node: FileNode, flags: number, pid: number): Verdict;
  /** Whether the kernel may read and write the file without us, until its last handle is closed and as long as it has its name. */
  mayPass?(node: FileNode): boolean;
  /** Whether it cannot be opened at all where that is not possible. */
  mustPass?(node: FileNode): boolean;
  /** Before a create, mkdir, or any other new name at `path`. */
  mayCreate(path: string, pid: number): Verdict;
  /** Before `length` bytes at `position`; they stand in `data` from `start`. */
  mayWrite(node: FileNode, position: number, data: Buffer, start: number, length: number, pid: number): Verdict;
  /** After that write reached the backing file, before or after the reply (the session replies first). */
  wrote(node: FileNode, position: number, data: Buffer, start: number, length: number, pid: number): void;
  /** Whether writes to the file, once they are made, may have to wait for their answer: then `mayAnswer` is asked after `wrote`. */
  awaits?(node: FileNode): boolean;
  /** DEFER: the write is done, and its answer waits for a wake-up. An errno: whoever wrote is told that nothing was. */
  mayAnswer?(node: FileNode, position: number, length: number): Verdict;
  /** Before the size changes to `size` (truncate, O_TRUNC, fallocate beyond the end). */
  mayResize(node: FileNode, size: number, pid: number): Verdict;
  resized(node: FileNode, size: number, pid: number): void;
  /** Before a name goes away by unlink. */
  mayUnlink(node: FileNode, pid: number): Verdict;
  /** Before a rename of a file or folder; `replaced` is the regular file at the new path, if any. */
  mayRename(oldPath: string, newPath: string, replaced: FileNode | undefined, pid: number): Verdict;
  /** Before chmod, chown, utimes. */
  maySetAttributes(path: string, pid: number): Verdict;
  /** Before rmdir, and unlink of what is no regular file. */
  mayChange(path: string, pid: number): Verdict;
  /** A handle was closed. `wrote` if it was opened for writing. */
  released(node: FileNode, wrote: boolean): void;
  /**
   * Before fsync of a file: descriptors that must be durable too before the answer (may be empty: return the shared
   * empty array). The backing file itself is always synced.
   */
  alsoSync(node: FileNode): readonly number[];
  /** The same for fsync of a folder. */
  alsoSyncFolder(path: string): readonly number[];

  /**
   * Files that exist by name only: `.primary`, `.lag`, `<db>-pos`, `<db>-lock`. The content of the one at `path` now, or undefined
   * if there is none. They are read-only, never cached (direct I/O, zero timeouts), and not listed by readdir.
   */
  virtual(path: string): Buffer | undefined;
  /** Undefined for a virtual file that is not there to be locked: nobody may open it for writing, or lock it. */
  lockFile?(path: string): LockFileFacts | undefined;
  /** As MayLock, for virtual files; only where locks are ours. */
  mayLockVirtual?(lock: VirtualLock): Verdict;
  /** An earlier process granted this lock on a virtual file. Before the first request. */
  lockInherited?(node: VirtualNode, owner: LockOwner): void;
  /** Names that readdir must not show (and lookups still find). */
  hidden(name: string): boolean;
  /**
   * Called once per wake-up (FUSE_NOTIFY_REPLY, see Session), before the deferred requests are presented again.
   */
  woken(): void;
}
