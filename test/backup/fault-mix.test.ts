import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/backup/index.js';
import { Random } from '../database/support/random.js';
import { until } from '../support/until.js';
import type { Fault } from './fault-proxy.js';
import { withAppAndFaultyBucket } from './faulty-bucket.js';
import { expectLitestreamRestores, expectRestored, insert, startBackup } from './scenario.js';

/** Faults of all kinds at random, with levels and retention at work. SLUICE_FAULT_ROUNDS and SLUICE_FAULT_SEED for more. */

const ROUNDS = Number(process.env.SLUICE_FAULT_ROUNDS ?? 6);
const SEED = Number(process.env.SLUICE_FAULT_SEED ?? 1);

const FAULTS: readonly Fault[] = [
  'error',
  'slow-down',
  'denied',
  'reset',
  'lost-answer',
  'cut',
  'stalled',
  'truncated',
  'stale-list',
  { status: 409, code: 'ConditionalRequestConflict' },
  { status: 404, code: 'NoSuchUpload' },
  { status: 507, code: 'InsufficientStorage' },
];
const WHOM: readonly ((request: IncomingMessage) => boolean)[] = [
  () => true,
  ({ method }) => method === 'PUT',
  ({ method }) => method === 'GET',
  ({ method }) => method === 'POST',
  ({ url }) => /manifest/.test(url ?? ''),
  ({ url }) => /000[1-8]\//.test(url ?? ''),
  ({ url }) => /0009\//.test(url ?? ''),
];

test(`store and database agree after ${ROUNDS} faults at random (seed ${SEED})`, () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    const random = new Random(SEED);
    const next = (limit: number): number => random.below(limit);
    const retain = { ageMs: 1e13, snapshots: 2, fineMs: 50 };
    const policy = { levelsMs: [40, 150], snapshotMs: 1e13, retain };
    let backup = startBackup(bench, set, place, { policy });
    for (let round = 0; round < ROUNDS; round++) {
      proxy.set(FAULTS[next(FAULTS.length)]!, 1 + next(8), WHOM[next(WHOM.length)]);
      for (let i = next(4); i >= 0; i--) app.write(insert(1 + next(50)));
      if (next(10) === 0) app.write(insert(80_000));
      if (next(6) === 0) app.write('delete from t where id % 2; vacuum');
      await sleep(next(150));
      if (next(8) === 0) {
        await backup.stop();
        backup = startBackup(bench, set, place, { policy, owner: `node/${round}` });
      }
    }
    proxy.set('pass');
    await until('all is stored', () => backup.flush());
    assert.equal(backup.problems(), []);
    await expectRestored(bench, place, app);
    await backup.stop();
    await expectRestored(bench, place, app);
    // Past the proxy, which lives in this process.
    const direct = place.url.replace(proxy.endpoint, proxy.target);
    expectLitestreamRestores(bench, { ...place, open: () => openStore(direct) }, app);
  }));

test.run();
