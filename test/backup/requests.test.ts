import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../support/until.js';
import { withAppAndFaultyBucket } from './faulty-bucket.js';
import { countRequests, type RequestCount } from './request-count.js';
import { insert, startBackup, untilStored } from './scenario.js';

/** What a primary's backup asks of a bucket: the figures of docs/backup.md, counted before a real server. */

const NEVER_MS = 1e13;
const KEEP_ALL = { ageMs: NEVER_MS, snapshots: 2, fineMs: NEVER_MS };
const MANY_INTERVALS_MS = 1500;

/** Those that there were, without those that there were none of. */
function some(count: RequestCount): Partial<RequestCount> {
  return Object.fromEntries(Object.entries(count).filter(([, number]) => number > 0));
}

test('the first snapshot of a database, an upload, and none while nothing is committed', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const policy = { levelsMs: [30_000, 300_000], snapshotMs: NEVER_MS, retain: KEEP_ALL };
    const backup = startBackup(bench, set, place, { policy });
    await untilStored(backup, 'app.db', 1);
    // What is there (manifest, snapshots, the rest), whose it is, the snapshot, the manifest that names it; and, once in a
    // process, two writes that tell whether the server heeds conditions.
    assert.equal(some(countRequests(proxy.records)), { get: 1, list: 2, put: 5, total: 8 });
    let before = proxy.records.length;
    for (let i = 0; i < 5; i++) {
      app.write(insert(10));
      await untilStored(backup, 'app.db', app.position.txid);
    }
    assert.equal(some(countRequests(proxy.records.slice(before))), { put: 10, total: 10 }, 'a file and the manifest');
    before = proxy.records.length;
    await sleep(MANY_INTERVALS_MS);
    assert.equal(some(countRequests(proxy.records.slice(before))), {}, 'idle');
  }));

test('a merge of level 0 reads each file once, writes one, and looks for strangers with one LIST', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const first = startBackup(bench, set, place);
    await untilStored(first, 'app.db', 1);
    for (let i = 0; i < 5; i++) {
      app.write(insert(10));
      await untilStored(first, 'app.db', app.position.txid);
    }
    await first.stop();
    const policy = { levelsMs: [50], snapshotMs: NEVER_MS, retain: KEEP_ALL };
    const before = proxy.records.length;
    startBackup(bench, set, place, { policy });
    await until('they are merged', () =>
      proxy.records.some(({ method, url }) => method === 'PUT' && url.includes('/0001/')),
    );
    await until(
      'the manifest says so',
      () => proxy.records.at(-1)!.status === 200 && proxy.records.at(-1)!.url.includes('manifest'),
    );
    // The look at the start: manifest, newest header, two LISTs. Then whose it is, the two
    // writes of a process, a LIST, five files, one file, the manifest.
    assert.equal(some(countRequests(proxy.records.slice(before))), { get: 7, list: 3, put: 5, total: 15 });
  }));

test.run();
