import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, startPrimary, startReplica, stopAll, waitFor, waitUntilSame } from '../support/cluster.js';

/** Ordinary programs write on a replica, and it works as on the primary. */

const test = suite('writes on a replica');
test.after(stopAll);

const PROGRAM_LIMIT_MS = 30_000;
/** Of each process that writes. */
const ROWS = 25;
const MODES = ['wal', 'delete', 'truncate', 'persist'] as const;

interface Scene {
  readonly primary: ClusterNode;
  readonly replica: ClusterNode;
}

let scene: Scene | undefined;

async function nodes(): Promise<Scene> {
  if (scene === undefined) {
    const primary = await startPrimary();
    scene = { primary, replica: await startReplica(primary, { mount: { locks: 'sluice' } }) };
  }
  return scene;
}

/** A database on both, made on the primary. */
async function database(name: string, mode: string, sql = 'CREATE TABLE t (a INTEGER PRIMARY KEY, b)'): Promise<Scene> {
  const { primary, replica } = await nodes();
  const db = new Sqlite(primary.path(name));
  db.pragma(`journal_mode = ${mode}`);
  db.exec(sql);
  db.close();
  await waitUntilSame(primary, replica, name);
  return { primary, replica };
}

/** A commit on a replica makes it wait for the primary's lock, so what runs beside it has to wait too. */
function open(node: ClusterNode, name: string, timeout = 10_000): Sqlite.Database {
  return new Sqlite(node.path(name), { timeout });
}

function shell(path: string, sql: string): string {
  const ran = spawnSync('sqlite3', ['-cmd', '.timeout 10000', path, sql], {
    encoding: 'utf8',
    timeout: PROGRAM_LIMIT_MS,
  });
  return (ran.stdout + ran.stderr).trim();
}

function countOf(node: ClusterNode, name: string): number {
  const db = open(node, name);
  try {
    return db.prepare('SELECT count(*) FROM t').pluck().get() as number;
  } finally {
    db.close();
  }
}

/** Other users may go through the temporary folder, and those that the runner made above it. */
function letPass(folder: string): void {
  if (!/-\w{6}$/.test(folder)) return;
  chmodSync(folder, 0o755);
  letPass(dirname(folder));
}

/** What a process is told that inserts rows one after the other. */
async function writer(path: string, id: number): Promise<string[]> {
  const program = fileURLToPath(new URL('./commit-writer.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, path, String(id), String(ROWS)], {
    timeout: PROGRAM_LIMIT_MS,
  });
  return stdout.trim().split('\n');
}

for (const mode of MODES) {
  test(`${mode}: autocommit, IMMEDIATE, upgrades, savepoints, rollback, DDL, VACUUM; there and here when COMMIT returns`, async () => {
    const name = `all-${mode}.db`;
    const { primary, replica } = await database(name, mode);
    const db = open(replica, name);
    db.pragma(`journal_mode = ${mode}`);
    const insert = db.prepare('INSERT INTO t (b) VALUES (?)');
    for (let n = 1; n <= 5; n++) {
      insert.run(n);
      assert.is(countOf(primary, name), n, 'on the primary when it returned');
      assert.is(countOf(replica, name), n, 'on the replica too');
    }
    db.transaction(() => {
      insert.run(6);
      insert.run(7);
    }).immediate();
    db.exec('BEGIN');
    assert.is(db.prepare('SELECT count(*) FROM t').pluck().get(), 7);
    insert.run(8);
    db.exec('SAVEPOINT s; INSERT INTO t (b) VALUES (99); ROLLBACK TO s; COMMIT');
    db.exec('BEGIN IMMEDIATE; INSERT INTO t (b) VALUES (98); ROLLBACK');
    assert.is(countOf(primary, name), 8);
    db.exec('CREATE TABLE u (x); CREATE INDEX i ON t (b); INSERT INTO u SELECT randomblob(2000) FROM t; DROP TABLE u');
    db.exec('DELETE FROM t WHERE a < 3; VACUUM');
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    assert.is(countOf(primary, name), 6);
    assert.is(shell(primary.path(name), 'PRAGMA integrity_check; SELECT sum(b) FROM t'), 'ok\n33.0');
    await waitUntilSame(primary, replica, name);
  });
}

