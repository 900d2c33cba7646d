import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HALT_LIMITS } from '../../src/forwarding/limits.js';
import { type TurnFacts, turnStep } from '../../src/forwarding/turn-rule.js';

const test = suite('turnStep');

const LIMITS = { ...HALT_LIMITS, turnMs: 1000, holdMs: 30_000, silenceMs: 5000 };
const FACTS: TurnFacts = { sinceMs: 100_000, heardMs: 100_000, isByHand: false, isAwaited: false, asked: 'no' };

const CASES: readonly (readonly [string, Partial<TurnFacts>, number, object])[] = [
  ['just granted', {}, 100_000, { kind: 'go on', inMs: 1000 }],
  ['in its time', {}, 100_400, { kind: 'go on', inMs: 600 }],
  ['another replica waits', { isAwaited: true }, 100_001, { kind: 'ask back', how: 'now', inMs: 4999 }],
  ['asked already', { isAwaited: true, asked: 'now' }, 100_001, { kind: 'go on', inMs: 4999 }],
  ['its time is over', { heardMs: 101_000 }, 101_000, { kind: 'ask back', how: 'with next', inMs: 5000 }],
  ['over, and asked', { heardMs: 101_000, asked: 'with next' }, 101_500, { kind: 'go on', inMs: 4500 }],
  [
    'asked for its next, and now another waits',
    { heardMs: 101_000, asked: 'with next', isAwaited: true },
    101_500,
    { kind: 'ask back', how: 'now', inMs: 4500 },
  ],
  ['nothing heard', {}, 105_000, { kind: 'take back', why: 'silent' }],
  ['heard just now', { heardMs: 104_999, asked: 'now' }, 105_000, { kind: 'go on', inMs: 4999 }],
  ['near the end of all', { heardMs: 129_999, asked: 'now' }, 129_999, { kind: 'go on', inMs: 1 }],
  ['held for too long', { heardMs: 129_999, asked: 'now' }, 130_000, { kind: 'take back', why: 'too long' }],
];

for (const [name, facts, nowMs, step] of CASES) {
  test(name, () => assert.equal(turnStep({ ...FACTS, ...facts }, LIMITS, nowMs), step));
}

const QUICK = { ...LIMITS, turnMs: 10, holdMs: 100, holdByHandMs: 1000, silenceMs: 50 };
const at = (nowMs: number, more: Partial<TurnFacts> = {}) =>
  turnStep({ ...FACTS, sinceMs: 0, heardMs: nowMs, ...more }, QUICK, nowMs);

test('by hand it is not asked back, and has a limit of its own', () => {
  assert.equal(at(10, { isByHand: true }), { kind: 'go on', inMs: 50 });
  assert.equal(at(500, { isByHand: true, isAwaited: true }), { kind: 'go on', inMs: 50 });
  assert.equal(at(970, { isByHand: true }), { kind: 'go on', inMs: 30 });
  assert.equal(at(1000, { isByHand: true }), { kind: 'take back', why: 'too long' });
});

test('who is silent loses it, by hand too', () => {
  for (const isByHand of [false, true]) {
    assert.equal(at(60, { isByHand, heardMs: 10 }), { kind: 'take back', why: 'silent' });
  }
});

test.run();
