import { readFileSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFileName, restore, type UploadEvent } from '../../src/backup/index.js';
import { until } from '../support/until.js';
import {
  bucketPlace,
  CREATE,
  expectLitestreamRestores,
  expectRestored,
  folderPlace,
  insert,
  newSet,
  type Place,
  RETRY_AT_ONCE,
  startBackup,
  untilStored,
  withApp,
} from './scenario.js';
import { filesBelow, ltxVerify, type Workbench, withWorkbench } from './workbench.js';

/** Snapshot, increments, several databases, a restart in between; then all judges. */
async function roundTrip(bench: Workbench, place: Place): Promise<void> {
  const set = newSet(bench);
  const app = set.create('app.db');
  app.write(CREATE);
  app.write(insert(500));
  const first = startBackup(bench, set, place);
  await untilStored(first, 'app.db', 2);
  const other = set.create('tenants/7 ä.db', 512);
  other.write(CREATE);
  for (let i = 0; i < 5; i++) app.write(insert(20));
  await untilStored(first, 'app.db', 7);
  await untilStored(first, 'tenants/7 ä.db', 1);
  await first.stop();

  app.write('delete from t where id % 2 = 0');
  app.write('vacuum');
  const second = startBackup(bench, set, place);
  await untilStored(second, 'app.db', 9);
  app.write(insert(2000));
  other.write(insert(3));
  assert.is(await second.flush(), true);
  assert.is(app.snapshots, 1, 'a restart goes on where it was');
  assert.is(second.status().lastError, null);
  assert.equal(
    second.status().databases.map((db) => [db.name, db.lagMs]),
    [
      ['app.db', 0],
      ['tenants/7 ä.db', 0],
    ],
  );
  await second.stop();

  ltxVerify(filesBelow(place.folder, '.ltx').map((path) => join(place.folder, path)));
  for (const db of [app, other]) {
    const store = place.open().database(db.name);
    const ours = join(bench.folder, `ours-${basename(db.name)}`);
    const result = await restore({ store, output: ours });
    assert.ok(readFileSync(ours).equals(db.image), `${db.name} restored by Sluice is byte-identical`);
    assert.is(result.txid, db.position.txid);
    assert.is(result.checksum, db.position.checksum);
  }
  expectLitestreamRestores(bench, place, app);
}

test('a folder: backed up, resumed, restored by Litestream and by Sluice', () =>
  withWorkbench((bench) => roundTrip(bench, folderPlace(bench))));

test('a bucket: backed up, resumed, restored by Litestream and by Sluice', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place !== undefined) await roundTrip(bench, place);
  }));

test('transactions between two uploads are merged in one file', () =>
  withApp(async ({ bench, set, app, place }) => {
    const events: UploadEvent[] = [];
    const backup = startBackup(bench, set, place, {
      intervalMs: 60_000,
      hooks: { uploaded: (event) => events.push(event) },
    });
    assert.is(await backup.flush(), true);
    for (let i = 0; i < 40; i++) app.write(insert(10));
    app.write('delete from t');
    app.write('vacuum');
    app.write(insert(100));
    assert.is(await backup.flush(), true);
    assert.equal(filesBelow(place.folder, '.ltx'), [
      `app.db/ltx/0/${formatFileName({ level: 0, minTxid: 2, maxTxid: 44 })}`,
      `app.db/ltx/9/${formatFileName({ level: 9, minTxid: 1, maxTxid: 1 })}`,
    ]);
    assert.equal(
      events.map((event) => [event.level, event.transactions]),
      [
        [9, 1],
        [0, 43],
      ],
    );
    await expectRestored(bench, place, app);
  }));

test('a backlog goes up in files of bounded size, a large transaction as it is', () =>
  withApp(async ({ bench, set, app, place }) => {
    const limits = { ...RETRY_AT_ONCE, mergeBytes: 64 * 1024, mergeTransactions: 4 };
    const backup = startBackup(bench, set, place, { intervalMs: 60_000, limits });
    assert.is(await backup.flush(), true);
    for (let i = 0; i < 6; i++) app.write(insert(3));
    app.write(insert(4000));
    app.write(insert(3));
    assert.is(await backup.flush(), true);
    const names = [
      [2, 5],
      [6, 7],
      [8, 8],
      [9, 9],
    ].map(([minTxid, maxTxid]) => formatFileName({ level: 0, minTxid: minTxid!, maxTxid: maxTxid! }));
    assert.equal(filesBelow(join(place.folder, 'app.db/ltx/0'), '.ltx'), names);
    ltxVerify(names.map((name) => join(place.folder, 'app.db/ltx/0', name)));
    await expectRestored(bench, place, app);
  }));