test('who writes is shown, and what became of it is counted', async () => {
  const { primary, replica } = await database('shown.db', 'wal');
  const db = open(replica, 'shown.db');
  db.exec('INSERT INTO t (b) VALUES (1)');
  db.exec('BEGIN IMMEDIATE');
  const { nodeId } = await replica.status();
  const writer = async () => (await primary.status()).databases.find((each) => each.name === 'shown.db')?.writer;
  assert.is(await writer(), nodeId);
  db.exec('ROLLBACK');
  db.close();
  await waitFor(async () => (await writer()) === null);
  const metrics = async (node: ClusterNode) => (await fetch(`${node.httpUrl}/metrics`)).text();
  assert.match(await metrics(replica), 'sluice_forwarded_commits_total{database="shown.db",outcome="taken"} 1');
  assert.match(await metrics(primary), /sluice_halts_total\{database="shown.db",outcome="given"\} [12]/);
});

test('the shell and Python write like any other program, on both sides by turns', async () => {
  const { primary, replica } = await database('turns.db', 'wal');
  for (let n = 0; n < 6; n++) {
    const node = n % 2 === 0 ? replica : primary;
    assert.is(shell(node.path('turns.db'), `INSERT INTO t (b) VALUES (${n}); SELECT count(*) FROM t`), String(n + 1));
  }
  const program =
    'import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=10)\nwith c: c.execute("INSERT INTO t (b) VALUES (7)")\nprint(c.execute("SELECT count(*) FROM t").fetchone()[0])';
  const python = spawnSync('python3', ['-c', program, replica.path('turns.db')], {
    encoding: 'utf8',
    timeout: PROGRAM_LIMIT_MS,
  });
  assert.is(python.stdout.trim(), '7', python.stderr);
  await waitUntilSame(primary, replica, 'turns.db');
});

test('turns that end at once: who goes on gives the lock back with each transaction', async () => {
  const primary = await startPrimary({ writes: { turn: '1ms' } });
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  for (const mode of ['wal', 'delete']) {
    const name = `turns-${mode}.db`;
    const db = open(primary, name);
    db.pragma(`journal_mode = ${mode}`);
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, writer, n, filler)');
    await waitUntilSame(primary, replica, name);
    const said = await Promise.all([
      writer(replica.path(name), 1),
      writer(replica.path(name), 2),
      writer(primary.path(name), 3),
    ]);
    const all = Array.from({ length: ROWS }, (_, n) => `ack ${n + 1}`);
    assert.equal(said, [all, all, all]);
    await waitUntilSame(primary, replica, name);
    assert.equal(db.prepare('SELECT count(*), count(DISTINCT writer * 1000 + n) FROM t').raw().get(), [
      3 * ROWS,
      3 * ROWS,
    ]);
    db.close();
  }
  for (const node of [replica, primary]) assert.is(await node.stop(), 0);
});

test('without a busy time-out an idle cluster takes a write at once', async () => {
  for (const mode of MODES) {
    const name = `idle-${mode}.db`;
    const { primary, replica } = await database(name, mode);
    const db = open(replica, name, 0);
    db.exec('INSERT INTO t (b) VALUES (1)');
    db.close();
    await waitUntilSame(primary, replica, name);
  }
});

test('who has read what is old by now finds the database busy, and never an I/O error', async () => {
  for (const mode of ['wal', 'delete']) {
    const name = `stale-${mode}.db`;
    const { primary, replica } = await database(name, mode);
    const db = open(replica, name, 200);
    db.exec('BEGIN');
    db.prepare('SELECT * FROM t').all();
    const other = open(primary, name);
    other.exec('INSERT INTO t (b) VALUES (1)');
    other.close();
    if (mode === 'wal') await waitFor(async () => (await primary.position(name)) === (await replica.position(name)));
    assert.throws(
      () => db.exec('INSERT INTO t (b) VALUES (2)'),
      (error: { code?: string }) => error.code?.startsWith('SQLITE_BUSY') === true,
    );
    db.exec('ROLLBACK');
    const patient = open(replica, name);
    patient.exec('BEGIN IMMEDIATE; INSERT INTO t (b) VALUES (2); COMMIT');
    patient.close();
    db.close();
    assert.is(countOf(primary, name), 2);
    await waitUntilSame(primary, replica, name);
  }
});

