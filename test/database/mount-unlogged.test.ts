import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, freshFolder, startPair, stopAll, waitUntilSame } from '../support/cluster.js';

/* Changes that no journal and no WAL tells of, and a node that dies in the middle of them. */

const test = suite('changes without a journal');

let primary: ClusterNode;
let replica: ClusterNode;
let folder: string;

test.before(async () => {
  ({ primary, replica } = await startPair());
  folder = freshFolder('copies');
});
test.after(stopAll);

/** The position and the replica come to what the file holds. Returns the position. */
const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

/** A database file with rows of one value. */
function made(path: string, value: string, count = 400): string {
  const db = new Sqlite(path);
  db.exec('CREATE TABLE t (a, p)');
  const insert = db.prepare('INSERT INTO t VALUES (?, randomblob(900))');
  db.transaction(() => {
    for (let i = 0; i < count; i++) insert.run(value);
  })();
  db.close();
  return path;
}

for (const whole of [false, true]) {
  test(`a copy over a database is half done when the node${whole ? ' and its keeper die' : ' dies'}`, async () => {
    const name = `copied-${whole}.db`;
    made(primary.path(name), 'old');
    await same(name);
    const copy = readFileSync(made(join(folder, name), 'new'));
    const half = Math.floor(copy.length / 8192) * 4096;
    let fd = openSync(primary.path(name), 'r+');
    writeSync(fd, copy, 0, half, 0);
    if (whole) {
      // The kernel may not bring a close to anybody any more.
      closeSync(fd);
      await primary.killAll();
      await primary.start();
      fd = openSync(primary.path(name), 'r+');
    } else await primary.killNode();
    writeSync(fd, copy, half, copy.length - half, half);
    closeSync(fd);
    await same(name);
    const { problems } = await primary.status();
    assert.equal(problems, []);
    const db = new Sqlite(primary.path(name), { readonly: true });
    assert.is(db.prepare("SELECT count(*) FROM t WHERE a = 'new'").pluck().get(), 400);
    db.close();
  });
}

test('journal_mode MEMORY in a connection that lives longer than the node', async () => {
  const name = 'memory.db';
  made(primary.path(name), 'old');
  await same(name);
  const db = new Sqlite(primary.path(name));
  db.pragma('journal_mode = MEMORY');
  db.exec("UPDATE t SET a = 'first' WHERE rowid <= 100");
  await primary.killNode();
  db.exec("UPDATE t SET a = 'second' WHERE rowid > 300");
  db.close();
  await same(name);
});

test('journal_mode MEMORY, and the node dies in the middle of a transaction', async () => {
  const name = 'middle.db';
  made(primary.path(name), 'old');
  const before = await same(name);
  const db = new Sqlite(primary.path(name));
  db.pragma('journal_mode = MEMORY');
  db.pragma('cache_size = 5');
  db.exec("BEGIN; UPDATE t SET a = 'half', p = randomblob(900)");
  assert.not.equal(readFileSync(primary.backing(name)).indexOf('half'), -1, 'pages of it are in the file');
  await primary.killNode();
  // As long as it takes to look for the end of a transaction a few times.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.is(await primary.position(name), before, 'half a transaction is none');
  db.exec('COMMIT');
  db.close();
  assert.not.equal(await same(name), before);
});

test('a database moved over another', async () => {
  const name = 'moved.db';
  made(primary.path(name), 'old');
  made(primary.path('next.db'), 'new');
  await same(name);
  await same('next.db');
  renameSync(primary.path('next.db'), primary.path(name));
  await primary.killNode();
  await same(name);
});

test('the last user of a removed database goes on while the name is another’s', async () => {
  const name = 'orphan.db';
  const old = new Sqlite(primary.path(name));
  old.pragma('journal_mode = WAL');
  old.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('old')");
  await same(name);
  for (const suffix of ['', '-wal', '-shm']) rmSync(primary.path(name + suffix));
  const now = new Sqlite(primary.path(name));
  now.pragma('journal_mode = WAL');
  now.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('new')");
  await same(name);
  old.exec('CREATE TABLE later (a)');
  old.pragma('wal_checkpoint');
  old.close();
  now.exec("INSERT INTO t VALUES ('more')");
  await same(name);
  assert.equal(now.prepare('SELECT a FROM t').pluck().all(), ['new', 'more']);
  now.close();
  const { problems, databases } = await primary.status();
  assert.equal(problems, []);
  assert.is(databases.filter((database) => database.name === name).length, 1);
});

test('a copy by plain writes ends as a transaction, and leaves no mark', async () => {
  writeFileSync(primary.path('plain.db'), readFileSync(made(join(folder, 'plain.db'), 'x', 20)));
  await same('plain.db');
  await primary.killNode();
  assert.equal(
    primary
      .outcomes('plain.db')
      .slice(-1)
      .map((outcome) => outcome !== 'read whole'),
    [true],
  );
});

test.run();
