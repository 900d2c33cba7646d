import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Survival } from './survive/survival.js';

// Time limit: 10 min

/** The short form of `npm run soak -- survive`. */
const TIMES = 5;

const test = suite('a mount survives its nodes');

for (const locks of ['kernel', 'sluice'] as const) {
  test(`applications in the middle of transactions only see a pause, and keep their locks (locks: ${locks})`, async () => {
    const result = await new Survival({ times: TIMES, locks, report: () => undefined }).run();
    assert.is(result.deaths, 1);
    assert.is(result.unansweredMs.length, 2);
    assert.ok(result.commits > 0);
  });
}

test.run();
