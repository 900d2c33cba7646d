// Time limit: 10 min
import { existsSync, statSync } from 'node:fs';
import type Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { txidOf, waitFor } from '../support/cluster.js';
import { python } from './support/python.js';
import { fill, Trio } from './support/trio.js';

/* What SQLite does to a database's pages and its WAL beyond a plain commit. */

const test = suite('pages');
const SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
/** `SLUICE_WAL_BYTES=1e9` for the long form. */
const WAL_BYTES = Number(process.env.SLUICE_WAL_BYTES ?? 64e6);
const LONG_LIMIT_MS = 15 * 60_000;

let trio: Trio;
test.before(async () => {
  trio = await Trio.start();
});
test.after(() => trio.stop());

const pageSizeOf = async (name: string): Promise<number | undefined> =>
  (await trio.replica.status()).databases.find((database) => database.name === name)?.pageSize;

const number = (db: Sqlite.Database, pragma: string): number => Number(db.pragma(pragma, { simple: true }));

test('every page size, in WAL and rollback mode', async () => {
  const names: string[] = [];
  for (const size of SIZES) {
    for (const mode of ['WAL', 'DELETE']) {
      const name = `size-${size}-${mode}.db`;
      names.push(name);
      const db = trio.open(name);
      db.pragma(`page_size = ${size}`);
      db.pragma(`journal_mode = ${mode}`);
      fill(db, 40, 700);
      db.prepare('DELETE FROM t WHERE id % 3 = 0').run();
      db.close();
    }
  }
  await trio.proven(...names);
  for (const name of names) assert.is(await pageSizeOf(name), Number(name.split('-')[1]), name);
});

test('another page size by VACUUM, up and down, out of WAL and into it again', async () => {
  const name = 'another-size.db';
  const db = trio.open(name);
  db.pragma('journal_mode = WAL');
  fill(db, 60, 900);
  let before = txidOf(await trio.same(name));
  for (const size of [512, 65536, 1024, 32768, 2048]) {
    db.pragma('journal_mode = DELETE');
    db.pragma(`page_size = ${size}`);
    db.exec('VACUUM');
    db.pragma('journal_mode = WAL');
    fill(db, 3);
    const now = txidOf(await trio.proven(name));
    assert.ok(now > before, `${size}`);
    assert.is(number(db, 'page_size'), size);
    assert.is(await pageSizeOf(name), size);
    before = now;
  }
  db.close();
  await trio.same(name);
});

test('VACUUM in every journal mode, after a large shrink', async () => {
  const names: string[] = [];
  for (const mode of ['WAL', 'DELETE', 'TRUNCATE', 'PERSIST', 'MEMORY', 'OFF']) {
    const name = `vacuum-${mode}.db`;
    names.push(name);
    const db = trio.open(name);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 1000, 1000);
    await trio.same(name);
    db.exec('DELETE FROM t WHERE id > 20');
    db.exec('VACUUM');
    assert.ok(number(db, 'page_count') < 20, name);
    await trio.same(name);
    fill(db, 10);
    db.close();
  }
  await trio.proven(...names);
});

test('auto_vacuum, full and incremental', async () => {
  const names: string[] = [];
  for (const mode of ['WAL', 'DELETE', 'MEMORY']) {
    for (const auto of ['FULL', 'INCREMENTAL']) {
      const name = `auto-${auto}-${mode}.db`;
      names.push(name);
      const db = trio.open(name);
      db.pragma(`auto_vacuum = ${auto}`);
      db.pragma(`journal_mode = ${mode}`);
      fill(db, 300, 1000);
      await trio.same(name);
      const pages = number(db, 'page_count');
      db.exec('DELETE FROM t WHERE id > 20');
      await trio.same(name);
      if (auto === 'INCREMENTAL') {
        db.pragma('incremental_vacuum(20)');
        await trio.same(name);
        db.pragma('incremental_vacuum');
      }
      await trio.same(name);
      assert.ok(number(db, 'page_count') < pages / 2, name);
      fill(db, 100);
      db.close();
    }
  }
  await trio.proven(...names);
});

test('a large mmap_size on the primary and on the replica', async () => {
  const name = 'mapped.db';
  const sql = 'SELECT count(*), total(length(p)) FROM t';
  for (const mode of ['WAL', 'DELETE']) {
    const db = trio.open(name);
    db.pragma('mmap_size = 1073741824');
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 500, 2000);
    await trio.same(name);
    const reader = trio.openReplica(name);
    reader.pragma('mmap_size = 1073741824');
    for (const change of [
      'UPDATE t SET p = randomblob(1500)',
      'DELETE FROM t WHERE id % 2 = 0',
      'INSERT INTO t (p) SELECT randomblob(3000) FROM t',
    ]) {
      reader.prepare(sql).all();
      db.exec(change);
      if (mode === 'WAL') db.pragma('wal_checkpoint(TRUNCATE)');
      await trio.same(name);
      assert.equal(reader.prepare(sql).all(), db.prepare(sql).all(), `${mode}: ${change}`);
      assert.is(reader.pragma('integrity_check', { simple: true }), 'ok');
    }
    reader.close();
    db.close();
  }
  await trio.proven(name);
});

