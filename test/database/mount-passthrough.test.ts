// Time limit: 5 min
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseWalIndexHeader } from '../../src/sqlite/index.js';
import {
  type ClusterNode,
  contentChecksum,
  startPair,
  startPrimary,
  startReplica,
  stopAll,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';
import { writeUnpublishedCommit } from './support/unpublished-commit.js';

/*
 * The kernel writes WALs by itself, and nobody tells the node. All the same each commit has to come to the replica, none
 * that never was, and nothing may be lost when a WAL begins afresh unseen.
 */

const test = suite('WALs that the kernel writes by itself');
const ROWS = 300;

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair({ mount: { passthrough: 'on' } }));
  if ((await primary.status()).passthrough) return;
  console.log('SKIP WALs that the kernel writes by itself: not with this kernel, or not where temporary files are');
  await stopAll();
  process.exit(0);
});
test.after(stopAll);

const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);
const txidNow = async (name: string): Promise<number> => txidOf((await primary.position(name))!);
const writes = async (): Promise<number> => (await primary.status()).requests.WRITE ?? 0;

function open(name: string, ...pragmas: string[]): Sqlite.Database {
  const db = new Sqlite(primary.path(name), { timeout: 10_000 });
  for (const pragma of ['journal_mode = WAL', ...pragmas]) db.pragma(pragma);
  db.exec('CREATE TABLE IF NOT EXISTS t (a)');
  return db;
}

function insert(db: Sqlite.Database, rows: number): void {
  const statement = db.prepare('INSERT INTO t VALUES (randomblob(600))');
  for (let i = 0; i < rows; i++) statement.run();
}

function commitUnpublished(name: string): void {
  const { frames, pageCount } = parseWalIndexHeader(readFileSync(primary.path(`${name}-shm`)))!;
  writeUnpublishedCommit(primary.path(`${name}-wal`), frames, 2, Buffer.alloc(4096, 7), pageCount);
}

async function isSound(name: string): Promise<void> {
  await same(name);
  assert.is(contentChecksum(replica.backing(name)), contentChecksum(primary.backing(name)));
  assert.equal((await primary.status()).problems, []);
}

/** A shell that has made a WAL database, with two transactions after its first, and has it open; returns what kills it. */
async function startShell(name: string): Promise<() => Promise<unknown>> {
  const shell = spawn('sqlite3', [primary.path(name)], { stdio: ['pipe', 'pipe', 'inherit'] });
  shell.stdin.write('PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1); SELECT 1;\n');
  await new Promise((resolve) => shell.stdout.once('data', resolve));
  const ended = new Promise((resolve) => shell.once('close', resolve));
  return () => {
    shell.kill('SIGKILL');
    return ended;
  };
}

/** After such a shell, an application that uses no wal-index. */
async function writeAlone(name: string): Promise<void> {
  const alone = new Sqlite(primary.path(name));
  alone.pragma('locking_mode = EXCLUSIVE');
  alone.pragma('wal_autocheckpoint = 10');
  insert(alone, 50);
  // Both nodes can be at the same position before all of it is noticed, and where a node reads all of a database, as after a
  // takeover, what was committed meanwhile is one transaction: so the rows are counted, not the transactions.
  const reader = new Sqlite(replica.path(name), { readonly: true });
  const rows = reader.prepare('SELECT count(*) FROM t').pluck();
  const all = alone.prepare('SELECT count(*) FROM t').pluck().get();
  await waitFor(() => Promise.resolve(rows.get() === all), 20_000, 'all commits to be on the replica');
  reader.close();
  alone.close();
  await isSound(name);
}

test('a commit is no request, and comes to the replica', async () => {
  const db = open('requests.db', 'wal_autocheckpoint = 0');
  await same('requests.db');
  const [before, txid] = [await writes(), await txidNow('requests.db')];
  insert(db, ROWS);
  await same('requests.db');
  assert.is(await txidNow('requests.db'), txid + ROWS);
  assert.is(await writes(), before);
  db.close();
  await isSound('requests.db');
});

test('a WAL that begins afresh again and again, with readers that hold it up now and then', async () => {
  const name = 'afresh.db';
  // A checkpoint that a reader holds up is not to wait long for it.
  const db = open(name, 'wal_autocheckpoint = 8', 'busy_timeout = 200');
  const reader = open(name);
  const before = await same(name).then(() => txidNow(name));
  for (let i = 0; i < 40; i++) {
    if (i % 5 === 0) {
      reader.exec('BEGIN');
      reader.prepare('SELECT count(*) FROM t').get();
    }
    insert(db, 12);
    if (i % 5 === 2) reader.exec('COMMIT');
    if (i % 7 === 0) db.pragma('wal_checkpoint(RESTART)');
    if (i % 11 === 0) db.pragma('wal_checkpoint(TRUNCATE)');
  }
  await same(name);
  assert.is(await txidNow(name), before + 40 * 12);
  reader.close();
  db.close();
  await isSound(name);
});

