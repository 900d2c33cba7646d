import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ClusterNode,
  cleanUp,
  freshFolder,
  startFedReplica,
  startPrimary,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';
import { backedUp, stopAll } from './nodes.js';

const test = suite('a replica that a store feeds');
test.after(cleanUp);

const ROWS = 40;

/** Every row says the same, whatever is read: a transaction that is seen half would not. */
function rounds(db: Database.Database): number[] {
  return db
    .prepare<[], { round: number }>('select distinct round from t')
    .all()
    .map(({ round }) => round);
}

/** A database of one table, and readers of its copy. */
class Scene {
  readonly db: Database.Database;
  number = 0;
  private readonly put: Database.Statement;

  constructor(
    primary: ClusterNode,
    readonly name: string,
    mode: string,
  ) {
    this.db = new Database(primary.path(name));
    this.db.pragma(`journal_mode=${mode}`);
    this.db.exec('create table if not exists t(id integer primary key, round int, x blob)');
    this.put = this.db.prepare('insert or replace into t values (?, ?, randomblob(2000))');
  }

  round(): void {
    this.number++;
    this.db.transaction(() => {
      for (let id = 1; id <= ROWS; id++) this.put.run(id, this.number);
    })();
  }
}

function openCopy(replica: ClusterNode, { name }: Scene): Database.Database {
  return new Database(replica.path(name), { readonly: true });
}

test('long readers see one state, a killed node goes on, and the primary is never asked', async () => {
  const backup = { url: `file://${freshFolder('store')}`, interval: '50ms' };
  const primary = await startPrimary({ backup });
  const scenes = [new Scene(primary, 'wal.db', 'wal'), new Scene(primary, 'rollback.db', 'delete')];
  for (const scene of scenes) scene.round();
  for (const { name } of scenes) await backedUp(primary, name);
  const replica = await startFedReplica({ backup });
  const status = await replica.status();
  assert.is(status.upstream?.url, backup.url);
  assert.is(status.upstream?.connected, true);
  assert.equal((await primary.status()).replicas, []);

  for (const { name } of scenes) await waitUntilSame(primary, replica, name);
  const readers = scenes.map((scene) => openCopy(replica, scene));
  for (const reader of readers) reader.exec('begin');
  const before = readers.map(rounds);
  await write(scenes, 15);
  assert.equal(readers.map(rounds), before, 'a reader keeps the state that it began with');
  for (const reader of readers) reader.exec('commit');

  let ended = false;
  const watch = (async () => {
    while (!ended) {
      for (const reader of readers) assert.is(rounds(reader).length, 1, 'no transaction is seen half');
      await pause(3);
    }
  })();
  await write(scenes, 15);
  ended = true;
  await watch;
  for (const reader of readers) reader.close();

  const writing = write(scenes, 40);
  await replica.killNode();
  await writing;
  for (const scene of scenes) {
    await waitUntilSame(primary, replica, scene.name);
    const copy = openCopy(replica, scene);
    assert.equal(rounds(copy), [scene.number]);
    assert.throws(() => copy.exec('delete from t'), /readonly/);
    copy.close();
    scene.db.close();
  }
  await waitFor(async () => (await replica.status()).problems.length === 0);
  await stopAll(replica, primary);
});

async function write(scenes: readonly Scene[], count: number): Promise<void> {
  for (let i = 1; i <= count; i++) {
    for (const scene of scenes) {
      scene.round();
      // The file grows and shrinks.
      if (i === 5) scene.db.exec('create table other(x); insert into other values (zeroblob(200000))');
      if (i === 10) scene.db.exec('drop table other; vacuum');
    }
    await pause(20);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test.run();
