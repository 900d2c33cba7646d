import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../support/until.js';
import { withAppAndFaultyBucket } from './faulty-bucket.js';
import { expectRestored, folderPlace, insert, startBackup, untilStored } from './scenario.js';

/** A node with a folder and a bucket: each is kept by itself. */

const NEVER_MS = 1e13;
const POLICY = { levelsMs: [50], snapshotMs: NEVER_MS, retain: { ageMs: NEVER_MS, snapshots: 1, fineMs: 50 } };

test('a bucket that is out of reach does not hold up the folder, and catches up when it is back', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const other = folderPlace(bench);
    const bucket = startBackup(bench, set, place, { policy: POLICY });
    const folder = startBackup(bench, set, other, { policy: POLICY });
    await untilStored(bucket, 'app.db', 1);
    await untilStored(folder, 'app.db', 1);
    proxy.set('reset');
    for (let i = 0; i < 5; i++) {
      app.write(insert(20));
      await untilStored(folder, 'app.db', app.position.txid);
    }
    await until('the bucket is missed', () => bucket.problems().some(({ code }) => code === 'BACKUP_FAILING'));
    assert.equal(folder.problems(), []);
    await expectRestored(bench, other, app);
    proxy.set('pass');
    await untilStored(bucket, 'app.db', app.position.txid);
    await until('all is well', () => bucket.problems().length === 0);
    await expectRestored(bench, place, app);
  }));

test.run();
