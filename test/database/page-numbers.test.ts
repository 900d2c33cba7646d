import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Database } from '../../src/database/database.js';
import { allPages, checkPageCount, grownPages } from '../../src/database/page-numbers.js';
import { SluiceError } from '../../src/errors.js';
import { DatabaseSums, lockPage } from '../../src/ltx/index.js';

const PAGE_SIZE = 65536;
const LOCK = lockPage(PAGE_SIZE);
/** Around the lock page too. */
const pages = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: LOCK - 10, max: LOCK + 10 }));

const ofPages = (pageCount: number): Database => ({ sums: new DatabaseSums(PAGE_SIZE), pageCount }) as Database;
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test('the pages of a transaction: those that changed and are left, and all that are new', () => {
  fc.assert(
    fc.property(fc.array(pages), pages, pages, (numbers, before, commit) => {
      const changed = numbers.filter((pgno) => pgno >= 1);
      const wanted = upTo(commit).filter((pgno) => pgno !== LOCK && (pgno > before || changed.includes(pgno)));
      assert.equal([...grownPages(ofPages(before), changed, commit)], wanted);
    }),
  );
});

test('all pages but the lock page', () => {
  for (const count of [0, 1, 40, LOCK - 1, LOCK, LOCK + 1, LOCK + 7]) {
    assert.equal(
      [...allPages(count, LOCK)],
      upTo(count).filter((pgno) => pgno !== LOCK),
    );
  }
});

test('no table is made for pages that there cannot be', () => {
  const isRefused = (error: unknown): boolean => error instanceof SluiceError && error.code === 'DATABASE_SIZE';
  for (const count of [2 ** 28 + 1, 0xffff_fffe]) {
    assert.throws(() => allPages(count, LOCK), isRefused);
    assert.throws(() => grownPages(ofPages(5), [1], count), isRefused);
    assert.throws(() => checkPageCount(count, count), isRefused);
  }
  checkPageCount(2 ** 28, 2 ** 28);
  checkPageCount(2 ** 16 + 7, 7);
  assert.throws(() => checkPageCount(2 ** 16 + 8, 7), isRefused);
});

test.run();
