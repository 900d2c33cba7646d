import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HaltTrust } from '../../src/forwarding/halt-trust.js';

const test = suite('forwarding/halt-trust');

const LIMITS = { silenceMs: 5000, holdMs: 30_000 };

test('it is counted from what was sent, not from when the answer came', () => {
  const trust = new HaltTrust();
  trust.asked(1000);
  assert.is(trust.untilMs, 0, 'nothing is had');
  trust.halted(LIMITS);
  assert.is(trust.untilMs, 6000);
});

test('what the primary answers prolongs it, and what it answered before does not shorten it', () => {
  const trust = new HaltTrust();
  trust.heard(900);
  trust.asked(1000);
  trust.halted(LIMITS);
  trust.heard(3000);
  assert.is(trust.untilMs, 8000);
  trust.heard(2000);
  assert.is(trust.untilMs, 8000);
});

test('a halt that was long in coming began after what was answered meanwhile', () => {
  const trust = new HaltTrust();
  trust.asked(1000);
  trust.heard(60_000);
  assert.is(trust.untilMs, 0);
  trust.halted(LIMITS);
  assert.is(trust.untilMs, 65_000);
  for (const sentMs of [70_000, 80_000, 89_000]) trust.heard(sentMs);
  assert.is(trust.untilMs, 90_000, 'no longer than the primary lets anybody have it');
});

test('the next one is counted anew', () => {
  const trust = new HaltTrust();
  trust.asked(1000);
  trust.halted(LIMITS);
  trust.asked(40_000);
  assert.is(trust.untilMs, 0);
  trust.halted({ silenceMs: 100, holdMs: 50 });
  assert.is(trust.untilMs, 40_050);
});

test.run();
