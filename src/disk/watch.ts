import { existsSync } from 'node:fs';
import type { Disk } from './types.js';
import { watchedDisk, wroteBySqlite } from './watched-disk.js';
import { WatchedFolder } from './watched-folder.js';

/** What index.ts exports in the place of node:fs. */
export function watch(
  root: string,
  trace: string | undefined,
  faults: string | undefined,
): { readonly disk: Disk; readonly bySqlite: (path: string, work: () => void) => void } {
  const folder = new WatchedFolder(root, trace, faults);
  return {
    disk: watchedDisk(folder),
    bySqlite(path, work) {
      const before = new Set(['', '-journal', '-wal', '-shm'].map((suffix) => path + suffix).filter(existsSync));
      try {
        work();
      } finally {
        wroteBySqlite(folder, path, before);
      }
    },
  };
}