test('a log that no longer reaches is bridged by a snapshot, and Litestream restores over the gap', () =>
  withApp(async ({ bench, set, app, place }) => {
    const first = startBackup(bench, set, place);
    await untilStored(first, 'app.db', 1);
    for (let i = 0; i < 3; i++) {
      app.write(insert(50));
      await untilStored(first, 'app.db', 2 + i);
    }
    await first.stop();
    for (let i = 0; i < 5; i++) app.write(insert(50));
    app.log.prune(8);
    const second = startBackup(bench, set, place);
    await untilStored(second, 'app.db', 9);
    app.write(insert(50));
    await untilStored(second, 'app.db', 10);
    assert.is(app.snapshots, 2);
    const ours = join(bench.folder, 'ours.db');
    const result = await restore({ store: place.open().database('app.db'), output: ours });
    assert.is(result.files, 2);
    assert.ok(readFileSync(ours).equals(app.image));
    expectLitestreamRestores(bench, place, app);
    const old = join(bench.folder, 'old.db');
    assert.is((await restore({ store: place.open().database('app.db'), output: old, txid: 3 })).txid, 3);
  }));

test('a cut log (another page size) starts a new snapshot', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    app.write(insert(50));
    await untilStored(backup, 'app.db', 2);
    app.resetBy('pragma page_size=1024; vacuum');
    app.write(insert(5));
    await untilStored(backup, 'app.db', 4);
    const ours = join(bench.folder, 'ours.db');
    assert.is((await restore({ store: place.open().database('app.db'), output: ours })).pageSize, 1024);
    assert.ok(readFileSync(ours).equals(app.image));
    expectLitestreamRestores(bench, place, app);
  }));

test('a store that is ahead is never written to, is reported, and is overtaken by a snapshot', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const before = newSet(bench);
    const lost = before.create('app.db');
    lost.write(CREATE);
    for (let i = 0; i < 4; i++) lost.write(insert(10));
    const first = startBackup(bench, before, place);
    await untilStored(first, 'app.db', 5);
    await first.stop();
    const files = filesBelow(place.folder, '.ltx');

    const set = newSet(bench);
    const app = set.create('app.db');
    app.write('create table t(id integer primary key, x, y)');
    const backup = startBackup(bench, set, place);
    await until('it is reported', () => backup.problems().length > 0);
    assert.is(backup.problems()[0]!.code, 'STORE_AHEAD');
    assert.match(backup.problems()[0]!.message, 'at TXID 0000000000000005, the database only at 0000000000000001');
    assert.equal(filesBelow(place.folder, '.ltx'), files);

    for (let i = 0; i < 4; i++) app.write("insert into t(x) values ('a')");
    await until('it is another history', () => backup.problems()[0]?.code === 'STORE_DIVERGED');
    assert.equal(filesBelow(place.folder, '.ltx'), files);
    app.write("insert into t(x) values ('b')");
    await untilStored(backup, 'app.db', 6);
    assert.equal(backup.problems(), []);
    await expectRestored(bench, place, app);
  }));

test('a folder that was moved aside is begun anew', () =>
  withApp(async ({ bench, set, app, place }) => {
    app.write(insert(1));
    const first = startBackup(bench, set, place);
    await untilStored(first, 'app.db', 2);
    await first.stop();
    renameSync(join(place.folder, 'app.db'), join(place.folder, 'app.db.old'));
    const second = startBackup(bench, set, place);
    await untilStored(second, 'app.db', 2);
    assert.is(app.snapshots, 2);
  }));

test("one database's trouble does not stop another's", () =>
  withWorkbench(async (bench) => {
    const set = newSet(bench);
    const place = folderPlace(bench);
    const [bad, good] = [set.create('bad.db'), set.create('good.db')];
    bad.snapshotError = new Error('the disk under it is broken');
    for (const db of [bad, good]) db.write(CREATE);
    const backup = startBackup(bench, set, place, {
      limits: { ...RETRY_AT_ONCE, scans: 1, increments: 1, snapshots: 1 },
    });
    await untilStored(backup, 'good.db', 1);
    good.write(insert(1));
    await untilStored(backup, 'good.db', 2);
    await until('it is reported', () => backup.problems().length > 0);
    assert.equal(
      backup.problems().map((problem) => [problem.code, problem.subject, problem.message]),
      [['BACKUP_FAILING', 'bad.db', 'the disk under it is broken']],
    );
    bad.snapshotError = undefined;
    await untilStored(backup, 'bad.db', 1);
    assert.equal(backup.problems(), []);
  }));

test('a dropped database is let go; its backup stays', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    set.drop('app.db');
    assert.equal(backup.status().databases, []);
    assert.is(await backup.flush(), true);
    assert.is(filesBelow(place.folder, '.ltx').length, 1);
    app.close();
  }));

test.run();
