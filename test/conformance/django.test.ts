// Time limit: 10 min
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stopAll } from '../support/cluster.js';
import { type Baselines, runSuites, type Verdict } from './campaign.js';
import { djangoPart, judgeNoted } from './django-suite.js';
import { MountedPlace, type Place, PlainPlace } from './place.js';
import { Staged } from './staged.js';

/**
 * A part of Django's own tests of its database layer, on ext4, on a primary's mount and on that of a replica, where each
 * write is committed on the primary; `npm run conformance -- django` runs more. What passes on ext4 passes there, and what
 * they leave is the same on both nodes and in the backup.
 */

const LIMIT_MS = 240_000;

const test = suite("Django's tests");
test.after(stopAll);

const staged = new Staged();
const part = djangoPart(staged, LIMIT_MS);
const baselines: Baselines = new Map();

if (typeof part !== 'string') {
  const places: [string, () => Promise<Place>][] = [
    ['on ext4', async () => new PlainPlace()],
    ["on a primary's mount", () => MountedPlace.open('kernel')],
    ["on a replica's mount", () => MountedPlace.open('sluice', 'replica')],
  ];
  for (const [name, open] of places) {
    test(name, async () => {
      const place = await open();
      const verdicts: Verdict[] = [];
      await runSuites([part], place, baselines, (_, verdict) => verdicts.push(verdict));
      assert.equal(
        verdicts.flatMap(({ complaints }) => complaints),
        [],
      );
      if (place.plain)
        assert.equal(
          verdicts.flatMap(({ outcome }) => outcome.failed),
          [],
        );
      else assert.ok(verdicts.every(({ leftOver }) => leftOver.compared > 0));
      assert.equal(await place.close(), []);
    });
  }
} else if (process.env.CI === 'true') {
  throw new Error(`${part}: run node scripts/conformance-tools.mjs django`);
} else {
  console.log(`SKIP ${part} (node scripts/conformance-tools.mjs django)`);
}

test('a test that notes several outcomes has the worst of them', () => {
  const line = (name: string, outcome: string) => `${JSON.stringify({ test: name, outcome, why: '' })}\n`;
  const noted = [
    ['a', 'passed'],
    ['b', 'failed'],
    ['b', 'passed'],
    ['c', 'skipped'],
    ['d', 'passed'],
    ['d', 'failed'],
    ['e', 'skipped'],
    ['e', 'passed'],
    ['f', 'passed'],
    ['f', 'skipped'],
  ] as const;
  assert.equal(judgeNoted(noted.map(([name, outcome]) => line(name, outcome)).join('')), {
    cases: 5,
    passed: ['a', 'e', 'f'],
    failed: ['b', 'd'],
    skipped: ['c'],
  });
});

test.run();