test('a new database is made on a replica, in a folder of its own and in WAL mode too', async () => {
  const { primary, replica } = await nodes();
  assert.is(shell(replica.path('new.db'), 'CREATE TABLE t (a); INSERT INTO t VALUES (1); SELECT count(*) FROM t'), '1');
  mkdirSync(replica.path('sub'));
  const sql =
    'PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(300000))';
  assert.is(shell(replica.path('sub/wal.db'), sql), 'wal');
  for (const name of ['new.db', 'sub/wal.db']) {
    assert.is(shell(primary.path(name), 'INSERT INTO t VALUES (2); SELECT count(*) FROM t'), '2');
    await waitUntilSame(primary, replica, name);
    assert.is(shell(replica.path(name), 'INSERT INTO t VALUES (3); SELECT count(*) FROM t'), '3');
    await waitUntilSame(primary, replica, name);
  }
});

test('into WAL mode from a replica', async () => {
  const { primary, replica } = await database('into.db', 'delete');
  assert.is(shell(replica.path('into.db'), 'PRAGMA journal_mode = WAL; INSERT INTO t (b) VALUES (1)'), 'wal');
  assert.is(
    shell(primary.path('into.db'), 'PRAGMA journal_mode; INSERT INTO t (b) VALUES (2); SELECT count(*) FROM t'),
    'wal\n2',
  );
  await waitUntilSame(primary, replica, 'into.db');
});

test('ATTACH: a transaction over two databases', async () => {
  for (const mode of ['wal', 'delete']) {
    const [one, two] = [`one-${mode}.db`, `two-${mode}.db`];
    const { primary, replica } = await database(one, mode);
    await database(two, mode);
    const db = open(replica, one);
    db.exec(
      `ATTACH '${replica.path(two)}' AS two; BEGIN; INSERT INTO t (b) VALUES (1); INSERT INTO two.t (b) VALUES (2); COMMIT`,
    );
    db.close();
    for (const name of [one, two]) {
      assert.is(countOf(primary, name), 1);
      await waitUntilSame(primary, replica, name);
    }
  }
});

test('a large transaction, more than memory would be taken for', async () => {
  const { primary, replica } = await database('large.db', 'wal');
  const db = open(replica, 'large.db');
  db.exec(
    'WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) INSERT INTO t (b) SELECT randomblob(1000) FROM c',
  );
  db.close();
  assert.is(countOf(primary, 'large.db'), 20_000);
  await waitUntilSame(primary, replica, 'large.db');
});

test('checkpoints by applications of the replica', async () => {
  const { primary, replica } = await database('checkpoint.db', 'wal');
  const db = open(replica, 'checkpoint.db');
  db.pragma('wal_autocheckpoint = 5');
  const insert = db.prepare('INSERT INTO t (b) VALUES (randomblob(3000))');
  for (let n = 0; n < 30; n++) insert.run();
  assert.is((db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[])[0]!.busy, 0);
  insert.run();
  db.close();
  assert.is(countOf(primary, 'checkpoint.db'), 31);
  await waitUntilSame(primary, replica, 'checkpoint.db');
});

test('what is no transaction is refused, and changes nothing', async () => {
  const { primary, replica } = await database('kept.db', 'delete');
  const path = replica.path('kept.db');
  const isRefused = (error: { code?: string }) => error.code === 'EROFS';
  assert.throws(() => copyFileSync(primary.path('kept.db'), path), isRefused);
  assert.throws(() => rmSync(path), isRefused);
  assert.throws(() => renameSync(path, replica.path('other.db')), isRefused);
  const db = open(replica, 'kept.db');
  for (const mode of ['memory', 'off']) {
    db.pragma(`journal_mode = ${mode}`);
    assert.throws(() => db.exec('INSERT INTO t (b) VALUES (1)'), /disk I\/O error|readonly/);
  }
  db.close();
  assert.is(countOf(replica, 'kept.db'), 0);
  assert.not(existsSync(replica.path('other.db')));
  await waitUntilSame(primary, replica, 'kept.db');
});

