import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/backup/index.js';
import { until } from '../support/until.js';
import type { FaultAnswer } from './fault-proxy.js';
import { withAppAndFaultyBucket } from './faulty-bucket.js';
import {
  expectRestored,
  insert,
  newApp,
  type Place,
  startBackup,
  untilFailing,
  untilStored,
  withApp,
} from './scenario.js';
import { filesBelow, type Workbench, withWorkbench } from './workbench.js';

/** A place that cannot be written: status says why, and when it is mended the backup goes on, with nothing missing. */

const FULL = /cannot write s3:.*the store is full: .*Make room or raise the quota/;
const DENIED = /cannot write s3:.*AccessDenied.*Check AWS_ACCESS_KEY_ID.*and the rights on the bucket/;

const ANSWERS: [string, FaultAnswer, RegExp][] = [
  ['is full, as versitygw says it', { status: 507, code: 'InsufficientStorage' }, FULL],
  ['is over its quota, as MinIO says it', { status: 400, code: 'XMinioAdminBucketQuotaExceeded' }, FULL],
  ['is over its quota, as Ceph says it', { status: 403, code: 'QuotaExceeded' }, FULL],
  [
    'is over its cap, as Backblaze B2 says it',
    { status: 403, code: 'AccessDenied', message: 'Cannot upload files, storage cap exceeded.' },
    FULL,
  ],
  ['may only be read', { status: 403, code: 'AccessDenied', message: 'Access Denied' }, DENIED],
  [
    'is in another region',
    {
      status: 301,
      code: 'PermanentRedirect',
      message: 'The bucket you are attempting to access must be addressed elsewhere',
    },
    /cannot write s3:.*addressed elsewhere\. Name the bucket's region/,
  ],
];

for (const [name, answer, message] of ANSWERS) {
  test(`a bucket that ${name}`, () =>
    withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
      const backup = startBackup(bench, set, place);
      await untilStored(backup, 'app.db', 1);
      proxy.set(answer, Number.POSITIVE_INFINITY, ({ method }) => method === 'PUT');
      app.write(insert(10));
      await untilFailing(backup, message);
      proxy.set('pass');
      await untilStored(backup, 'app.db', 2);
      assert.equal(backup.problems(), []);
      await expectRestored(bench, place, app);
    }));
}

test('a bucket that does not exist, then does', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place }) => {
    const away = { bucket: join(place.folder, 'backups'), aside: join(bench.folder, 'aside') };
    renameSync(away.bucket, away.aside);
    const backup = startBackup(bench, set, place);
    await untilFailing(backup, /no such bucket\. Create the bucket, or correct the address/);
    renameSync(away.aside, away.bucket);
    await untilStored(backup, 'app.db', 1);
    renameSync(away.bucket, away.aside);
    app.write(insert(10));
    await untilFailing(backup, /no such bucket/);
    // The server keeps what it knows of objects elsewhere.
    rmSync(join(bench.folder, 'sidecar', 'backups'), { recursive: true });
    mkdirSync(away.bucket);
    await untilStored(backup, 'app.db', 2);
    assert.is(app.snapshots, 2, 'an empty bucket begins with a snapshot');
    await expectRestored(bench, place, app);
  }));

/** A small file system of its own; undefined where none can be mounted. */
function mountedPlace(bench: Workbench): Place | undefined {
  const folder = join(bench.folder, 'small');
  mkdirSync(folder);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    console.log('skipped: a tmpfs cannot be mounted here');
    return undefined;
  }
  bench.onEnd(() => execFileSync('umount', ['-l', folder]));
  const url = pathToFileURL(folder).href;
  return { url, folder, env: {}, open: () => openStore(url) };
}

test('a folder on a full disk', () =>
  withWorkbench(async (bench) => {
    const place = mountedPlace(bench);
    if (place === undefined) return;
    const { set, app } = newApp(bench);
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    writeFileSync(join(place.folder, 'filler'), Buffer.alloc(200 * 1024));
    app.write(insert(1000));
    await untilFailing(backup, /cannot write .*the disk is full\. Make room/);
    await until('nothing half is left', () => filesBelow(place.folder, '.tmp').length === 0);
    rmSync(join(place.folder, 'filler'));
    await untilStored(backup, 'app.db', 2);
    assert.equal(backup.problems(), []);
    await expectRestored(bench, place, app);
  }));

test('a folder on a disk that became read-only', () =>
  withWorkbench(async (bench) => {
    const place = mountedPlace(bench);
    if (place === undefined) return;
    const { set, app } = newApp(bench);
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    execFileSync('mount', ['-o', 'remount,ro', place.folder]);
    app.write(insert(10));
    await untilFailing(backup, /cannot write .*read-only file system.*Mount its file system so that/);
    execFileSync('mount', ['-o', 'remount,rw', place.folder]);
    await untilStored(backup, 'app.db', 2);
    assert.equal(backup.problems(), []);
    await expectRestored(bench, place, app);
  }));

test('a folder that disappears', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    app.write(insert(10));
    await untilStored(backup, 'app.db', 2);
    rmSync(place.folder, { recursive: true });
    app.write(insert(10));
    await untilStored(backup, 'app.db', 3);
    assert.is(app.snapshots, 2);
    assert.equal(backup.problems(), []);
    await expectRestored(bench, place, app);
  }));

test('a file in the place of the folder', () =>
  withApp(async ({ bench, set, app, place }) => {
    writeFileSync(place.folder, '');
    const backup = startBackup(bench, set, place);
    await untilFailing(backup, /ENOTDIR/);
    rmSync(place.folder);
    await untilStored(backup, 'app.db', 1);
    await expectRestored(bench, place, app);
  }));

test.run();
