/**
 * The file system under a mount: the kernel's FUSE protocol, a pass-through to a backing folder, and the seam
 * (`Watcher`) by which the rest of Sluice sees and holds back changes.
 *
 * Keeper process: import `./fuse/mount.js` alone (openDevice, prepareMountPoint, mountKernel, unmount, cleanStaleMount).
 * Main thread: `createShared` before the worker starts, `whenServing`, then `Waker` and `WakeupsTimer`.
 * Worker thread: `serveMount`, which blocks until the mount ends.
 */

export type { Driver } from './driver.js';
export { chooseDriver, type DriverName } from './drivers.js';
export { errnoOf } from './errno.js';
export { isUnicode, onDisk } from './file-name.js';
export { libfuseDriver, mayAllowOthers } from './libfuse-driver.js';
export { type LibfuseOptions, LibfuseServer } from './libfuse-server.js';
export { F_RDLCK, F_UNLCK, F_WRLCK, type MayLock } from './lock-table.js';
export { abortConnection, connectionAt } from './mount.js';
export { WAKE_NAME } from './nodes.js';
export { rawDriver } from './raw-driver.js';
export { type ServeOptions, type ServingEnd, serveMount } from './serve.js';
export {
  askForHandOver,
  awakeBursts,
  createShared,
  deferredCount,
  opcodeCounts,
  passesOn,
  type WakeupsMode,
  whenServing,
} from './shared.js';
export { SystemCalls } from './system-calls.js';
export { UNWATCHED } from './unwatched.js';
export { Waker } from './waker.js';
export { measureWakeup, WakeupsTimer, type WakeupTimes } from './wakeups.js';
export { Warmer } from './warmer.js';
export {
  DEFER,
  type FileNode,
  type HeldLocks,
  type LockFileFacts,
  type LockOwner,
  PROCEED,
  type Verdict,
  type VirtualLock,
  type VirtualNode,
  type Watcher,
} from './watcher.js';
