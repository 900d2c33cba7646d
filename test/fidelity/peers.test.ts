// Time limit: 10 min
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { checkName } from '../../src/database/index.js';
import { appendMark, readTrace } from '../../src/disk/trace.js';
import {
  type ClusterNode,
  contentChecksum,
  freshFolder,
  startPrimary,
  startReplica,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';
import { SlowLink } from './support/slow-link.js';
import { fill, Trio } from './support/trio.js';

/* What goes wrong in LiteFS 0.5.14, each fault once: here it must not. */

const test = suite('faults of LiteFS');

let trio: Trio;
test.before(async () => {
  trio = await Trio.start();
});
test.after(() => trio.stop());

const rowsOn = (node: ClusterNode, name: string): number => {
  const db = new Sqlite(node.path(name), { readonly: true, timeout: 10_000 });
  try {
    return Number(db.prepare('SELECT count(*) FROM t').pluck().get());
  } finally {
    db.close();
  }
};

/** Waits until a primary's position is that of what the file holds. */
async function allLogged(primary: ClusterNode, name: string): Promise<void> {
  const content = contentChecksum(primary.backing(name));
  await waitFor(async () => (await primary.position(name))?.endsWith(content) === true, 60_000, `all of ${name}`);
}

test('fault A of LiteFS: WAL and a VACUUM or a large shrink panics, and the transaction is lost', async () => {
  const db = trio.open('a.db');
  db.pragma('journal_mode = WAL');
  fill(db, 2000, 2000);
  await trio.same('a.db');
  db.exec('DELETE FROM t WHERE id > 10');
  db.exec('VACUUM');
  assert.ok((db.pragma('page_count', { simple: true }) as number) < 20);
  await trio.proven('a.db');
  db.pragma('wal_checkpoint(TRUNCATE)');
  fill(db, 5);
  await trio.proven('a.db');
  assert.is(rowsOn(trio.replica, 'a.db'), 15);
  db.close();
});

test('fault B of LiteFS: PRAGMA page_size and VACUUM record a wrong transaction; the store cannot be opened again', async () => {
  const db = trio.open('b.db');
  fill(db, 200);
  await trio.same('b.db');
  db.pragma('page_size = 16384');
  db.exec('VACUUM');
  fill(db, 5);
  await trio.proven('b.db');
  await trio.primary.killNode();
  assert.equal((await trio.primary.status()).problems, []);
  fill(db, 5);
  db.close();
  await trio.proven('b.db');
  assert.is(rowsOn(trio.replica, 'b.db'), 210);
});

test('fault C of LiteFS: one open read transaction on a replica stalls the replication of every database', async () => {
  for (const mode of ['WAL', 'DELETE']) {
    const db = trio.open(`c-${mode}.db`);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 10);
    db.close();
    await trio.same(`c-${mode}.db`);
  }
  const readers = ['WAL', 'DELETE'].map((mode) => trio.openReplica(`c-${mode}.db`));
  const counts = readers.map((reader) => reader.prepare('SELECT count(*) FROM t').pluck());
  for (const reader of readers) reader.exec('BEGIN');
  for (const count of counts) assert.is(count.get(), 10);
  for (const mode of ['WAL', 'DELETE']) {
    const db = trio.open(`c-${mode}.db`);
    fill(db, 10);
    db.close();
  }
  const other = trio.open('c-other.db');
  fill(other, 10);
  other.close();
  await trio.same('c-other.db');
  // In WAL mode not even that database waits; in a rollback mode SQLite has a writer wait for its readers.
  await trio.same('c-WAL.db');
  assert.is(rowsOn(trio.replica, 'c-WAL.db'), 20);
  for (const count of counts) assert.is(count.get(), 10);
  for (const reader of readers) reader.exec('COMMIT');
  await trio.proven('c-WAL.db', 'c-DELETE.db', 'c-other.db');
  for (const reader of readers) reader.close();
});

test('fault D of LiteFS: writes under journal_mode MEMORY or OFF stay unreplicated until a later commit', async () => {
  for (const mode of ['MEMORY', 'OFF']) {
    for (const synchronous of ['OFF', 'FULL']) {
      const name = `d-${mode}-${synchronous}.db`;
      const db = trio.open(name);
      fill(db, 10);
      await trio.same(name);
      db.pragma(`journal_mode = ${mode}`);
      db.pragma(`synchronous = ${synchronous}`);
      fill(db, 7);
      await trio.proven(name);
      assert.is(rowsOn(trio.replica, name), 17, 'while the connection is open');
      db.close();
    }
  }
});

test('fault E of LiteFS: ATTACH transactions over two databases fail, and leave a phantom database', async () => {
  const before = (await trio.replica.status()).databases.length;
  const db = trio.open('e-1.db');
  fill(db, 10);
  db.prepare('ATTACH ? AS other').run(trio.path('e-2.db'));
  db.exec('CREATE TABLE other.t (id INTEGER PRIMARY KEY, p BLOB)');
  db.exec('BEGIN; INSERT INTO other.t SELECT * FROM main.t; DELETE FROM main.t WHERE id > 5; COMMIT');
  db.close();
  await trio.proven('e-1.db', 'e-2.db');
  assert.equal([rowsOn(trio.replica, 'e-1.db'), rowsOn(trio.replica, 'e-2.db')], [5, 10]);
  assert.is((await trio.replica.status()).databases.length, before + 2);
});

