/** How a mount is made: what the keeper passes to `mountKernel`. */
export interface MountOptions {
  /** From `openDevice`. */
  readonly deviceFd: number;
  /** Absolute path of the mount point. */
  readonly path: string;
  /** What `mount` and `df` show as the source, e.g. `sluice`. */
  readonly name: string;
}

/** Opens `/dev/fuse` read-write. SluiceErrors: `FUSE_MISSING`, `FUSE_NOT_ROOT`. */
export function openDevice(): number {
  throw new Error('not built yet');
}

/**
 * Checks the mount point (making the last folder of its path if it is missing) and mounts. Nothing must run on
 * the mount yet; the kernel's INIT waits in the device. SluiceErrors: `MOUNT_POINT`, `MOUNT_BUSY`, `MOUNT_NOT_EMPTY`, `MOUNT_FAILED`.
 */
export function mountKernel(_options: MountOptions): void {
  throw new Error('not built yet');
}

/** How an unmount went. */
export type UnmountResult = 'clean' | 'lazy' | 'aborted' | 'not-mounted';

/** Gently for `timeoutMs` (files may be open), then lazily, then by aborting the kernel's connection. */
export async function unmount(_path: string, _timeoutMs: number): Promise<UnmountResult> {
  throw new Error('not built yet');
}

/** Removes what a killed keeper left at `path` ("Transport endpoint is not connected"). True if there was one. */
export function cleanStaleMount(_path: string): boolean {
  throw new Error('not built yet');
}
