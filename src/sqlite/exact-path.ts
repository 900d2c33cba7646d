import { closeSync, existsSync, openSync } from 'node:fs';

/** Linux: a descriptor that only names a file. Unlike others, it drops none of the process's locks when it is closed. */
const O_PATH = 0o10000000;

/**
 * Calls `open` with a path by which better-sqlite3 opens the file `path`, which must be there, and no other. It trims what
 * it is given, and would open `app.db` for `app.db `. SQLite itself follows a link to the name that the file has, and finds
 * journal and WAL beside that: so a path that would be trimmed goes by the kernel's link to it.
 */
export function byExactPath<T>(path: string, open: (path: string) => T): T {
  if (path === path.trim()) return open(path);
  const fd = openSync(path, O_PATH);
  try {
    const link = `/proc/self/fd/${fd}`;
    return open(existsSync(link) ? link : path);
  } finally {
    closeSync(fd);
  }
}