test('fault F of LiteFS: a drop, and then a new database of the name with another page size, fails', async () => {
  for (const [mode, size] of [
    ['DELETE', 4096],
    ['WAL', 512],
    ['DELETE', 65536],
    ['WAL', 8192],
  ] as const) {
    for (const suffix of ['', '-wal', '-shm']) rmSync(trio.path(`f.db${suffix}`), { force: true });
    const db = trio.open('f.db');
    db.pragma(`page_size = ${size}`);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 20);
    await trio.proven('f.db');
    db.close();
    assert.is(rowsOn(trio.replica, 'f.db'), 20);
  }
});

test('fault G of LiteFS: a name leads out of the data folder; no authentication anywhere', async () => {
  for (const name of ['../../x', '/x', 'a/../../x', '..', 'a//b', '']) {
    assert.throws(() => checkName(name), /is no name for a database/, name);
  }
  const primary = await startPrimary({ replication: { token: 'the-right-one' } });
  const answerTo = (headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(primary.replicationUrl, { headers });
      socket.once('open', () => {
        socket.terminate();
        resolve(101);
      });
      socket.once('unexpected-response', (request, response) => {
        request.destroy();
        resolve(response.statusCode ?? 0);
      });
      socket.once('error', reject);
    });
  assert.is(await answerTo({}), 401);
  assert.is(await answerTo({ authorization: 'Bearer another' }), 401);
  assert.is(await answerTo({ authorization: 'Bearer the-right-one' }), 101);
  assert.is(await primary.stop(), 0);
});

