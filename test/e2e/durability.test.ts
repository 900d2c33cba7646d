// Time limit: 15 min
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DurabilityStatus } from '../../src/status.js';
import {
  type ClusterNode,
  cleanUp,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';

/** A commit returns when other machines have it, and when they do not answer it is degraded or refused. */

const test = suite('durability of commits');
test.after.each(stopAll);
test.after(cleanUp);

const WRITER = fileURLToPath(new URL('./commit-writer.js', import.meta.url));
const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const MODES = ['wal', 'delete', 'truncate', 'persist'] as const;
const LIMIT_MS = 60_000;
const isIoError = (error: { code?: string }) => error.code?.startsWith('SQLITE_IOERR') === true;

function open(node: ClusterNode, name: string, mode?: string): Sqlite.Database {
  const db = new Sqlite(node.path(name), { timeout: 20_000 });
  if (mode !== undefined) db.pragma(`journal_mode = ${mode}`);
  return db;
}

function make(node: ClusterNode, name: string, mode: string): Sqlite.Database {
  const db = open(node, name, mode);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, writer, n, filler)');
  return db;
}

function count(path: string): number {
  const db = new Sqlite(path, { timeout: 20_000 });
  try {
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    return db.prepare('SELECT count(*) FROM t').pluck().get() as number;
  } finally {
    db.close();
  }
}

async function durability(node: ClusterNode, name: string): Promise<DurabilityStatus> {
  const { databases } = await node.status();
  return databases.find((db) => db.name === name)!.durability!;
}

/** A process that commits rows; what it was told is in `acked` and `failed`. */
class Writer {
  readonly acked: number[] = [];
  readonly failed: string[] = [];
  readonly ended: Promise<void>;
  readonly child: ChildProcess;
  private rest = '';

  constructor(path: string, id: number, rows = 0, then = '') {
    this.child = spawn(process.execPath, [WRITER, path, String(id), String(rows), then], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.rest + text).split('\n');
      this.rest = lines.pop()!;
      for (const line of lines) {
        const [kind, n, code] = line.split(' ');
        if (kind === 'ack') this.acked.push(Number(n));
        else this.failed.push(code!);
      }
    });
    this.ended = new Promise((resolve) => this.child.once('close', () => resolve()));
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

/** Every row that a writer was told is committed is in the database at `path`, once. */
function holdsAll(path: string, writers: readonly Writer[]): void {
  const db = new Sqlite(path, { timeout: 20_000, readonly: true });
  try {
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    const rows = db.prepare('SELECT n FROM t WHERE writer = ?').pluck();
    for (const [id, { acked }] of writers.entries()) {
      const found = rows.all(id) as number[];
      assert.is(new Set(found).size, found.length, 'no row is there twice');
      const has = new Set(found);
      assert.equal(
        acked.filter((n) => !has.has(n)),
        [],
        `rows of writer ${id} that were acknowledged (${acked.length}) are there`,
      );
    }
  } finally {
    db.close();
  }
}

for (const mode of MODES) {
  test(`${mode}: refuse: without a replica a commit fails and is undone; with one it is there too`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '2s' } });
    let replica = await startReplica(primary);
    const db = make(primary, 'a.db', mode);
    const insert = db.prepare('INSERT INTO t (n, filler) VALUES (?, randomblob(3000))');
    for (let n = 1; n <= 20; n++) insert.run(n);
    db.exec('BEGIN; INSERT INTO t (n) VALUES (99); ROLLBACK');
    await waitFor(() => count(replica.path('a.db')) === 20);
    assert.equal((await durability(primary, 'a.db')).refused, 0);

    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    assert.throws(() => insert.run(21), isIoError);
    assert.is(db.prepare('SELECT count(*) FROM t').pluck().get(), 20);
    assert.is(count(primary.path('a.db')), 20);
    assert.throws(() => {
      db.transaction(() => {
        for (let n = 0; n < 300; n++) insert.run(n);
      })();
    }, isIoError);
    if (db.inTransaction) db.exec('ROLLBACK');
    assert.is(count(primary.path('a.db')), 20);
    const status = await primary.status();
    assert.equal(
      status.problems.map(({ code, subject }) => [code, subject]),
      [['DURABILITY_REFUSING', 'a.db']],
    );
    assert.is((await durability(primary, 'a.db')).refused, 2);

    replica = await startReplica(primary, { dir });
    insert.run(21);
    assert.is(count(primary.path('a.db')), 21);
    db.close();
    await waitUntilSame(primary, replica, 'a.db');
    assert.is(count(replica.path('a.db')), 21);
    assert.equal((await primary.status()).problems, []);
  });
}

