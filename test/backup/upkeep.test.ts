import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DatabaseBackup } from '../../src/backup/database-backup.js';
import { CompactionThread } from '../../src/backup/index.js';
import { Upkeep } from '../../src/backup/upkeep.js';
import { errorCode } from '../../src/errors.js';
import { until } from '../support/until.js';
import { countRequests } from './counted-store.js';
import { HeldRoot } from './held-store.js';
import { CREATE, expectRestored, insert, startBackup, untilStored, withApp } from './scenario.js';
import { filesBelow, TestLog } from './workbench.js';

const DAY_MS = 24 * 3_600_000;
const MINUTE_MS = 60_000;
const LIMITS = { mergeBytes: 1e6, mergeTransactions: 10, largeBytes: 1e6 };

test('a process that ends before a day is over looks at all files, too', () =>
  withApp(async ({ bench, app, place }) => {
    const store = countRequests(place.open().database('app.db'));
    const backup = new DatabaseBackup(app, store, 'node/1', LIMITS, () => undefined);
    await backup.take('scan');
    await backup.take('snapshot');
    let nowMs = Date.now();
    const upkeep = new Upkeep({
      policy: { levelsMs: [40], snapshotMs: DAY_MS, retain: { ageMs: 30 * DAY_MS, snapshots: 2, fineMs: DAY_MS } },
      databases: () => [backup],
      onLost: () => undefined,
      log: new TestLog(),
      now: () => nowMs,
    });
    bench.onEnd(() => upkeep.stop());
    // So that no snapshot is due.
    app.positionTimeMs = nowMs;
    upkeep.start();
    await sleep(50);
    assert.is(store.requests.listAll, 0);
    nowMs += 16 * MINUTE_MS;
    await until('it looks', () => store.requests.listAll === 1);
    nowMs += 60 * MINUTE_MS;
    await sleep(50);
    assert.is(store.requests.listAll, 1, 'and then not for a day');
  }));

test('a snapshot that is under way when the node stops gets no name', () =>
  withApp(async ({ bench, set, app, place }) => {
    const root = new HeldRoot(place.open(), { put: (_name, { level }) => level === 9 });
    bench.onEnd(() => root.release());
    const backup = startBackup(bench, set, place, { store: root, limits: { stopMs: 20 } });
    await until('it is under way', () => root.waiting > 0);
    await backup.stop();
    root.release();
    await sleep(100);
    assert.equal(filesBelow(place.folder, '.ltx'), []);
    const again = startBackup(bench, set, place, { owner: 'node/2' });
    app.write(insert(5));
    await untilStored(again, 'app.db', 2);
  }));

test('increments go on from a scheduled snapshot where the log does not reach back any more', () =>
  withApp(async ({ bench, app, place }) => {
    const store = place.open().database('app.db');
    const backup = new DatabaseBackup(app, store, 'node/1', LIMITS, () => undefined);
    await backup.take('scan');
    await backup.take('snapshot');
    app.write(insert(5));
    await backup.uploadSnapshot(false);
    app.log.prune(3);
    assert.is(backup.upToDate, false);
    await backup.take('snapshot');
    assert.is(backup.upToDate, true);
    app.write(insert(5));
    await backup.take('increment');
    assert.is(backup.upToDate, true);
    await expectRestored(bench, place, app);
  }));

test('scheduled snapshots that hang hold up no merge, of their database or of others', () =>
  withApp(async ({ bench, set, place }) => {
    let holds = false;
    const root = new HeldRoot(place.open(), { put: (_name, { level }) => holds && level === 9 });
    bench.onEnd(() => root.release());
    const retain = { ageMs: 1e13, snapshots: 2, fineMs: 1e13 };
    const policy = { levelsMs: [1], snapshotMs: 1, retain };
    const names = ['app.db', 'b.db', 'c.db'];
    for (const name of names.slice(1)) set.create(name).write(CREATE);
    const backup = startBackup(bench, set, place, { store: root, policy, limits: { stopMs: 20 } });
    for (const name of names) await untilStored(backup, name, 1);
    holds = true;
    for (const name of names) {
      const db = set.get(name)!;
      for (let txid = 2; txid < 5; txid++) {
        db.write(insert(5));
        await untilStored(backup, name, txid);
      }
    }
    await until('snapshots hang', () => root.waiting === 2);
    for (const name of names)
      await until(`${name} is merged`, () => filesBelow(join(place.folder, name, 'ltx/1'), '.ltx').length > 0);
    assert.is(root.waiting, 2, 'no more at a time than the limit says');
  }));

test('a snapshot that seemed to fail is no problem any more when it turns out to be there', () =>
  withApp(async ({ bench, app, place }) => {
    const store = place.open().database('app.db');
    let nowMs = Date.now();
    const backup = new DatabaseBackup(app, store, 'node/1', LIMITS, () => undefined);
    await backup.take('scan');
    await backup.take('snapshot');
    app.write(insert(5));
    app.snapshotError = new Error('not now');
    const retain = { ageMs: 1e13, snapshots: 2, fineMs: 1e13 };
    const upkeep = new Upkeep({
      policy: { levelsMs: [40], snapshotMs: 1, retain },
      databases: () => [backup],
      onLost: () => undefined,
      log: new TestLog(),
      now: () => nowMs,
    });
    bench.onEnd(() => upkeep.stop());
    upkeep.start();
    await until('it fails', () => upkeep.failureOf(backup) !== undefined);
    app.snapshotError = undefined;
    await backup.uploadSnapshot(false);
    nowMs += MINUTE_MS;
    await until('that is over', () => upkeep.failureOf(backup) === undefined);
  }));

test('no merge begins once the thread is closed', async () => {
  const thread = new CompactionThread({ url: 'file:///nowhere' } as ConstructorParameters<typeof CompactionThread>[0]);
  await thread.close();
  const error = await thread.compact('app.db', [], 1).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.is(errorCode(error), 'STORE_FAILED');
  assert.match(String(error), /the node stops/);
});

test.run();