test('fault H of LiteFS: readers on a replica get "locking protocol" while a large transaction comes by a slow link', async () => {
  const link = await new SlowLink(4_000_000).to(trio.primary.replicationUrl);
  try {
    const replica = await startReplica(link.url);
    for (const mode of ['WAL', 'DELETE']) {
      const name = `h-${mode}.db`;
      const db = trio.open(name);
      db.pragma(`journal_mode = ${mode}`);
      fill(db, 10);
      await waitUntilSame(trio.primary, replica, name);
      fill(db, 60, 100_000);
      db.close();
      let reads = 0;
      for (let rows = 10; rows === 10; reads++) {
        rows = rowsOn(replica, name);
        assert.ok(rows === 10 || rows === 70, `${rows} rows`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.ok(reads > 5, `${mode}: read ${reads} times while it came`);
      await waitUntilSame(trio.primary, replica, name, 60_000);
      await trio.proven(name);
    }
    assert.is(await replica.stop(), 0);
  } finally {
    // Or it would keep this process, when something above failed.
    link.close();
  }
});

test('fault I of LiteFS: one damaged database stops the whole node; a bad header wipes its folder', async () => {
  for (const name of ['i-bad.db', 'i-good.db']) {
    const db = trio.open(name);
    fill(db, 20);
    db.close();
    await trio.proven(name);
  }
  const good = Buffer.alloc(4096);
  copyFileSync(trio.primary.backing('i-bad.db'), join(trio.outside, 'i-bad.db'));
  const overwrite = (bytes: Buffer): void => {
    const fd = openSync(trio.path('i-bad.db'), 'r+');
    writeSync(fd, bytes, 0, bytes.length, 0);
    closeSync(fd);
  };
  overwrite(good.fill('garbage '));
  const problems = async (): Promise<string[]> =>
    (await trio.primary.status()).problems.map(({ code, subject }) => `${code} ${subject}`);
  await waitFor(async () => (await problems()).includes('DATABASE_DAMAGED i-bad.db'), 20_000, 'the damage to be shown');
  await trio.primary.killNode();
  assert.equal(await problems(), ['DATABASE_DAMAGED i-bad.db']);
  const db = trio.open('i-good.db');
  fill(db, 5);
  db.close();
  await trio.proven('i-good.db');
  assert.is(rowsOn(trio.replica, 'i-bad.db'), 20, 'what the replica has of the other stays');
  assert.ok(existsSync(trio.primary.backing('i-bad.db')));
  copyFileSync(join(trio.outside, 'i-bad.db'), trio.path('i-bad.db'));
  await trio.proven('i-bad.db');
});

test('fault J of LiteFS: each commit adds three or four fsyncs and a file', async () => {
  const dir = freshFolder('traced');
  const trace = join(freshFolder('trace'), 'trace');
  process.env.SLUICE_DISK_ROOT = join(dir, 'data');
  process.env.SLUICE_DISK_TRACE = trace;
  const primary = await startPrimary({ dir });
  delete process.env.SLUICE_DISK_ROOT;
  delete process.env.SLUICE_DISK_TRACE;
  const db = new Sqlite(primary.path('j.db'));
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  fill(db, 10);
  await allLogged(primary, 'j.db');
  const commits = 400;
  const before = txidOf((await primary.position('j.db'))!);
  appendMark(trace, 'begin');
  const startMs = performance.now();
  for (let i = 0; i < commits; i++) db.prepare('INSERT INTO t (p) VALUES (zeroblob(10))').run();
  await waitFor(
    async () => txidOf((await primary.position('j.db'))!) === before + commits,
    20_000,
    'all commits to be transactions',
  );
  const elapsedMs = performance.now() - startMs;
  appendMark(trace, 'end');
  db.close();
  assert.is(await primary.stop(), 0);
  const records = readTrace(trace);
  const marks = records.flatMap((record, i) => (record.op === 'mark' ? [i] : []));
  const during = records.slice(marks[0]!, marks[1]!);
  assert.ok(
    during.some(({ op }) => op === 'write'),
    'it is traced',
  );
  assert.is(during.filter(({ op }) => op === 'create').length, 0, 'files');
  // The log is synced by a timer, four times a second, whatever is committed.
  const syncs = during.filter(({ op }) => op === 'sync').length;
  assert.ok(syncs <= 4 + elapsedMs / 125, `${syncs} syncs in ${elapsedMs} ms`);
});

test('fault K of LiteFS: commits cost more with the size of the database and of its WAL; each start reads all of it', async () => {
  const primary = await startPrimary();
  const db = new Sqlite(primary.path('k.db'));
  db.pragma('journal_mode = WAL');
  db.pragma('wal_autocheckpoint = 0');
  fill(db, 100, 500_000);
  const logged = async (): Promise<{ txid: number; bytes: number }> => {
    const { txid, log } = (await primary.status()).databases[0]!;
    return { txid: Number.parseInt(txid, 16), bytes: log.bytes };
  };
  await allLogged(primary, 'k.db');
  const before = await logged();
  for (let i = 0; i < 100; i++) db.prepare('INSERT INTO t (p) VALUES (1)').run();
  await waitFor(async () => (await logged()).txid === before.txid + 100, 20_000, '100 transactions');
  const perCommit = ((await logged()).bytes - before.bytes) / 100;
  assert.ok(perCommit < 12_000, `${perCommit} bytes of log a commit`);
  db.close();
  assert.is(await primary.stop(), 0);
  primary.log = '';
  await primary.start();
  assert.equal(primary.outcomes('k.db'), ['clean'], 'not read whole');
  await primary.killNode();
  assert.ok(!primary.outcomes('k.db').includes('read whole'));
  assert.is(await primary.stop(), 0);
});

test('fault L of LiteFS: WAL with locking_mode=EXCLUSIVE, cp into the mount, and sub-folders are refused', async () => {
  const db = trio.open('l.db');
  db.pragma('locking_mode = EXCLUSIVE');
  assert.is(db.pragma('journal_mode = WAL', { simple: true }), 'wal');
  fill(db, 10);
  await trio.proven('l.db');
  assert.ok(!existsSync(trio.primary.backing('l.db-shm')));
  db.close();
  mkdirSync(trio.path('tenants/eu'), { recursive: true });
  const source = join(trio.outside, 'l-source.db');
  const made = new Sqlite(source);
  fill(made, 30);
  made.close();
  copyFileSync(source, trio.path('tenants/eu/l.db'));
  await trio.proven('tenants/eu/l.db');
  assert.is(rowsOn(trio.replica, 'tenants/eu/l.db'), 30);
});

test('fault M of LiteFS: what only one node has is discarded when it joins another', async () => {
  const primary = await startPrimary();
  const replica = await startReplica(primary);
  const write = (path: string, text: string): void => {
    const db = new Sqlite(path);
    db.exec('CREATE TABLE IF NOT EXISTS t (a)');
    db.prepare('INSERT INTO t VALUES (?)').run(text);
    db.close();
  };
  write(primary.path('m.db'), 'of both');
  await waitUntilSame(primary, replica, 'm.db');
  assert.is(await replica.stop(), 0);
  write(replica.backing('m.db'), 'only here');
  write(primary.path('m.db'), 'of the primary');
  await replica.start();
  await waitUntilSame(primary, replica, 'm.db');
  assert.is(contentChecksum(replica.backing('m.db')), contentChecksum(primary.backing('m.db')));
  const aside = readdirSync(join(replica.data, 'set-aside'), { recursive: true, encoding: 'utf8' });
  const kept = aside.filter((path) => path.endsWith('/m.db')).map((path) => join(replica.data, 'set-aside', path));
  const contents = kept.map((path) => {
    const db = new Sqlite(path, { readonly: true });
    const rows = db.prepare('SELECT a FROM t').pluck().all();
    db.close();
    return rows.join();
  });
  assert.equal(contents, ['of both,only here']);
  assert.is(await replica.stop(), 0);
  assert.is(await primary.stop(), 0);
});

test.run();
