import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HALT_LIMITS } from '../../src/forwarding/index.js';
import { type TurnFacts, turnStep } from '../../src/forwarding/turn-rule.js';

const test = suite('forwarding/turn-rule');

const limits = { ...HALT_LIMITS, turnMs: 10, holdMs: 100, holdByHandMs: 1000, silenceMs: 50 };
const facts: TurnFacts = { sinceMs: 0, heardMs: 0, isByHand: false, isAwaited: false, wasAsked: false };
const at = (nowMs: number, more: Partial<TurnFacts> = {}) =>
  turnStep({ ...facts, heardMs: nowMs, ...more }, limits, nowMs);

test('a turn ends after its time, at once when others wait, and is taken back after its limit', () => {
  assert.equal(at(4), { kind: 'go on', inMs: 6 });
  assert.equal(at(4, { isAwaited: true }), { kind: 'ask back', inMs: 50 });
  assert.equal(at(10), { kind: 'ask back', inMs: 50 });
  assert.equal(at(70, { wasAsked: true }), { kind: 'go on', inMs: 30 });
  assert.equal(at(100), { kind: 'take back', why: 'too long' });
});

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