test('a journal that a dead application left is no leave to cut the database', async () => {
  const { primary, replica } = await database('spilt.db', 'delete');
  const path = replica.path('spilt.db');
  const program = `const db = new (require('better-sqlite3'))(${JSON.stringify(path)}, { timeout: 20000 });
    db.pragma('cache_size = 5');
    db.exec('BEGIN');
    const insert = db.prepare('INSERT INTO t (b) VALUES (zeroblob(4000))');
    for (let n = 0; n < 200; n++) insert.run();
    process.kill(process.pid, 'SIGKILL');`;
  const ran = spawnSync(process.execPath, ['-e', program], { timeout: PROGRAM_LIMIT_MS, encoding: 'utf8' });
  assert.is(ran.signal, 'SIGKILL', ran.stderr);
  assert.ok(existsSync(`${path}-journal`), 'it is there to be played back');
  for (const size of [0, 4096]) {
    assert.throws(
      () => truncateSync(path, size),
      (error: { code?: string }) => error.code === 'EROFS',
    );
  }
  assert.is(countOf(replica, 'spilt.db'), 0);
  await waitUntilSame(primary, replica, 'spilt.db');
});

test('another user than the node’s, to whom the mount is given, writes there: what is there, what comes, and what he makes', async () => {
  if (process.getuid?.() !== 0) return;
  const OTHER = 65_534;
  const primary = await startPrimary();
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  for (const { dir } of [primary, replica]) letPass(dir);
  const as = (node: ClusterNode, name: string, sql: string): string => {
    const args = ['-cmd', '.timeout 10000', node.path(name), sql];
    const ran = spawnSync('sqlite3', args, { uid: OTHER, gid: OTHER, encoding: 'utf8', timeout: PROGRAM_LIMIT_MS });
    return (ran.stdout + ran.stderr).trim();
  };
  const make = async (name: string, mode: string) => {
    mkdirSync(dirname(primary.path(name)), { recursive: true });
    shell(primary.path(name), `PRAGMA journal_mode = ${mode}; CREATE TABLE t (a)`);
    await waitUntilSame(primary, replica, name);
  };
  for (const mode of ['wal', 'delete']) await make(`before-${mode}.db`, mode);
  assert.match(as(replica, 'before-wal.db', 'INSERT INTO t VALUES (1)'), /readonly/);
  spawnSync('chown', ['-R', `${OTHER}:${OTHER}`, replica.path('.')], { timeout: PROGRAM_LIMIT_MS });
  chownSync(primary.path('.'), OTHER, OTHER);
  for (const mode of ['wal', 'delete']) {
    await make(`after-${mode}.db`, mode);
    await make(`sub-${mode}/after.db`, mode);
    for (const name of [`before-${mode}.db`, `after-${mode}.db`, `sub-${mode}/after.db`]) {
      assert.is(as(replica, name, 'INSERT INTO t VALUES (1); SELECT count(*) FROM t'), '1', name);
      await waitUntilSame(primary, replica, name);
    }
    const made = `made-${mode}.db`;
    assert.is(as(replica, made, `PRAGMA journal_mode = ${mode}; CREATE TABLE t (a)`), mode);
    await waitUntilSame(primary, replica, made);
    assert.is(as(primary, made, 'INSERT INTO t VALUES (1); SELECT count(*) FROM t'), '1', 'its owner there too');
  }
  for (const node of [replica, primary]) assert.is(await node.stop(), 0);
});

test('a replica whose locks are the kernel’s says that its databases are read-only', async () => {
  const { primary } = await database('read.db', 'wal');
  const reader = await startReplica(primary);
  const db = new Sqlite(reader.path('read.db'), { timeout: 1000 });
  assert.throws(() => db.exec('INSERT INTO t (b) VALUES (1)'), /readonly/);
  db.close();
});

test('a primary that takes no writes: busy, not an error', async () => {
  const primary = await startPrimary({ writes: { forward: false } });
  const db = new Sqlite(primary.path('no.db'));
  db.exec('CREATE TABLE t (a)');
  db.close();
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  await waitUntilSame(primary, replica, 'no.db');
  const writer = open(replica, 'no.db', 0);
  assert.throws(() => writer.exec('INSERT INTO t VALUES (1)'), /locked/);
  writer.close();
  const { problems } = await replica.status();
  assert.equal(
    problems.map(({ code }) => code),
    ['WRITES_OFF'],
  );
});

test.run();
