/** The companions that SQLite keeps beside a database file, known by their suffix alone. */

export type Companion = 'wal' | 'shm' | 'journal';

const SUFFIXES: readonly (readonly [string, Companion])[] = [
  ['-wal', 'wal'],
  ['-shm', 'shm'],
  ['-journal', 'journal'],
];

/** The database that `path` accompanies and what it is to it, or undefined if it has no such suffix. */
export function companionOf(path: string): { readonly database: string; readonly kind: Companion } | undefined {
  for (const [suffix, kind] of SUFFIXES) {
    if (path.endsWith(suffix) && path.length > suffix.length && path.at(-suffix.length - 1) !== '/') {
      return { database: path.slice(0, -suffix.length), kind };
    }
  }
  return undefined;
}
