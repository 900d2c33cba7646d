import { existsSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore, restore } from '../../src/backup/index.js';
import { readAll } from '../../src/backup/store.js';
import { until } from '../support/until.js';
import type { Fault } from './fault-proxy.js';
import { withAppAndFaultyBucket, withFaultyBucket } from './faulty-bucket.js';
import { expectRestored, insert, startBackup, untilFailing, untilStored } from './scenario.js';
import { filesBelow } from './workbench.js';

function isPut(request: IncomingMessage): boolean {
  return request.method === 'PUT';
}

const FAULTS: [Fault, RegExp][] = [
  ['error', /cannot write s3:\/\/backups\/some\/path\/app\.db\/0000\/0{15}2-0{15}2\.ltx: InternalError: .*HTTP 500/],
  ['hang', /cannot write s3:.*TimeoutError/],
  ['reset', /cannot write s3:.*(ECONNRESET|socket hang up)/],
  ['denied', /cannot write s3:.*ExpiredToken.*Check AWS_ACCESS_KEY_ID/],
  ['slow-down', /cannot write s3:.*SlowDown.*Sluice waits longer after each such answer/],
];

for (const [fault, message] of FAULTS) {
  test(`a bucket with the fault "${fault}": status shows it, then nothing is missing`, () =>
    withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
      const backup = startBackup(bench, set, place);
      await untilStored(backup, 'app.db', 1);
      assert.is(backup.status().lastError, null);
      proxy.set(fault, Number.POSITIVE_INFINITY, isPut);
      app.write(insert(10));
      await untilFailing(backup, message);
      app.write(insert(10));
      assert.ok(backup.status().databases[0]!.lagMs >= 0);
      assert.is(await backup.flush(2000), false, 'a flush ends, and says that it failed');
      proxy.set('pass');
      await untilStored(backup, 'app.db', 3);
      assert.is(backup.status().lastError, null);
      assert.equal(backup.problems(), []);
      await expectRestored(bench, place, app);
    }));
}

test('a bucket that is out of reach from the start', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    proxy.set('reset');
    const backup = startBackup(bench, set, place);
    await untilFailing(backup, /cannot read s3:/);
    app.write(insert(10));
    proxy.set('pass');
    await untilStored(backup, 'app.db', 2);
    await expectRestored(bench, place, app);
  }));

test('answers to writes that happened are lost, single ones and those of several parts: nobody sees it', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const failures: unknown[] = [];
    proxy.set(
      'lost-answer',
      Number.POSITIVE_INFINITY,
      ({ method, url }) => method === 'PUT' && /\.ltx/.test(url ?? ''),
    );
    const hooks = { failed: (_: string, error: unknown) => failures.push(error) };
    const backup = startBackup(bench, set, place, { hooks });
    await untilStored(backup, 'app.db', 1);
    for (let txid = 2; txid < 5; txid++) {
      app.write(insert(10));
      await untilStored(backup, 'app.db', txid);
    }
    proxy.set(
      'lost-answer',
      Number.POSITIVE_INFINITY,
      ({ method, url }) => method === 'POST' && /uploadId/.test(url ?? ''),
    );
    app.write(insert(100_000));
    await untilStored(backup, 'app.db', 5);
    assert.ok(proxy.faulted > 0);
    assert.equal(failures, []);
    assert.is(app.snapshots, 1);
    await expectRestored(bench, place, app);
  }));

test('a bucket that asks for fewer requests now and then is waited for, and nobody sees it', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const failures: unknown[] = [];
    const hooks = { failed: (_: string, error: unknown) => failures.push(error) };
    const backup = startBackup(bench, set, place, { hooks });
    for (let txid = 2; txid < 6; txid++) {
      proxy.set('slow-down', 4);
      app.write(insert(10));
      await untilStored(backup, 'app.db', txid);
    }
    assert.is(proxy.faulted, 4);
    assert.equal(failures, []);
    await expectRestored(bench, place, app);
  }));

test('a listing that is behind: what it lacks is neither replaced nor lost', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const before = startBackup(bench, set, place);
    await untilStored(before, 'app.db', 1);
    proxy.set('stale-list');
    for (let txid = 2; txid < 5; txid++) {
      app.write(insert(10));
      await untilStored(before, 'app.db', txid);
    }
    await before.stop();
    const after = startBackup(bench, set, place);
    app.write(insert(10));
    await until('it was seen to be behind', () => proxy.faulted > 0);
    await after.flush(1000);
    proxy.set('pass');
    await until('store and database agree', async () => {
      await after.flush();
      await expectRestored(bench, place, app);
      return true;
    });
    assert.equal(after.problems(), []);
  }));

