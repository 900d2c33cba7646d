import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DurabilityRule } from '../../src/config/index.js';
import { CommitWait, storedBy } from '../../src/durability/commit-wait.js';

const test = suite('durability/commit-wait');

const DEGRADE: DurabilityRule = { until: 'replicas', replicas: 1, timeoutMs: 1000, onTimeout: 'degrade' };
const REFUSE: DurabilityRule = { ...DEGRADE, onTimeout: 'refuse' };
const at = (txid: number) => ({ txid, checksum: BigInt(txid) });

test('what is stored is told once, and never less', () => {
  const wait = new CommitWait(DEGRADE, at(5));
  assert.equal(wait.reached(4, 0), [{ kind: 'stored', txid: 4 }]);
  assert.equal(wait.reached(4, 1), []);
  assert.equal(wait.reached(3, 2), []);
  assert.equal(wait.reached(6, 3), [{ kind: 'stored', txid: 6 }]);
});

test('the time of a commit begins when it is first seen to wait, and ends once', () => {
  const wait = new CommitWait(REFUSE, at(5));
  assert.is(wait.deadlineMs, undefined);
  assert.ok(wait.awaits(1, 100));
  assert.not(wait.awaits(1, 900));
  assert.equal([wait.since(1), wait.since(0), wait.since(2)], [100, undefined, undefined]);
  assert.is(wait.deadlineMs, 1100);
  assert.is(wait.tick(1, 1099, false), undefined);
  assert.is(wait.tick(0, 1100, false), undefined);
  assert.is(wait.tick(2, 1100, false), undefined);
  assert.equal(wait.tick(1, 1100, false), { kind: 'refuse', number: 1 });
  assert.is(wait.tick(1, 5000, false), undefined);
  assert.is(wait.deadlineMs, undefined);
  assert.equal([wait.refused, wait.degraded, wait.refusingSinceMs], [1, 0, 1100]);
  assert.ok(wait.awaits(2, 6000));
  assert.equal(wait.tick(2, 7000, false), { kind: 'refuse', number: 2 });
  assert.is(wait.refusingSinceMs, 1100);
  wait.reached(7, 8000);
  assert.is(wait.refusingSinceMs, undefined);
});

test('what a replica’s application was told already is not refused', () => {
  const wait = new CommitWait(REFUSE, at(5));
  wait.awaits(1, 0);
  assert.equal(wait.tick(1, 1000, true), { kind: 'let go', number: 1 });
  assert.equal([wait.refused, wait.degraded, wait.degradedSinceMs], [0, 1, undefined]);
});

test('degraded: all that is committed is counted, until others have in time what was committed', () => {
  const wait = new CommitWait(DEGRADE, at(5));
  wait.awaits(1, 0);
  assert.equal(wait.tick(1, 1000, false), { kind: 'degrade', number: 1 });
  wait.moved(at(6), 1100);
  wait.moved(at(7), 1200);
  assert.equal([wait.degraded, wait.degradedSinceMs], [3, 1000]);
  // Too late for what was committed at 1000: the next aim is what is committed at 2300.
  assert.equal(wait.reached(5, 2100), [{ kind: 'stored', txid: 5 }]);
  wait.moved(at(8), 2300);
  wait.moved(at(9), 2400);
  assert.equal(wait.reached(7, 2500), [{ kind: 'stored', txid: 7 }]);
  assert.equal(wait.reached(8, 2600), [{ kind: 'stored', txid: 8 }, { kind: 'recover' }]);
  assert.is(wait.degradedSinceMs, undefined);
  wait.moved(at(10), 2700);
  assert.is(wait.degraded, 5);
});

test('commits fail until one has come there: that it is taken back leads to what they have, and is no sign of them', () => {
  const wait = new CommitWait({ ...DEGRADE, onTimeout: 'refuse' }, at(5));
  wait.moved(at(6), 0);
  wait.awaits(1, 0);
  assert.is(wait.tick(1, 1000, false)?.kind, 'refuse');
  wait.moved(at(7), 1001);
  assert.equal(wait.reached(7, 1001, 5), [{ kind: 'stored', txid: 7 }]);
  assert.is(wait.refusingSinceMs, 1000);
  wait.moved(at(8), 2000);
  wait.awaits(2, 2000);
  wait.tick(2, 3000, false);
  assert.equal([wait.refused, wait.refusingSinceMs], [2, 1000], 'since the first of them');
  wait.reached(8, 3001, 8);
  assert.is(wait.refusingSinceMs, undefined);
});

test('degraded, and nothing is committed: who has everything ends it, however late', () => {
  const wait = new CommitWait(DEGRADE, at(5));
  wait.awaits(1, 0);
  wait.tick(1, 1000, false);
  assert.equal(wait.reached(5, 99_000), [{ kind: 'stored', txid: 5 }, { kind: 'recover' }]);
});

test('stored by so many: the N-th of them; the same content counts as the same', () => {
  assert.is(storedBy(1, [], at(5)), 0);
  assert.is(storedBy(1, [at(3), at(5), at(4)], at(5)), 5);
  assert.is(storedBy(2, [at(3), at(5), at(4)], at(5)), 4);
  assert.is(storedBy(3, [at(3), at(5), at(4)], at(5)), 3);
  assert.is(storedBy(4, [at(3), at(5), at(4)], at(5)), 0);
  assert.is(storedBy(1, [at(3)], { txid: 5, checksum: 3n }), 5);
});

test.run();
