import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ClusterNode,
  freshFolder,
  startPair,
  startReplica,
  stopAll,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';
import { startLoad } from './support/applications.js';
import type { Mode } from './support/load.js';
import { testSeed } from './support/random.js';

const test = suite('a primary and a replica on real mounts');
const seed = testSeed();

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair());
});
test.after(stopAll);

/** The position and the replica come to what the file holds. Returns the position. */
const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

function open(name: string): Sqlite.Database {
  return new Sqlite(primary.path(name), { timeout: 10_000 });
}

function fill(db: Sqlite.Database, rows: number, bytes = 500): void {
  db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, p BLOB)');
  db.transaction(() => {
    for (let i = 0; i < rows; i++) db.prepare('INSERT INTO t (p) VALUES (randomblob(?))').run(bytes);
  })();
}

const MODES: readonly Mode[] = ['wal', 'delete', 'truncate', 'persist'];

test('each journal mode under a random load, with a replica following', async () => {
  mkdirSync(primary.path('tenants/eu'), { recursive: true });
  const names = MODES.map((mode) => `tenants/eu/${mode}.db`);
  const loads = MODES.map((mode, i) => startLoad(primary.path(names[i]!), mode, 3, seed + i));
  for (const load of loads) await load.done;
  for (const name of names) await same(name);
  const { problems } = await primary.status();
  assert.equal(problems, []);
});

test('two processes writing one database', async () => {
  for (const mode of ['wal', 'persist'] as const) {
    const name = `two-${mode}.db`;
    const db = open(name);
    // Two that change to WAL at once may find it locked, whatever their busy time-out: on any file system.
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 1);
    db.close();
    const loads = [1, 2].map((i) => startLoad(primary.path(name), mode, 2, seed + 10 + i));
    for (const load of loads) await load.done;
    await same(name);
  }
});

test('one commit is one transaction, a rollback none', async () => {
  for (const mode of MODES) {
    const name = `count-${mode}.db`;
    const db = open(name);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 1);
    const before = txidOf(await same(name));
    for (let i = 0; i < 10; i++) db.prepare('INSERT INTO t (p) VALUES (zeroblob(10))').run();
    assert.is(txidOf(await same(name)), before + 10, mode);
    db.exec("BEGIN; INSERT INTO t (p) VALUES ('x'); ROLLBACK");
    assert.is(txidOf(await same(name)), before + 10, `${mode} after a rollback`);
    db.close();
    assert.is(txidOf(await same(name)), before + 10, `${mode} after the close`);
  }
});

test('a checkpoint of each kind moves no position', async () => {
  const db = open('checkpoints.db');
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  fill(db, 100);
  for (const kind of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) {
    fill(db, 20);
    const before = await same('checkpoints.db');
    db.pragma(`wal_checkpoint(${kind})`);
    assert.is(await same('checkpoints.db'), before, kind);
    fill(db, 20);
    await same('checkpoints.db');
  }
  db.close();
  await same('checkpoints.db');
});

test('transactions spilled from a small cache, with frames overwritten in place', async () => {
  for (const mode of MODES) {
    const name = `spill-${mode}.db`;
    const db = open(name);
    db.pragma(`journal_mode = ${mode}`);
    db.pragma('cache_size = 5');
    fill(db, 200);
    const before = txidOf(await same(name));
    db.exec('BEGIN');
    for (let i = 0; i < 4; i++) db.prepare('UPDATE t SET p = randomblob(?)').run(500 + i);
    db.exec('SAVEPOINT s');
    db.prepare('UPDATE t SET p = randomblob(700)').run();
    db.exec('ROLLBACK TO s; COMMIT');
    assert.is(txidOf(await same(name)), before + 1, mode);
    db.close();
  }
});

test('VACUUM, growth and shrink; a cut after the journal is no change, and a new replica can join at once', async () => {
  const db = open('shrink.db');
  db.pragma('auto_vacuum = FULL');
  fill(db, 400, 2000);
  db.exec('DELETE FROM t WHERE id > 20');
  await same('shrink.db');
  fill(db, 100, 3000);
  db.exec('DELETE FROM t');
  db.exec('VACUUM');
  const position = await same('shrink.db');
  // The connection stays open, and nothing else is written.
  const late = await startReplica(primary);
  assert.is(await late.position('shrink.db'), position);
  await late.stop();
  db.close();
});

