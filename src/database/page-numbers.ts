import { lockPage } from '../ltx/index.js';
import type { Database } from './database.js';

/** All pages of a database of `count` pages, without the lock page. */
export function allPages(count: number, lock: number): Uint32Array {
  const pages = new Uint32Array(count >= lock ? count - 1 : count);
  for (let i = 0, pgno = 1; i < pages.length; i++, pgno++) {
    if (pgno === lock) pgno++;
    pages[i] = pgno;
  }
  return pages;
}

/** The page numbers up to `commit`, with those that the database grew by, ascending, without the lock page. */
export function grownPages(database: Database, numbers: Iterable<number>, commit: number): Uint32Array {
  const lock = lockPage(database.sums.pageSize);
  const kept = new Set<number>();
  for (const pgno of numbers) if (pgno <= commit && pgno !== lock) kept.add(pgno);
  for (let pgno = database.pageCount + 1; pgno <= commit; pgno++) if (pgno !== lock) kept.add(pgno);
  return Uint32Array.from(kept).sort();
}