test('cache_spill on and off, savepoints inside, and what is rolled back', async () => {
  const names: string[] = [];
  for (const mode of ['WAL', 'DELETE', 'MEMORY']) {
    const name = `spill-${mode}.db`;
    names.push(name);
    const db = trio.open(name);
    db.pragma(`journal_mode = ${mode}`);
    db.pragma('cache_size = 10');
    fill(db, 200);
    for (const spill of ['ON', 'OFF']) {
      db.pragma(`cache_spill = ${spill}`);
      const before = txidOf(await trio.same(name));
      db.exec('BEGIN; UPDATE t SET p = randomblob(600); SAVEPOINT a; UPDATE t SET p = randomblob(700)');
      db.exec(
        "SAVEPOINT b; DELETE FROM t WHERE id % 2 = 0; ROLLBACK TO b; INSERT INTO t (p) VALUES ('kept'); RELEASE b",
      );
      db.exec('ROLLBACK TO a; UPDATE t SET p = randomblob(650) WHERE id % 3 = 0; RELEASE a; COMMIT');
      assert.is(txidOf(await trio.same(name)), before + 1, `${name} ${spill}`);
      db.exec('BEGIN; UPDATE t SET p = randomblob(900); SAVEPOINT a; UPDATE t SET p = randomblob(800); ROLLBACK');
      assert.is(txidOf(await trio.same(name)), before + 1, `${name} ${spill}`);
    }
    db.close();
  }
  await trio.proven(...names);
});

test('journal_size_limit: journals and WALs that are cut', async () => {
  const names: string[] = [];
  for (const mode of ['WAL', 'DELETE', 'TRUNCATE', 'PERSIST']) {
    for (const limit of [0, 20_000]) {
      const name = `limit-${limit}-${mode}.db`;
      names.push(name);
      const db = trio.open(name);
      db.pragma(`journal_mode = ${mode}`);
      db.pragma(`journal_size_limit = ${limit}`);
      if (limit === 0) db.pragma('locking_mode = EXCLUSIVE');
      fill(db, 300);
      for (let i = 0; i < 3; i++) {
        db.exec('UPDATE t SET p = randomblob(500)');
        if (mode === 'WAL') db.pragma('wal_checkpoint(RESTART)');
      }
      fill(db, 2);
      await trio.same(name);
      const companion = `${trio.primary.backing(name)}-${mode === 'WAL' ? 'wal' : 'journal'}`;
      if (existsSync(companion)) assert.ok(statSync(companion).size <= limit + 10_000, `${name}: cut`);
      db.close();
    }
  }
  await trio.proven(...names);
});

test('checkpoints of each kind by another process, while the writer and a reader are there', async () => {
  const name = 'checkpoints.db';
  const db = trio.open(name);
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  fill(db, 100);
  for (const kind of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) {
    fill(db, 30);
    const before = await trio.same(name);
    await python(`print(db.execute('PRAGMA wal_checkpoint(${kind})').fetchall())`, trio.path(name));
    assert.is(await trio.same(name), before, kind);
    fill(db, 30);
    await trio.same(name);
  }
  db.close();
  await trio.proven(name);
});

test(`wal_autocheckpoint = 0: a WAL of ${WAL_BYTES / 1e6} MB`, async () => {
  const name = 'long-wal.db';
  const db = trio.open(name);
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  db.pragma('synchronous = NORMAL');
  const bytes = 400_000;
  const commits = Math.ceil(WAL_BYTES / bytes / 10);
  for (let n = 0; n < commits; n++) fill(db, 10, bytes);
  assert.ok(statSync(`${trio.primary.backing(name)}-wal`).size >= WAL_BYTES);
  await waitFor(
    async () => {
      const position = await trio.primary.position(name);
      return position !== undefined && txidOf(position) > commits && position === (await trio.replica.position(name));
    },
    LONG_LIMIT_MS,
    'the replica to have all of it',
  );
  await trio.proven(name);
  db.exec('UPDATE t SET p = zeroblob(10)');
  await trio.same(name);
  db.close();
  await trio.proven(name);
});

test.run();