test('what was refused is not found by who reads the WAL without its index', async () => {
  const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '2s' } });
  const replica = await startReplica(primary);
  const db = make(primary, 'a.db', 'wal');
  db.prepare('INSERT INTO t (n) VALUES (1)').run();
  assert.is(await replica.stop(), 0);
  assert.throws(() => db.prepare('INSERT INTO t (n, filler) VALUES (2, zeroblob(100000))').run(), isIoError);
  const copy = freshFolder('copy');
  mkdirSync(copy, { recursive: true });
  for (const end of ['', '-wal']) spawnSync('cp', [primary.backing(`a.db${end}`), join(copy, `a.db${end}`)]);
  const through = freshFolder('through');
  for (const end of ['', '-wal']) spawnSync('cp', [primary.path(`a.db${end}`), join(through, `a.db${end}`)]);
  for (const folder of [copy, through]) {
    const other = new Sqlite(join(folder, 'a.db'));
    assert.is(other.prepare('SELECT count(*) FROM t').pluck().get(), 1, folder);
    other.close();
  }
  db.close();
});

for (const mode of ['wal', 'delete']) {
  test(`${mode}: degrade: commits return, are counted and shown, and wait again when the replica is back`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, timeout: '1s' } });
    let replica = await startReplica(primary);
    const db = make(primary, 'a.db', mode);
    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    const insert = db.prepare('INSERT INTO t (n) VALUES (?)');
    for (let n = 1; n <= 30; n++) insert.run(n);
    assert.is(count(primary.path('a.db')), 30);
    await waitFor(async () => (await durability(primary, 'a.db')).degraded === 30);
    const { degradedSince, refused } = await durability(primary, 'a.db');
    assert.ok(degradedSince);
    assert.is(refused, 0);
    assert.is((await primary.status()).problems[0]?.code, 'DURABILITY_DEGRADED');
    const metrics = await (await fetch(`${primary.httpUrl}/metrics`)).text();
    assert.match(metrics, 'sluice_commits_late_total{database="a.db",outcome="degraded"} 30');
    assert.match(metrics, 'sluice_durability_degraded{database="a.db"} 1');

    replica = await startReplica(primary, { dir });
    await waitFor(async () => (await durability(primary, 'a.db')).degradedSince === null);
    assert.equal((await primary.status()).problems, []);
    insert.run(31);
    assert.is((await durability(primary, 'a.db')).degraded, 30);
    db.close();
    await waitUntilSame(primary, replica, 'a.db');
  });
}

test('the one database waits, the others go on, and so do readers', async () => {
  const rules = { databases: { 'strict.db': { replicas: 1, onTimeout: 'refuse', timeout: '60s' } } };
  const primary = await startPrimary({ durability: rules });
  const free = make(primary, 'free.db', 'wal');
  const replica = await startReplica(primary);
  const reader = make(primary, 'strict.db', 'wal');
  const { dir } = replica;
  assert.is(await replica.stop(), 0);
  const writer = new Writer(primary.path('strict.db'), 0, 1);
  await waitFor(() => spawnSync('cat', [primary.backing('strict.db-wal')]).stdout.includes('x'.repeat(300)));
  for (let n = 0; n < 50; n++) free.prepare('INSERT INTO t (n) VALUES (?)').run(n);
  assert.is(reader.prepare('SELECT count(*) FROM t').pluck().get(), 0);
  assert.equal([writer.acked, writer.failed], [[], []]);
  assert.ok((await durability(primary, 'strict.db')).waitingMs! > 0);
  assert.is((await durability(primary, 'free.db')).waitingMs, null);
  reader.close();
  const back = await startReplica(primary, { dir });
  await writer.ended;
  assert.equal(writer.acked, [1]);
  free.close();
  await waitUntilSame(primary, back, 'strict.db');
  assert.is((await durability(primary, 'free.db')).until, 'local');
  assert.is((await durability(primary, 'strict.db')).waitingMs, null);
});

for (const mode of MODES) {
  test(`${mode}: a node that is killed while a commit waits: its successor waits too`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '60s' } });
    let replica = await startReplica(primary);
    make(primary, 'a.db', mode).close();
    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    const writer = new Writer(primary.path('a.db'), 0, 1);
    const waits = async () => (await primary.status()).databases[0]?.log.last;
    const before = await waits();
    await waitFor(async () => (await waits()) !== before, LIMIT_MS);
    for (let n = 0; n < 2; n++) {
      await primary.killNode();
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.equal([writer.acked, writer.failed], [[], []]);
    }
    replica = await startReplica(primary, { dir });
    await writer.ended;
    assert.equal([writer.acked, writer.failed], [[1], []]);
    assert.is(count(primary.path('a.db')), 1);
    await waitUntilSame(primary, replica, 'a.db');
  });
}

