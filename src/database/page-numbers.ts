import { SluiceError } from '../errors.js';
import { lockPage } from '../ltx/index.js';
import type { Database } from './database.js';

/** A database has so many pages at most: 1 TiB of them at 4 KiB. Its table of page checksums takes 8 bytes for each. */
const MAX_DATABASE_PAGES = 2 ** 28;
/** Pages that a WAL may add without writing them. SQLite writes all but perhaps a few that it freed at once. */
const MAX_UNWRITTEN_PAGES = 2 ** 16;

/**
 * Throws `DATABASE_SIZE` for a size that cannot be: whoever believed it would read for hours, and fill memory and disk.
 * `written`: pages that there is an image of.
 */
export function checkPageCount(pageCount: number, written: number): void {
  if (pageCount <= MAX_DATABASE_PAGES && pageCount - written <= MAX_UNWRITTEN_PAGES) return;
  const what =
    pageCount > MAX_DATABASE_PAGES ? `${MAX_DATABASE_PAGES} pages are the most` : `it has ${written} of them`;
  throw new SluiceError('DATABASE_SIZE', `a database of ${pageCount} pages: ${what}`, 'Restore it, or remove its WAL');
}

/** All pages of a database of `count` pages, without the lock page. Throws `DATABASE_SIZE`. */
export function allPages(count: number, lock: number): Uint32Array {
  checkPageCount(count, count);
  const pages = new Uint32Array(count >= lock ? count - 1 : count);
  for (let i = 0, pgno = 1; i < pages.length; i++, pgno++) {
    if (pgno === lock) pgno++;
    pages[i] = pgno;
  }
  return pages;
}

/**
 * The page numbers up to `commit`, with those that the database grew by, ascending, without the lock page. Throws
 * `DATABASE_SIZE`.
 */
export function grownPages(
  database: Pick<Database, 'sums' | 'pageCount'>,
  numbers: Iterable<number>,
  commit: number,
): Uint32Array {
  checkPageCount(commit, commit);
  const lock = lockPage(database.sums.pageSize);
  const before = Math.min(database.pageCount, commit);
  const kept = new Set<number>();
  for (const pgno of numbers) if (pgno <= before && pgno !== lock) kept.add(pgno);
  const pages = new Uint32Array(kept.size + commit - before);
  let count = 0;
  for (const pgno of kept) pages[count++] = pgno;
  pages.subarray(0, count).sort();
  for (let pgno = before + 1; pgno <= commit; pgno++) if (pgno !== lock) pages[count++] = pgno;
  return pages.subarray(0, count);
}
