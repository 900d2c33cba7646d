import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readTrace } from '../../src/disk/trace.js';
import { SourceDatabase } from '../apply/source-database.js';
import { testSeed } from '../database/support/random.js';
import { stopAll } from '../support/cluster.js';
import { explore } from './power/explorer.js';
import { loadTrace } from './power/load-trace.js';
import { record, recordReplica } from './power/recording.js';
import { ReplicaBench } from './power/replica-bench.js';
import { recordRecovery } from './power/second-crash.js';
import { isClean, outOfOrder } from './power/sync-order.js';

/** The short form of `npm run soak -- power`. */
const test = suite('power loss');
const STATES = 300;
const REPLICA_STATES = 100;
/** Where no mount is. */
const MOUNT = '/mnt/none';
const folder = mkdtempSync(join(tmpdir(), 'sluice-power-test-'));

test.after(async () => {
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
});

test('whatever of the unsynced writes is on the disk, a node finds a prefix of the commits, and all promised ones', async () => {
  const trace = join(folder, 'trace');
  await record({ path: trace, times: 1, workloads: ['walfull', 'walnormal', 'extra', 'drop', 'pair'] });
  const seed = testSeed();
  const explored = await explore({ trace, seed, states: STATES, maxViolations: 5, crashAgainEvery: 30 });
  const { states, secondStates, violations } = explored;
  assert.equal(violations, []);
  assert.is(states, STATES + secondStates);
  assert.ok(secondStates > 0, 'a crash in a recovery is among them');
});

test('where a sync is left out, it is found', async () => {
  const trace = join(folder, 'unsynced');
  const faults = 'wal.sync SKIP\njournal.sync SKIP\n';
  await record({ path: trace, times: 1, workloads: ['walfull', 'truncate'], faults });
  const { violations } = await explore({ trace, seed: 1, states: 150, maxViolations: 150 });
  const found = (pattern: RegExp) => violations.some(({ error }) => pattern.test(error));
  assert.ok(found(/walfull\.db has .* and may have/), 'a WAL that is not synced loses commits');
  assert.ok(found(/truncate\.db/), 'a journal that is not synced cannot be rolled back');
});

test('a replica finds a prefix of the primary’s transactions, at the position of what it holds, or says that it does not', async () => {
  const trace = join(folder, 'replica');
  await recordReplica({ path: trace, times: 1, workloads: ['truncate', 'modes', 'drop', 'lost'] });
  assert.equal(outOfOrder(loadTrace(trace)), []);
  const seed = testSeed();
  const explored = await explore({ trace, seed, states: REPLICA_STATES, maxViolations: 5, crashAgainEvery: 50 });
  assert.equal(explored.violations, []);
  for (const outcome of ['goes on', 'a snapshot']) assert.ok(explored.outcomes.has(`then: ${outcome}`), outcome);
});

test('a stop in order has on the disk what it says of a replica’s files', async () => {
  const root = join(folder, 'stopped');
  mkdirSync(root);
  const bench = new ReplicaBench(root, MOUNT);
  const source = new SourceDatabase(join(folder, 'source.db'));
  try {
    for (let i = 0; i < 3; i++) {
      source.insert(10);
      await bench.sink.receive('a.db', source.capture());
    }
    assert.ok(statSync(bench.backing('a.db-wal')).size > 4096);
    bench.close();
    const trace = join(folder, 'stopped.trace');
    await recordRecovery(root, [MOUNT, 'replica'], trace);
    const records = readTrace(trace);
    const said = records.findIndex(({ label, content }) => label === 'state.write' && isClean(content));
    const synced = records.slice(0, said).filter(({ op }) => op === 'synced');
    for (const label of ['db.sync', 'wal.sync', 'log.sync', 'sums.sync']) {
      assert.ok(
        synced.some((record) => record.label === label),
        label,
      );
    }
  } finally {
    source.close();
    await bench.discard();
  }
});

test('where a replica’s sync is left out, it is found', async () => {
  const trace = join(folder, 'unsynced-replica');
  const faults = 'journal.sync SKIP\n';
  await recordReplica({ path: trace, times: 1, workloads: ['truncate'], faults });
  assert.ok(outOfOrder(loadTrace(trace)).some((text) => /truncate\.db-journal is not durable/.test(text)));
  const { violations } = await explore({ trace, seed: 1, states: 150, maxViolations: 1 });
  assert.match(violations[0]?.error ?? '', /^(truncate|delete)\.db, after its recovery/);
});

test.run();