for (const mode of MODES) {
  test(`${mode}: the application and the node die when a commit was refused, before SQLite takes it back: it is nowhere`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '1s' } });
    let replica = await startReplica(primary);
    const db = make(primary, 'a.db', mode);
    db.exec('INSERT INTO t (n) VALUES (1)');
    db.close();
    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    const writer = new Writer(primary.path('a.db'), 0, 1, 'die');
    await writer.ended;
    assert.equal([writer.acked, writer.child.signalCode], [[], 'SIGKILL']);
    await primary.killNode();
    assert.is(count(primary.path('a.db')), 1);
    replica = await startReplica(primary, { dir });
    await waitUntilSame(primary, replica, 'a.db');
    const next = new Writer(primary.path('a.db'), 0, 1);
    await next.ended;
    assert.equal([next.acked, next.failed], [[1], []]);
    await waitUntilSame(primary, replica, 'a.db');
    assert.is(count(replica.path('a.db')), 2);
  });
}

for (const mode of MODES) {
  test(`${mode}: the node dies when a commit was refused, and the application goes on with its connection: it is nowhere`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '1s' } });
    let replica = await startReplica(primary);
    const db = make(primary, 'a.db', mode);
    const insert = db.prepare('INSERT INTO t (n) VALUES (?)');
    insert.run(1);
    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    assert.throws(() => insert.run(2), isIoError);
    await primary.killNode();
    const rows = db.prepare('SELECT n FROM t').pluck();
    assert.equal(rows.all(), [1]);
    assert.throws(() => insert.run(3), isIoError);
    replica = await startReplica(primary, { dir });
    insert.run(4);
    assert.equal(rows.all(), [1, 4]);
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    await waitUntilSame(primary, replica, 'a.db');
    assert.is(count(replica.path('a.db')), 2);
  });
}

test('an application that is killed while its commit waits ends with the time-out, and the next one goes on', async () => {
  for (const mode of ['wal', 'delete']) {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '3s' } });
    const replica = await startReplica(primary);
    make(primary, 'a.db', mode).close();
    const { dir } = replica;
    assert.is(await replica.stop(), 0);
    const last = async () => (await primary.status()).databases[0]?.log.last;
    const before = await last();
    const writer = new Writer(primary.path('a.db'), 0, 1);
    await waitFor(async () => (await last()) !== before, LIMIT_MS);
    writer.kill();
    await writer.ended;
    const back = await startReplica(primary, { dir });
    const db = open(primary, 'a.db');
    db.prepare('INSERT INTO t (n) VALUES (1)').run();
    assert.is(db.prepare('SELECT count(*) FROM t').pluck().get(), 1);
    db.close();
    await waitUntilSame(primary, back, 'a.db');
    await stopAll();
  }
});

test('what an application of the only replica commits counts, and is not waited for twice', async () => {
  const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '20s' } });
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  for (const mode of ['wal', 'delete']) {
    const name = `${mode}.db`;
    make(primary, name, mode).close();
    await waitUntilSame(primary, replica, name);
    const writers = [new Writer(replica.path(name), 0, 20), new Writer(primary.path(name), 1, 20)];
    for (const { ended } of writers) await ended;
    assert.equal(
      writers.map(({ acked, failed }) => [acked.length, failed]),
      [
        [20, []],
        [20, []],
      ],
    );
    await waitUntilSame(primary, replica, name);
    holdsAll(primary.path(name), writers);
    assert.equal([(await durability(primary, name)).refused, (await durability(primary, name)).degraded], [0, 0]);
  }
});

test('while a commit of a replica waits, those of replicas to other databases go on, whether they wait or not', async () => {
  const rules = ['slow.db', 'other.db'].map((name) => [name, { replicas: name === 'slow.db' ? 2 : 1 }]);
  const primary = await startPrimary({
    durability: { onTimeout: 'refuse', timeout: '60s', databases: Object.fromEntries(rules) },
  });
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  let other = await startReplica(primary);
  const made = ['slow.db', 'other.db', 'free.db'].map((name) => make(primary, name, 'wal'));
  for (const { name } of made) await waitUntilSame(primary, replica, basename(name));
  const { dir } = other;
  assert.is(await other.stop(), 0);
  const slow = new Writer(replica.path('slow.db'), 0, 1);
  await waitFor(async () => (await durability(primary, 'slow.db')).waitingMs !== null);
  for (const name of ['other.db', 'free.db']) {
    const writer = new Writer(replica.path(name), 0, 3);
    await writer.ended;
    assert.equal([writer.acked.length, writer.failed, slow.acked.length, slow.failed], [3, [], 0, []]);
  }
  other = await startReplica(primary, { dir });
  await slow.ended;
  assert.is(slow.acked.length, 1);
  for (const db of made) db.close();
  await waitUntilSame(primary, other, 'slow.db');
});

