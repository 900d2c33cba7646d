import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testSeed } from '../database/support/random.js';
import { Campaign } from './crash/campaign.js';

// Time limit: 10 min

/** The short form of `npm run soak -- crash`. */
const ROUNDS = Number(process.env.SLUICE_TEST_ROUNDS ?? 5);
const seed = testSeed();

const test = suite('kill -9 of anything at any moment');

test('nothing is lost, no position goes back, replica and restored backup are the same, nothing is left behind', async () => {
  const lines: string[] = [];
  const report = (line: string) => lines.push(line);
  // Where this seed is even, the locks are the kernel's: both modes have their turn.
  const locks = seed % 2 === 0 ? 'kernel' : 'sluice';
  const { commits } = await new Campaign({ rounds: ROUNDS, seed, locks, restoreEvery: ROUNDS, report }).run();
  assert.is(lines.length, ROUNDS);
  assert.ok(commits > 0);
});

test.run();
