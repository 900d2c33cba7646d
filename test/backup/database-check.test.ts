import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore, restore, type Store } from '../../src/backup/index.js';
import { SluiceError } from '../../src/errors.js';
import { DatabaseSums, encodeLtx, pageChecksum } from '../../src/ltx/index.js';
import { runSluice } from '../cmd/run-sluice.js';
import { type Workbench, withWorkbench } from './workbench.js';

/** Stores a database file as a snapshot, with all checksums right. */
async function storeFile(bench: Workbench, path: string): Promise<Store> {
  const image = readFileSync(path);
  const sums = new DatabaseSums(4096);
  const sum = { high: 0, low: 0 };
  const pages = Array.from({ length: image.length / 4096 }, (_, i) => {
    const data = image.subarray(i * 4096, (i + 1) * 4096);
    pageChecksum(i + 1, data, 0, 4096, sum);
    sums.set(i + 1, sum.high, sum.low);
    return { pgno: i + 1, data };
  });
  const header = { pageSize: 4096, commit: pages.length, minTxid: 1, maxTxid: 1, timestampMs: 0, preApply: 0n };
  const store = openStore(`file://${join(bench.folder, 'store')}`).database('app.db');
  const file = { level: 9, minTxid: 1, maxTxid: 1, timestampMs: 0 };
  await store.put(file, encodeLtx({ ...header, postApply: sums.checksum() }, pages));
  return store;
}

/** A database in WAL mode with an index, of which an entry can be missing. */
function makeDatabase(path: string, broken: boolean): void {
  const db = new Database(path);
  db.pragma('journal_mode = wal');
  db.exec('create table t(id integer primary key, x); create index t_x on t(x)');
  for (let i = 0; i < 50; i++) db.prepare('insert into t(x) values (?)').run(`row ${i}`);
  if (broken) {
    // What a partial index leaves out is missing once it is declared to be a whole one.
    db.exec('drop index t_x; create index t_x on t(x) where id <> 7');
    db.unsafeMode(true);
    db.pragma('writable_schema = on');
    db.exec("update sqlite_schema set sql = 'create index t_x on t(x)' where name = 't_x'");
  }
  db.close();
}

test('a whole database: it gets its name as it was stored, and nothing is left beside it', () =>
  withWorkbench(async (bench) => {
    const source = join(bench.folder, 'source.db');
    makeDatabase(source, false);
    const store = await storeFile(bench, source);
    for (const check of ['quick', 'full'] as const) {
      const output = join(bench.folder, check, 'app.db');
      await restore({ store, output, check });
      assert.ok(readFileSync(output).equals(readFileSync(source)));
      assert.equal(readdirSync(join(bench.folder, check)), ['app.db']);
    }
  }));

test('an index that lacks a row is found by the full check; nothing is left', () =>
  withWorkbench(async (bench) => {
    const source = join(bench.folder, 'source.db');
    makeDatabase(source, true);
    const store = await storeFile(bench, source);
    const output = join(bench.folder, 'out', 'app.db');
    try {
      await restore({ store, output, check: 'full' });
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof SluiceError);
      assert.is(error.code, 'RESTORE_CHECK');

      assert.match(
        error.message,
        'SQLite finds the database malformed: wrong # of entries in index t_x; row 7 missing from index t_x',
      );
    }
    assert.equal(readdirSync(join(bench.folder, 'out')), []);
  }));

test('an index by a collation of the application: that SQLite cannot check it is told, and it is restored', () =>
  withWorkbench(async (bench) => {
    const source = join(bench.folder, 'source.db');
    makeDatabase(source, false);
    const db = new Database(source);
    db.unsafeMode(true);
    db.pragma('writable_schema = on');
    db.exec("update sqlite_schema set sql = 'create index t_x on t(x collate own)' where name = 't_x'");
    db.close();
    const store = await storeFile(bench, source);
    const output = join(bench.folder, 'out', 'app.db');
    const { unchecked } = await restore({ store, output, check: 'full' });
    assert.match(unchecked!, 'no such collation sequence: own');
    assert.ok(readFileSync(output).equals(readFileSync(source)));
    const lines = await runSluice(['restore', '--verify', 'full', '--force', '-o', output, store.url], bench.folder);
    assert.is(lines.code, 0, lines.stderr);
    assert.match(lines.stdout, 'SQLite could not check it, for lack of what the application brings: no such collation');
  }));

test('a check can be stopped', () =>
  withWorkbench(async (bench) => {
    const source = join(bench.folder, 'source.db');
    makeDatabase(source, false);
    const store = await storeFile(bench, source);
    const abort = new AbortController();
    const output = join(bench.folder, 'out', 'app.db');
    try {
      await restore({ store, output, check: 'full', onCheck: () => abort.abort(), signal: abort.signal });
      assert.unreachable();
    } catch (error) {
      assert.is((error as SluiceError).code, 'RESTORE_ABORTED');
    }
    assert.equal(readdirSync(join(bench.folder, 'out')), []);
  }));

test.run();
