import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseWalIndexHeader } from '../../src/sqlite/index.js';
import { type ClusterNode, startPair, stopAll, txidOf, waitFor, waitUntilSame } from '../support/cluster.js';
import { writeUnpublishedCommit, writeWalHeader } from './support/unpublished-commit.js';

/*
 * A writer in WAL mode may die after its commit frame is in the WAL and before it says so in the wal-index. Its commit
 * never was, for SQLite, as long as somebody else has the database open; but it was logged. Wherever that WAL then goes,
 * the log must follow what the database file has. (Where the kernel writes WALs by itself it is not logged: mount-passthrough.test.ts.)
 */

const test = suite('commits that were never published');

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair({ mount: { passthrough: 'off' } }));
});
test.after(stopAll);

const txidNow = async (name: string): Promise<number> => txidOf((await primary.position(name))!);

/** The position and the replica come to what the file holds. Returns the position. */
const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

/** A WAL database with some rows, open. */
function open(name: string): Sqlite.Database {
  const db = new Sqlite(primary.path(name));
  db.pragma('journal_mode = WAL');
  db.exec("CREATE TABLE t (a); CREATE TABLE u (a); INSERT INTO t VALUES ('before')");
  return db;
}

/** Behind the published frames; waits until it is logged. */
async function commitUnpublished(name: string): Promise<void> {
  await same(name);
  const before = await txidNow(name);
  const { frames, pageCount } = parseWalIndexHeader(readFileSync(primary.path(`${name}-shm`)))!;
  writeUnpublishedCommit(primary.path(`${name}-wal`), frames, 3, Buffer.alloc(4096, 7), pageCount);
  await waitFor(async () => (await txidNow(name)) === before + 1, 10_000, 'the unpublished commit to be a transaction');
}

function rows(name: string): unknown[] {
  const db = new Sqlite(primary.path(name));
  try {
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    return db.prepare('SELECT a FROM t').pluck().all();
  } finally {
    db.close();
  }
}

test('the next writer overwrites it', async () => {
  const name = 'overwritten.db';
  const db = open(name);
  await same(name);
  const txid = await txidNow(name);
  await commitUnpublished(name);
  db.exec("INSERT INTO t VALUES ('after')");
  await same(name);
  assert.is(await txidNow(name), txid + 3, 'the commit, its undoing, and the next one');
  assert.equal(rows(name), ['before', 'after']);
  assert.equal((await primary.status()).problems, []);
  db.close();
});

test('the last connection closes: its checkpoint does not have it', async () => {
  const db = open('close.db');
  await commitUnpublished('close.db');
  const txid = await txidNow('close.db');
  db.close();
  await same('close.db');
  assert.is(await txidNow('close.db'), txid + 1);
  assert.equal(rows('close.db'), ['before']);
});

for (const mode of ['RESTART', 'TRUNCATE']) {
  test(`a checkpoint (${mode}), and then the next writer`, async () => {
    const name = `${mode}.db`;
    const db = open(name);
    await commitUnpublished(name);
    db.pragma(`wal_checkpoint(${mode})`);
    db.exec("INSERT INTO t VALUES ('after')");
    await same(name);
    db.exec("INSERT INTO t VALUES ('later')");
    await same(name);
    assert.equal(rows(name), ['before', 'after', 'later']);
    db.close();
  });
}

test('the first transaction of a WAL that began afresh, and a header with the same salts over it', async () => {
  const name = 'afresh.db';
  const db = open(name);
  await same(name);
  assert.is(db.pragma('wal_checkpoint(TRUNCATE)', { simple: true }), 0);
  await same(name);
  const before = await txidNow(name);
  const index = parseWalIndexHeader(readFileSync(primary.path(`${name}-shm`)))!;
  assert.is(index.frames, 0);
  writeWalHeader(primary.path(`${name}-wal`), 4096, index.salt1, index.salt2);
  for (let frame = 0; frame < 4; frame++) {
    writeUnpublishedCommit(primary.path(`${name}-wal`), frame, 3, Buffer.alloc(4096, 7 + frame), index.pageCount);
  }
  await waitFor(async () => (await txidNow(name)) === before + 4, 10_000, 'unpublished commits to be transactions');
  for (let i = 0; i < 8; i++) db.exec(`INSERT INTO t VALUES ('after ${i}')`);
  await same(name);
  assert.is(rows(name).length, 9);
  db.close();
  await same(name);
});

test('a WAL that somebody removes takes its transactions with it, once nobody has it open', async () => {
  const name = 'removed.db';
  const shell = spawn('sqlite3', [primary.path(name)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => shell.once('close', resolve));
  let said = '';
  shell.stdout.on('data', (text: Buffer) => {
    said += text;
  });
  shell.stdin.write(`PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a);
    PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES ('lost'); SELECT 'ready';\n`);
  await waitFor(() => said.includes('ready'), 10_000, 'the shell');
  await same(name);
  assert.throws(() => rmSync(primary.path(`${name}-wal`)), /EBUSY/);
  shell.kill('SIGKILL');
  await ended;
  rmSync(primary.path(`${name}-wal`));
  await same(name);
  assert.equal(rows(name), []);
  const { problems } = await primary.status();
  assert.equal(problems, []);
});

test.run();
