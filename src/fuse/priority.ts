import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';

/** Nice value of the threads that answer the kernel. */
const NICE = -10;

/**
 * Lets this thread run before others that want the same core: somebody waits for each of its answers, while what the
 * rest of the process does can wait. Linux counts niceness by thread. Without the right to it nothing changes.
 */
export function runFirst(): void {
  try {
    setPriority(Number(basename(readlinkSync('/proc/thread-self'))), NICE);
  } catch {
    // Not root, or no /proc: as before.
  }
}
