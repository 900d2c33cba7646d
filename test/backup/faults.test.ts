import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Backup, openStore } from '../../src/backup/index.js';
import { readAll } from '../../src/backup/store.js';
import { until } from '../support/until.js';
import type { Fault } from './fault-proxy.js';
import { withAppAndFaultyBucket, withFaultyBucket } from './faulty-bucket.js';
import { expectRestored, insert, newApp, type Place, startBackup, untilStored } from './scenario.js';
import { filesBelow, withWorkbench } from './workbench.js';

function isPut(request: IncomingMessage): boolean {
  return request.method === 'PUT';
}

async function untilFailing(backup: Backup, message: RegExp): Promise<void> {
  await until(`status shows ${message}: ${backup.status().lastError}`, () =>
    message.test(backup.status().lastError ?? ''),
  );
  assert.is(backup.problems()[0]?.code, 'BACKUP_FAILING');
  assert.is(backup.problems()[0]?.subject, 'app.db');
}

const FAULTS: [Fault, RegExp][] = [
  ['error', /cannot write s3:\/\/backups\/some\/path\/app\.db\/0000\/0{15}2-0{15}2\.ltx: InternalError: .*HTTP 500/],
  ['hang', /cannot write s3:.*TimeoutError/],
  ['reset', /cannot write s3:.*(ECONNRESET|socket hang up)/],
  ['denied', /cannot write s3:.*ExpiredToken.*Check AWS_ACCESS_KEY_ID/],
  ['lost-answer', /cannot write s3:.*(ECONNRESET|socket hang up)/],
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
      // Where only the answer is lost, all may be there in the end.
      const flushed = await backup.flush(2000);
      if (fault !== 'lost-answer') assert.is(flushed, false, 'a flush ends, and says that it failed');
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
    await untilFailing(backup, /cannot list s3:/);
    app.write(insert(10));
    proxy.set('pass');
    await untilStored(backup, 'app.db', 2);
    await expectRestored(bench, place, app);
  }));

test('a bucket that does not exist', () =>
  withAppAndFaultyBucket(async ({ bench, set, place }) => {
    const url = place.url.replace('backups', 'no-such-bucket');
    const credentials = { accessKeyId: 'tester', secretAccessKey: 'testing-secret' };
    const backup = startBackup(bench, set, { ...place, url, open: () => openStore(url, { credentials }) });
    await untilFailing(backup, /no such bucket\. Create the bucket, or correct the address/);
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

test('a folder on a full disk: status shows it, and it goes on when there is room', () =>
  withWorkbench(async (bench) => {
    const folder = join(bench.folder, 'small');
    mkdirSync(folder);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      console.log('skipped: a tmpfs cannot be mounted here');
      return;
    }
    bench.onEnd(() => execFileSync('umount', ['-l', folder]));
    const url = pathToFileURL(folder).href;
    const place: Place = { url, folder, env: {}, open: () => openStore(url) };
    const { set, app } = newApp(bench);
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    writeFileSync(join(folder, 'filler'), Buffer.alloc(200 * 1024));
    app.write(insert(1000));
    await untilFailing(backup, /cannot write .*the disk is full\. Make room/);
    assert.equal(filesBelow(folder, '.tmp'), []);
    rmSync(join(folder, 'filler'));
    await untilStored(backup, 'app.db', 2);
    await expectRestored(bench, place, app);
  }));

test.run();