test('a commit that its writer never published is none', async () => {
  const name = 'unpublished.db';
  const db = open(name);
  insert(db, 3);
  await same(name);
  const txid = await txidNow(name);
  commitUnpublished(name);
  insert(db, 1);
  await same(name);
  assert.is(await txidNow(name), txid + 1);
  commitUnpublished(name);
  db.pragma('wal_checkpoint(RESTART)');
  insert(db, 1);
  await same(name);
  assert.is(await txidNow(name), txid + 2);
  commitUnpublished(name);
  db.close();
  await isSound(name);
});

test('without a wal-index, and after an application that was killed and left one', async () => {
  const name = 'exclusive.db';
  await (await startShell(name))();
  const db = open(name, 'wal_autocheckpoint = 0');
  db.close();
  await writeAlone(name);
  assert.is(await txidNow(name), 53, 'a transaction for each commit');
});

test('commits while the node is killed and another one comes', async () => {
  const name = 'killed.db';
  const db = open(name, 'wal_autocheckpoint = 0');
  insert(db, 10);
  await same(name);
  const txid = await txidNow(name);
  const next = primary.killNode();
  // The node is dead, or another one is being started: a commit needs neither.
  insert(db, ROWS);
  await next;
  insert(db, 10);
  await same(name);
  assert.is(await txidNow(name), txid + ROWS + 10);
  db.pragma('wal_autocheckpoint = 10');
  insert(db, 50);
  await same(name);
  assert.is(await txidNow(name), txid + ROWS + 60);
  db.close();
  await isSound(name);
});

test('a node that takes over takes an unpublished commit for one, until the next writer overwrites it', async () => {
  const name = 'phantom.db';
  const db = open(name, 'wal_autocheckpoint = 0');
  insert(db, 3);
  await same(name);
  const killed = primary.killNode();
  commitUnpublished(name);
  await killed;
  insert(db, 2);
  await isSound(name);
  assert.is((db.prepare('SELECT count(*) AS n FROM t').get() as { n: number }).n, 5);
  db.close();
  await isSound(name);
});

test('after a takeover: a wal-index of a killed application, and another that needs none', async () => {
  const name = 'stale.db';
  const kill = await startShell(name);
  await same(name);
  await primary.killNode();
  await kill();
  await writeAlone(name);
});

test('a replica that joins while WALs begin afresh gets one image of one moment', async () => {
  const name = 'joined.db';
  const db = open(name, 'wal_autocheckpoint = 5', 'synchronous = OFF');
  insert(db, 2000);
  await same(name);
  const late = startReplica(primary);
  let joined = false;
  void late.then(() => {
    joined = true;
  });
  while (!joined) {
    insert(db, 5);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const node = await late;
  insert(db, 5);
  await waitUntilSame(primary, node, name);
  db.close();
  await isSound(name);
  await node.stop();
});

test('an application that outlives its mount writes nothing more, and what it had committed is there', async () => {
  for (const end of ['stop', 'killAll'] as const) {
    const name = `${end}.db`;
    const old = open(name, 'wal_autocheckpoint = 0');
    insert(old, 20);
    await same(name);
    await primary[end]();
    let commits = 20;
    // Nobody is there to stop it yet.
    if (end === 'killAll') insert(old, ++commits - 20);
    await primary.start();
    assert.throws(() => insert(old, 1), /unable to open/);
    const next = open(name);
    assert.is(next.prepare('SELECT count(*) FROM t').pluck().get(), commits);
    insert(next, 10);
    // Its last act is to remove the files that it knows by their names.
    old.close();
    insert(next, 10);
    assert.is(open(name).prepare('SELECT count(*) FROM t').pluck().get(), commits + 20);
    await isSound(name);
    next.close();
    assert.match(primary.log, `${name}: a process may have it open since before`);
  }
});

test('nor does it remove the WAL of who uses the next mount where each write is a request', async () => {
  const alone = await startPrimary({ mount: { passthrough: 'off' } });
  const path = alone.path('a.db');
  const old = new Sqlite(path);
  old.pragma('journal_mode = WAL');
  old.exec('CREATE TABLE t (a)');
  old.pragma('wal_checkpoint');
  await alone.killAll();
  await alone.start();
  const next = new Sqlite(path);
  insert(next, 10);
  old.close();
  insert(next, 10);
  const another = new Sqlite(path);
  assert.is(another.prepare('SELECT count(*) FROM t').pluck().get(), 20);
  another.close();
  next.close();
});

test.run();
