import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wrongPages } from '../../src/database/replica-check.js';
import { closeSync, openSync, writeSync } from '../../src/disk/index.js';
import { DatabaseSums, pageChecksum } from '../../src/ltx/index.js';
import { parseWalIndexHeader, WAL_INDEX_PREFIX_SIZE } from '../../src/sqlite/index.js';

const test = suite('pages that are not as they have to be');

const PAGE_SIZE = 4096;

let folder: string;
let path: string;
let db: Sqlite.Database;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  path = join(folder, 'a.db');
  db = new Sqlite(path);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v)');
  const insert = db.prepare('INSERT INTO t (v) VALUES (zeroblob(3000))');
  for (let n = 0; n < 20; n++) insert.run();
});
test.after.each(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

/** As it is now, as SQLite sees it. */
function known(): { path: string; pageSize: number; pageCount: number; sums: DatabaseSums } {
  const image = db.serialize();
  const sums = new DatabaseSums(PAGE_SIZE);
  const sum = { high: 0, low: 0 };
  const pageCount = image.length / PAGE_SIZE;
  for (let pgno = 1; pgno <= pageCount; pgno++) {
    pageChecksum(pgno, image, (pgno - 1) * PAGE_SIZE, PAGE_SIZE, sum);
    sums.set(pgno, sum.high, sum.low);
  }
  return { path, pageSize: PAGE_SIZE, pageCount, sums };
}

/** Another byte in a page of the database file. */
function change(pgno: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.of(77), 0, 1, pgno * PAGE_SIZE - 1000);
  closeSync(fd);
}

const walIndex = () => parseWalIndexHeader(readFileSync(`${path}-shm`).subarray(0, WAL_INDEX_PREFIX_SIZE))!;

test('in a rollback mode: all of them, or only some', async () => {
  const database = known();
  assert.is(await wrongPages(database, undefined, undefined), 0);
  change(7);
  change(9);
  assert.is(await wrongPages(database, undefined, undefined), 2);
  assert.is(await wrongPages(database, Uint32Array.of(7, 8, 500), undefined), 1);
});

test('what a WAL has is as it is there, the rest as it is in the file', async () => {
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  db.exec('UPDATE t SET v = randomblob(3000) WHERE id = 5');
  const database = known();
  const wal = walIndex();
  assert.ok(wal.frames > 0);
  assert.is(await wrongPages(database, undefined, wal), 0);
  assert.ok((await wrongPages(database, undefined, undefined))! > 0, 'without it they would differ');
  change(12);
  assert.is(await wrongPages(database, undefined, wal), 1);
});

test('a WAL that is another one by now tells nothing', async () => {
  db.pragma('journal_mode = WAL');
  db.exec('UPDATE t SET v = 1 WHERE id = 5');
  const database = known();
  const wal = walIndex();
  db.pragma('wal_checkpoint(RESTART)');
  db.exec('UPDATE t SET v = 2 WHERE id = 5');
  assert.is(await wrongPages(database, undefined, wal), undefined);
  db.pragma('wal_checkpoint(TRUNCATE)');
  assert.is(await wrongPages(database, undefined, wal), undefined);
  assert.is(await wrongPages(known(), undefined, walIndex()), 0, 'an empty one is none');
});

test.run();