test('from WAL to a rollback mode and back, several times', async () => {
  const db = open('switch.db');
  fill(db, 50);
  for (const mode of ['WAL', 'DELETE', 'WAL', 'PERSIST', 'WAL', 'TRUNCATE', 'DELETE', 'WAL']) {
    assert.is(db.pragma(`journal_mode = ${mode}`, { simple: true }), mode.toLowerCase());
    fill(db, 10);
    db.prepare('DELETE FROM t WHERE id % 5 = 0').run();
    await same('switch.db');
  }
  db.close();
  await same('switch.db');
});

test('another page size by VACUUM in a rollback mode', async () => {
  const db = open('pages.db');
  fill(db, 100);
  let before = txidOf(await same('pages.db'));
  for (const size of [1024, 65536, 512, 8192]) {
    db.pragma(`page_size = ${size}`);
    db.exec('VACUUM');
    fill(db, 3);
    const now = txidOf(await same('pages.db'));
    assert.ok(now > before);
    before = now;
    assert.is((await replica.status()).databases.find(({ name }) => name === 'pages.db')?.pageSize, size);
  }
  db.close();
});

test('files copied in, moved over others, removed, and made again', async () => {
  const outside = freshFolder('outside');
  const make = (file: string, rows: number): string => {
    const path = join(outside, file);
    const db = new Sqlite(path);
    if (rows % 2 === 0) db.pragma('journal_mode = WAL');
    fill(db, rows);
    db.close();
    return path;
  };
  copyFileSync(make('a', 40), primary.path('copied.db'));
  await waitFor(async () => (await primary.position('copied.db')) !== undefined, 10_000, 'the copy to be taken');
  const first = txidOf(await same('copied.db'));
  // Over it, the other journal mode, larger, then smaller.
  copyFileSync(make('b', 301), primary.path('copied.db'));
  const second = txidOf(await same('copied.db'));
  assert.ok(second > first);
  copyFileSync(make('c', 3), primary.path('copied.db'));
  await same('copied.db');
  copyFileSync(make('d', 66), primary.path('incoming'));
  await same('incoming');
  renameSync(primary.path('incoming'), primary.path('copied.db'));
  const moved = txidOf(await same('copied.db'));
  assert.ok(moved > second);
  await waitFor(async () => (await replica.position('incoming')) === undefined, 10_000, 'the old name to go');

  rmSync(primary.path('copied.db'));
  assert.is(await primary.position('copied.db'), undefined);
  await waitFor(async () => (await replica.position('copied.db')) === undefined, 10_000, 'the drop to arrive');
  const again = open('copied.db');
  again.pragma('journal_mode = WAL');
  fill(again, 5);
  assert.ok(txidOf(await same('copied.db')) > moved, 'the TXID goes on');
  again.close();
});

test('a database renamed with its WAL, the WAL first', async () => {
  const db = open('before.db');
  db.pragma('journal_mode = WAL');
  fill(db, 30);
  await same('before.db');
  // As an application that was killed leaves it.
  copyFileSync(primary.backing('before.db'), join(primary.dir, 'x'));
  copyFileSync(primary.backing('before.db-wal'), join(primary.dir, 'x-wal'));
  db.close();
  copyFileSync(join(primary.dir, 'x-wal'), primary.path('tmp-wal'));
  copyFileSync(join(primary.dir, 'x'), primary.path('tmp'));
  renameSync(primary.path('tmp-wal'), primary.path('after.db-wal'));
  renameSync(primary.path('tmp'), primary.path('after.db'));
  await same('after.db');
  const after = open('after.db');
  assert.is((after.prepare('SELECT count(*) AS n FROM t').get() as { n: number }).n, 30);
  fill(after, 5);
  await same('after.db');
  after.close();
});

test('a file written in pieces too small to be known by', async () => {
  const source = join(freshFolder('outside'), 'db');
  const db = new Sqlite(source);
  fill(db, 3);
  db.close();
  const { spawnSync } = await import('node:child_process');
  spawnSync('dd', [`if=${source}`, `of=${primary.path('pieces.db')}`, 'bs=64'], { timeout: 20_000 });
  await waitFor(async () => (await primary.position('pieces.db')) !== undefined, 10_000, 'the file to be taken');
  await same('pieces.db');
});

test.run();
