import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BackupOptions, decodeManifest, type StoreFile } from '../../src/backup/index.js';
import type { UpkeepPolicy } from '../../src/backup/upkeep.js';
import { until } from '../support/until.js';
import type { FakeDatabase } from './fake-databases.js';
import {
  bucketPlace,
  expectLitestreamRestores,
  expectRestored,
  folderPlace,
  insert,
  newApp,
  type Place,
  startBackup,
  untilStored,
  withApp,
} from './scenario.js';
import { filesBelow, ltxVerify, TestLog, type Workbench, withWorkbench } from './workbench.js';

/** Levels, snapshots, retention, on real stores. The databases' transactions are a second apart, in 2023. */

const NEVER_MS = 1e13;
const KEEP_ALL = { ageMs: NEVER_MS, snapshots: 2, fineMs: NEVER_MS };

function policy(more: Partial<UpkeepPolicy>): Pick<BackupOptions, 'policy'> {
  return { policy: { levelsMs: [], snapshotMs: NEVER_MS, retain: KEEP_ALL, ...more } };
}

function levelsOf(files: readonly StoreFile[]): number[] {
  return [...new Set(files.map((file) => file.level))].sort();
}

async function commitAndStore(backup: ReturnType<typeof startBackup>, app: FakeDatabase, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    app.write(insert(20));
    await untilStored(backup, app.name, app.position.txid);
  }
}

async function manifestOf(place: Place, name = 'app.db') {
  const found = await place.open().database(name).readManifest();
  assert.ok(found !== undefined && found !== 'same');
  return decodeManifest(found.bytes);
}

async function leveled(bench: Workbench, place: Place): Promise<void> {
  const { set, app } = newApp(bench);
  const retain = { ageMs: NEVER_MS, snapshots: 1, fineMs: 20 };
  const backup = startBackup(bench, set, place, policy({ levelsMs: [30, 100], retain }));
  const store = place.open().database('app.db');
  await untilStored(backup, 'app.db', 1);
  for (let round = 0; levelsOf(await store.listAll()).length < 4 || round < 3; round++) {
    assert.ok(round < 40, 'files of all levels come');
    await commitAndStore(backup, app, 6);
    app.write('delete from t where id % 2');
    app.write('vacuum');
    await untilStored(backup, 'app.db', app.position.txid);
    await sleep(40);
  }
  await until('level 0 is merged', async () => {
    const way = (await manifestOf(place)).files;
    return way.filter((file) => file.level === 0).length <= 1;
  });
  assert.is((await manifestOf(place)).position.txid, app.position.txid);
  await expectRestored(bench, place, app);
  expectLitestreamRestores(bench, place, app);
  await until('what was merged goes', async () => {
    const way = new Set((await manifestOf(place)).files.map((file) => `${file.level}:${file.minTxid}`));
    const level0 = (await store.listAll()).filter((file) => file.level === 0);
    return level0.every((file) => way.has(`0:${file.minTxid}`));
  });
  await backup.stop();
  const folder = filesBelow(place.folder, '.ltx').map((path) => join(place.folder, path));
  ltxVerify(folder);
  await expectRestored(bench, place, app);
  expectLitestreamRestores(bench, place, app);
}

test('a folder: levels, and level 0 goes when it was merged', () =>
  withWorkbench((bench) => leveled(bench, folderPlace(bench))));

test('a bucket: levels, and level 0 goes when it was merged', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place !== undefined) await leveled(bench, place);
  }));

test('the manifest names the way to the newest state, with checksums', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place, policy({ levelsMs: [1] }));
    await untilStored(backup, 'app.db', 1);
    await commitAndStore(backup, app, 7);
    await until('it is up to date', async () => (await manifestOf(place)).position.txid === app.position.txid);
    const { files, position, owner, generation } = await manifestOf(place);
    assert.equal(position, app.position);
    assert.is(owner, 'node/1');
    assert.is(generation, 1);
    let reached = 0;
    for (const file of files) {
      assert.ok(file.minTxid <= reached + 1);
      reached = file.maxTxid;
      const entry = app.log.get(file.maxTxid);
      assert.is(file.checksum, entry!.after.checksum);
    }
    assert.is(reached, app.position.txid);
  }));

