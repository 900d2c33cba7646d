import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testSeed } from '../database/support/random.js';
import { stopAll } from '../support/cluster.js';
import { explore } from './power/explorer.js';
import { record } from './power/recording.js';

/** The short form of `npm run soak -- power`. */
const test = suite('power loss');
const STATES = 300;
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

test.run();