for (const fault of ['slow', 'stalled', 'cut'] as const) {
  test(`answers with the fault "${fault}": what is restored is right all the same`, () =>
    withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
      app.write(insert(20_000));
      const backup = startBackup(bench, set, place);
      await untilStored(backup, 'app.db', 2);
      app.write(insert(10));
      await untilStored(backup, 'app.db', 3);
      proxy.set(fault, fault === 'stalled' ? 1 : 3, ({ method, url }) => method === 'GET' && /\.ltx/.test(url ?? ''));
      await expectRestored(bench, place, app);
      assert.ok(proxy.faulted > 0);
    }));
}

test('answers that are shorter than the file, and say that they are whole: an error, and no database', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    app.write(insert(20_000));
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 2);
    proxy.set('truncated', Number.POSITIVE_INFINITY, ({ method, url }) => method === 'GET' && /\.ltx/.test(url ?? ''));
    const output = join(bench.folder, 'none.db');
    await rejects(restore({ store: place.open().database('app.db'), output }));
    assert.not.ok(existsSync(output));
    proxy.set('pass');
    await expectRestored(bench, place, app);
  }));

test('wrong credentials', () =>
  withFaultyBucket(async ({ place }) => {
    const credentials = { accessKeyId: 'tester', secretAccessKey: 'another-secret' };
    const store = openStore(place.url, { credentials }).database('app.db');
    try {
      await store.listAll();
      assert.unreachable();
    } catch (error) {
      assert.is((error as { code: string }).code, 'STORE_ACCESS');
      assert.match((error as Error).message, 'SignatureDoesNotMatch');
      assert.not.match((error as Error).message, 'another-secret');
    }
  }));

test('a snapshot in parts: a part fails, nothing half is published, then it is there', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    app.write(insert(250_000));
    proxy.set('error', Number.POSITIVE_INFINITY, (request) => /partNumber=2/.test(request.url ?? ''));
    const backup = startBackup(bench, set, place);
    await untilFailing(backup, /cannot write s3:.*InternalError/);
    assert.equal(filesBelow(place.folder, '.ltx'), []);
    assert.ok(proxy.requests.some((request) => request.startsWith('DELETE') && request.includes('uploadId')));
    proxy.set('pass');
    await untilStored(backup, 'app.db', 2);
    assert.ok(proxy.requests.filter((request) => /partNumber=3/.test(request)).length > 0, 'it had several parts');
    proxy.set('cut', 2, (request) => request.method === 'GET' && /\.ltx/.test(request.url ?? ''));
    await expectRestored(bench, place, app);
    assert.is(proxy.faulted, 2, 'a download that breaks off is taken up again');
  }));

test('a large transaction that cannot be uploaded is not kept open', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    let open = 0;
    app.log.wrap = (entry) => ({
      ...entry,
      open() {
        open++;
        const { source } = entry.open();
        return { source, close: () => open-- };
      },
    });
    proxy.set('error', Number.POSITIVE_INFINITY, (request) => request.method === 'POST');
    app.write(insert(250_000));
    await until('it failed several times', () => proxy.faulted >= 3);
    assert.is(await backup.flush(), false);
    assert.is(open, 0);
    proxy.set('pass');
    await untilStored(backup, 'app.db', 2);
    assert.is(open, 0);
    await expectRestored(bench, place, app);
  }));

test('a download that always breaks off ends with an error', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const file = { level: 0, minTxid: 2, maxTxid: 2 };
    await store.put({ ...file, timestampMs: 0 }, new Uint8Array(1000));
    proxy.set('reset', Number.POSITIVE_INFINITY, (request) => request.method === 'GET');
    try {
      await readAll(store.get(file), 2000);
      assert.unreachable();
    } catch (error) {
      assert.is((error as { code: string }).code, 'STORE_FAILED');
      assert.match((error as Error).message, 'cannot read s3://backups/some/path/app.db/0000/');
    }
  }));

async function rejects(action: Promise<unknown>): Promise<void> {
  const failed = await action.then(
    () => false,
    () => true,
  );
  assert.ok(failed, 'it fails');
}

test.run();