test('a snapshot is stored now and then, and increments lead on beside it without a hole', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place, policy({ snapshotMs: 1 }));
    await untilStored(backup, 'app.db', 1);
    const store = place.open().database('app.db');
    await commitAndStore(backup, app, 5);
    await until('another snapshot', async () => (await store.listAll()).some((f) => f.level === 9 && f.maxTxid > 1));
    await commitAndStore(backup, app, 5);
    assert.ok(await backup.flush(), 'the snapshot may be there before the increments');
    const increments = (await store.listAll()).filter((file) => file.level === 0);
    let reached = 1;
    for (const file of increments) {
      assert.is(file.minTxid, reached + 1);
      reached = file.maxTxid;
    }
    assert.is(reached, app.position.txid);
    await expectRestored(bench, place, app);
    expectLitestreamRestores(bench, place, app);
  }));

test('retention: old snapshots go, and what led on from them; what is kept can be restored', () =>
  withApp(async ({ bench, set, app, place }) => {
    const log = new TestLog();
    // Two seconds are two transactions.
    const retain = { ageMs: 2000, snapshots: 1, fineMs: NEVER_MS };
    const backup = startBackup(bench, set, place, { ...policy({ snapshotMs: 50, retain }), log });
    const store = place.open().database('app.db');
    await untilStored(backup, 'app.db', 1);
    for (let i = 0; i < 8; i++) {
      await commitAndStore(backup, app, 2);
      await sleep(60);
    }
    await until('old files go', async () => {
      const oldest = (await store.listAll()).find((file) => file.level === 0)?.minTxid ?? 0;
      return oldest > 5;
    });
    await backup.stop();
    const files = await store.listAll();
    assert.ok(files.some((file) => file.level === 9));
    await expectRestored(bench, place, app);
    expectLitestreamRestores(bench, place, app);
    assert.ok(log.lines.includes('removed what is not kept any more'));
  }));

test('a merge whose manifest was not written is found at the next start', () =>
  withApp(async ({ bench, set, app, place }) => {
    const first = startBackup(bench, set, place);
    await untilStored(first, 'app.db', 1);
    await commitAndStore(first, app, 4);
    await first.stop();
    const store = place.open().database('app.db');
    const { compact } = await import('../../src/backup/compaction.js');
    const inputs = (await store.listAll()).filter((file) => file.level === 0);
    await compact(store, inputs, 1);
    const before = await store.listAll();
    const log = new TestLog();
    const second = startBackup(bench, set, place, { ...policy({ levelsMs: [1] }), log });
    await commitAndStore(second, app, 1);
    await until('the merge is in the manifest', async () => (await manifestOf(place)).files.some((f) => f.level === 1));
    assert.equal(
      (await store.listAll()).filter((f) => f.level === 1),
      before.filter((f) => f.level === 1),
    );
    assert.equal(second.problems(), []);
    await expectRestored(bench, place, app);
  }));

for (const [by, more] of [
  ['a merge', { levelsMs: [150] }],
  ['retention', { retain: { ...KEEP_ALL, ageMs: 400 } }],
] as const) {
  test(`a file that is deleted in the middle of the chain is noticed by ${by}, and a snapshot makes up for it`, () =>
    withApp(async ({ bench, set, app, place }) => {
      const log = new TestLog();
      const backup = startBackup(bench, set, place, { log });
      await untilStored(backup, 'app.db', 1);
      await commitAndStore(backup, app, 6);
      await backup.stop();
      const again = startBackup(bench, set, place, { ...policy(more), log });
      const store = place.open().database('app.db');
      await until('it knows the store', () => again.status().databases[0]?.txid === '0000000000000007');
      await store.delete([{ level: 0, minTxid: 4, maxTxid: 4 }]);
      app.write(insert(5));
      await until('a snapshot', async () =>
        (await store.listAll()).some((file) => file.level === 9 && file.maxTxid === 8),
      );
      await until('all is well', () => again.problems().length === 0);
      assert.ok(log.lines.some((line) => line.includes('the backup lacks a file')));
      await expectRestored(bench, place, app);
      expectLitestreamRestores(bench, place, app);
    }));
}

test.run();
