import { readdirSync, renameSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFileName } from '../../src/backup/index.js';
import { until } from '../support/until.js';
import { withAppAndFaultyBucket, withFaultyBucket } from './faulty-bucket.js';
import { expectRestored, filledStore, folderPlace, insert, startBackup, untilStored, withApp } from './scenario.js';
import { filesBelow, withWorkbench } from './workbench.js';

/** What a backup finds in a store when it begins, and after an error. */

const TAKEN: [string, string, RegExp][] = [
  [
    'its snapshot',
    '9',
    /^the backup of app\.db has files up to TXID 0{15}8, but one is missing: it cannot be restored$/,
  ],
  ['a level-0 file', `0/${formatFileName({ level: 0, minTxid: 3, maxTxid: 5 })}`, /it can be restored up to 0{15}2$/],
  ['its newest file but one', `0/${formatFileName({ level: 0, minTxid: 2, maxTxid: 2 })}`, /restored up to 0{15}1$/],
];

for (const [what, name, message] of TAKEN) {
  test(`a store without ${what}: it is reported, and a new snapshot makes up for it`, () =>
    withWorkbench(async (bench) => {
      const place = folderPlace(bench);
      const { app, set } = await filledStore(bench, place);
      rmSync(join(place.folder, 'app.db/ltx', name), { recursive: true });
      app.snapshotError = new Error('not yet');
      const backup = startBackup(bench, set, place);
      await until('the gap is reported', () => backup.problems().some(({ code }) => code === 'STORE_GAP'));
      const gap = backup.problems().find(({ code }) => code === 'STORE_GAP')!;
      assert.is(gap.subject, 'app.db');
      assert.match(gap.message, message);
      assert.match(gap.hint, /^A new snapshot is being stored/);
      assert.is(await backup.flush(), false, 'what cannot be restored is not up to date');
      assert.is.not(backup.status().databases[0]!.txid, '0000000000000008');

      app.snapshotError = undefined;
      await untilStored(backup, 'app.db', 8);
      assert.equal(backup.problems(), []);
      assert.is(app.snapshots, 2);
      assert.ok(
        readdirSync(join(place.folder, 'app.db/ltx/9')).includes(formatFileName({ level: 9, minTxid: 1, maxTxid: 8 })),
      );
      await expectRestored(bench, place, app);
      app.write(insert(10));
      await untilStored(backup, 'app.db', 9);
      await expectRestored(bench, place, app);
    }));
}

test('a store that lacks a file before its newest snapshot is gone on with', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { app, set } = await filledStore(bench, place);
    const store = place.open().database('app.db');
    const snapshot = await app.snapshot();
    await store.put({ level: 9, minTxid: 1, maxTxid: 8, timestampMs: 0 }, snapshot.chunks());
    await store.delete([{ level: 0, minTxid: 3, maxTxid: 5 }]);
    const { snapshots } = app;
    const backup = startBackup(bench, set, place);
    app.write(insert(10));
    await untilStored(backup, 'app.db', 9);
    assert.is(app.snapshots, snapshots);
    await expectRestored(bench, place, app);
  }));

test('a store that is moved away while it is written to gets a new snapshot', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    app.write(insert(10));
    await untilStored(backup, 'app.db', 2);
    renameSync(join(place.folder, 'app.db'), join(place.folder, 'app.db.old'));
    app.write(insert(10));
    await untilStored(backup, 'app.db', 3);
    assert.is(app.snapshots, 2);
    await expectRestored(bench, place, app);
  }));

test('an upload whose answer was lost is found, and not made again', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    proxy.set('lost-answer', 1, (request) => request.method === 'PUT');
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    assert.is(proxy.faulted, 1);
    assert.is(app.snapshots, 1, 'the snapshot is there');

    // With one that comes before the next try, so that a new file would not be the same.
    proxy.set('lost-answer', 1, (request) => {
      if (request.method !== 'PUT') return false;
      app.write(insert(10));
      return true;
    });
    app.write(insert(10));
    await untilStored(backup, 'app.db', 3);
    assert.equal(filesBelow(join(place.folder, 'backups/some/path/app.db/0000'), '.ltx'), [
      formatFileName({ level: 0, minTxid: 2, maxTxid: 2 }),
      formatFileName({ level: 0, minTxid: 3, maxTxid: 3 }),
    ]);
    await expectRestored(bench, place, app);
  }));

test('a snapshot in parts whose last answer was lost is found, and not made again', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    app.write(insert(150_000));
    const completes = (request: IncomingMessage): boolean =>
      request.method === 'POST' && /uploadId=/.test(request.url ?? '');
    proxy.set('lost-answer', 1, completes);
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 2);
    assert.is(proxy.faulted, 1);
    assert.is(app.snapshots, 1);
    await expectRestored(bench, place, app);
  }));

test('after an error only what may have come since is listed', () =>
  withFaultyBucket(async ({ bench, place, proxy }) => {
    const { app, set } = await filledStore(bench, place);
    const lists = (): string[] =>
      proxy.takeRequests().flatMap((request) => {
        const url = new URL(request.slice(4), 'http://x');
        if (!url.searchParams.has('list-type')) return [];
        const after = url.searchParams.get('start-after') ?? '';
        return `${url.searchParams.get('prefix')} after ${after}`.replaceAll('some/path/app.db/', '');
      });
    lists();
    const backup = startBackup(bench, set, place);
    app.write(insert(10));
    await untilStored(backup, 'app.db', 9);
    assert.equal(lists(), ['0009/ after 0009/', ' after 0000/'], 'at the start all is looked at');
    for (let txid = 10; txid < 13; txid++) {
      proxy.set('error', 1, (request) => request.method === 'PUT');
      app.write(insert(10));
      await untilStored(backup, 'app.db', txid);
      const newest = (txid - 2).toString(16).padStart(16, '0');
      assert.equal(lists(), ['0009/ after 0009/', `0000/ after 0000/${newest}-~`], 'then the newest and what follows');
    }
    await expectRestored(bench, place, app);
  }));

test.run();