for (const mode of ['wal', 'delete']) {
  test(`${mode}: refuse: what a replica's application commits is on another replica too, or fails and is nowhere`, async () => {
    const primary = await startPrimary({ durability: { replicas: 2, onTimeout: 'refuse', timeout: '2s' } });
    const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
    const other = await startReplica(primary);
    const made = make(primary, 'a.db', mode);
    await waitUntilSame(primary, replica, 'a.db');
    await waitUntilSame(primary, other, 'a.db');
    const commit = async (id: number) => {
      const writer = new Writer(replica.path('a.db'), id, 1);
      await writer.ended;
      return [writer.acked.length, writer.failed.length];
    };
    assert.equal(await commit(0), [1, 0]);
    process.kill(other.nodePid(), 'SIGSTOP');
    const failing = new Writer(replica.path('a.db'), 1, 1);
    await failing.ended;
    assert.is(failing.acked.length, 0);
    assert.match(failing.failed[0]!, /^SQLITE_IOERR/);
    process.kill(other.nodePid(), 'SIGCONT');
    assert.equal(await commit(2), [1, 0]);
    made.close();
    for (const node of [replica, other]) await waitUntilSame(primary, node, 'a.db');
    for (const node of [primary, replica, other]) {
      const db = new Sqlite(node.path('a.db'), { readonly: true, timeout: 20_000 });
      assert.equal(db.prepare('SELECT writer FROM t ORDER BY id').pluck().all(), [0, 2]);
      db.close();
    }
    const { refused, degraded } = await durability(primary, 'a.db');
    assert.equal([refused, degraded], [1, 0]);
  });
}

for (const mode of ['wal', 'delete']) {
  test(`${mode}: refuse, under load: the primary's machine is lost, and the replica has every row that was acknowledged`, async () => {
    for (let round = 0; round < 3; round++) {
      const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse' } });
      const replica = await startReplica(primary);
      const names = ['a.db', 'b.db', 'sub/c.db'];
      mkdirSync(primary.path('sub'));
      for (const name of names) make(primary, name, mode).close();
      const writers = names.map((name) => [0, 1].map((id) => new Writer(primary.path(name), id)));
      const all = writers.flat();
      await waitFor(() => writers.every(([one, two]) => one!.acked.length + two!.acked.length > 40), LIMIT_MS);
      await primary.killAll();
      rmSync(primary.data, { recursive: true, force: true });
      for (const writer of all) writer.kill();
      for (const { ended } of all) await ended;
      // What is in its log it applies by itself.
      await waitFor(async () => {
        const { databases } = await replica.status();
        return databases.length === names.length && databases.every(({ txid, log }) => txid === log.last);
      }, LIMIT_MS);
      for (const [i, name] of names.entries()) holdsAll(replica.path(name), writers[i]!);
      await stopAll();
    }
  });

  test(`${mode}: backup: the primary's machine is lost, and what is restored has every row that was acknowledged`, async () => {
    const store = freshFolder('store');
    const primary = await startPrimary({
      durability: { backup: true, onTimeout: 'refuse', timeout: '30s' },
      backup: { url: `file://${store}`, interval: '10s' },
    });
    make(primary, 'a.db', mode).close();
    const writers = [0, 1, 2].map((id) => new Writer(primary.path('a.db'), id));
    await waitFor(() => writers.reduce((sum, { acked }) => sum + acked.length, 0) > 40, LIMIT_MS);
    await primary.killAll();
    rmSync(primary.data, { recursive: true, force: true });
    for (const writer of writers) writer.kill();
    for (const { ended } of writers) await ended;
    const folder = freshFolder('restored');
    const args = [SLUICE, 'restore', `file://${store}/a.db`, '-o', join(folder, 'a.db')];
    const restored = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: LIMIT_MS });
    assert.is(restored.status, 0, restored.stderr);
    holdsAll(join(folder, 'a.db'), writers);
  });
}

test.run();
