import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, startPair, startReplica, stopAll, waitFor, waitUntilSame } from '../support/cluster.js';
import { linksOf } from '../support/open-files.js';
import { startLoad } from './support/applications.js';
import { Load, type Mode } from './support/load.js';
import { Random, testSeed } from './support/random.js';

const test = suite('crashes and restarts on real mounts');
const seed = testSeed();
const random = new Random(seed);
const MODES: readonly Mode[] = ['wal', 'delete', 'truncate', 'persist'];
const NAMES = MODES.map((mode) => `${mode}.db`);

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair());
  for (const [i, name] of NAMES.entries()) {
    const load = new Load(primary.path(name), MODES[i]!, random);
    load.step();
    load.db.close();
  }
});
test.after(stopAll);

/**
 * The first reader after a crash plays a hot journal back. That is not the state before the transaction to the last
 * byte: SQLite keeps no old image of free pages, so the end of the playback can be a transaction of its own.
 */
function readOnce(name: string): void {
  const db = new Sqlite(primary.path(name), { timeout: 10_000 });
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
  db.close();
}

async function allAreSame(names: readonly string[] = NAMES): Promise<void> {
  for (const name of names) {
    readOnce(name);
    await waitUntilSame(primary, replica, name);
  }
}

test('a clean restart keeps every position and reads no database', async () => {
  const before = await Promise.all(NAMES.map((name) => primary.position(name)));
  assert.is(await primary.stop(), 0);
  assert.is(await replica.stop(), 0);
  primary.log = '';
  replica.log = '';
  await primary.start();
  await replica.start();
  assert.equal(await Promise.all(NAMES.map((name) => primary.position(name))), before);
  for (const name of NAMES) {
    assert.equal(primary.outcomes(name), ['clean'], name);
    assert.equal(replica.outcomes(name), ['clean'], name);
  }
  await allAreSame();
});

test('a file changed between a clean stop and the next start is a new position', async () => {
  const before = await primary.position('delete.db');
  assert.is(await primary.stop(), 0);
  primary.log = '';
  const db = new Sqlite(primary.backing('delete.db'));
  db.exec('CREATE TABLE IF NOT EXISTS between_stops (a); INSERT INTO between_stops VALUES (1)');
  db.close();
  await primary.start();
  assert.equal(primary.outcomes('delete.db'), ['changed while down']);
  assert.equal(primary.outcomes('wal.db'), ['clean']);
  assert.is.not(await primary.position('delete.db'), before);
  await allAreSame();
});

test('databases put into the data folder while the node is down are taken up, a WAL and a hot journal too', async () => {
  const make = (mode: string): Sqlite.Database => {
    const db = new Sqlite(primary.backing(`new-${mode}.db`));
    db.pragma(`journal_mode = ${mode}`);
    db.pragma('cache_size = 5');
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
    for (let i = 0; i < 50; i++) db.exec('INSERT INTO t (p) VALUES (randomblob(900))');
    return db;
  };
  assert.is(await primary.stop(), 0);
  primary.log = '';
  const wal = make('wal');
  const hot = make('delete');
  hot.exec('BEGIN; UPDATE t SET p = randomblob(800)');
  const files = ['new-wal.db', 'new-wal.db-wal', 'new-delete.db', 'new-delete.db-journal'];
  const copies = files.map((name) => readFileSync(primary.backing(name)));
  hot.exec('ROLLBACK');
  wal.close();
  hot.close();
  for (const [i, name] of files.entries()) writeFileSync(primary.backing(name), copies[i]!);
  await primary.start();
  assert.equal(primary.outcomes('new-wal.db'), ['new']);
  assert.equal(primary.outcomes('new-delete.db'), ['new']);
  await allAreSame(['new-wal.db', 'new-delete.db']);
});

test('a WAL that its last user removed is not held open by the node: its space is free', async () => {
  const links = () =>
    linksOf(primary.nodePid()).filter((link) => link.includes('removed.db') && link.endsWith('(deleted)'));
  const closed = () =>
    waitFor(
      () => links().length === 0,
      10_000,
      () => `${links()} to be closed`,
    );
  const db = new Sqlite(primary.path('removed.db'));
  db.pragma('journal_mode = WAL');
  db.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('before')");
  await allAreSame(['removed.db']);
  db.close();
  await closed();

  // One that began again, and has no commit then.
  const again = new Sqlite(primary.path('removed.db'));
  again.exec("INSERT INTO t VALUES ('again')");
  await allAreSame(['removed.db']);
  again.pragma('wal_checkpoint(RESTART)');
  again.pragma('cache_size = 5');
  again.exec('BEGIN; CREATE TABLE u (p)');
  for (let i = 0; i < 100; i++) again.exec('INSERT INTO u VALUES (randomblob(900))');
  again.exec('ROLLBACK');
  again.close();
  await closed();
  await allAreSame(['removed.db']);
});

test('replicas join under load, and get one image of one moment', async () => {
  const loads = [
    startLoad(primary.path('wal.db'), 'wal', 4, seed),
    startLoad(primary.path('delete.db'), 'delete', 4, seed),
  ];
  const late = [await startReplica(primary)];
  for (const load of loads) await load.done;
  for (const each of late) {
    for (const name of NAMES) {
      await waitUntilSame(primary, each, name);
    }
    assert.is(await each.stop(), 0);
  }
  // Their files go when who read them last has had its turn.
  const left = () => readdirSync(join(primary.data, 'spool'));
  await waitFor(
    () => left().length === 0,
    10_000,
    () => `nothing to be left of the snapshots: ${left()}`,
  );
});

test('a replica that has diverged is set aside, not deleted', async () => {
  assert.is(await replica.stop(), 0);
  const db = new Sqlite(replica.backing('persist.db'));
  db.exec("CREATE TABLE own (a); INSERT INTO own VALUES ('written here')");
  db.close();
  await replica.start();
  await allAreSame(['persist.db']);
  const aside = readdirSync(join(replica.data, 'set-aside'));
  assert.is(aside.length >= 1, true);
  const kept = aside
    .map((folder) => join(replica.data, 'set-aside', folder, 'persist.db'))
    .filter((path) => existsSync(path))
    .find((path) => {
      const copy = new Sqlite(path, { readonly: true });
      const own = copy.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'own'").get() as { n: number };
      copy.close();
      return own.n === 1;
    });
  assert.ok(kept !== undefined, 'the copy has what was written here');
});

test.run();
