import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { isAuthorized, requireToken } from '../../src/replication/auth.js';
import { backoffMs } from '../../src/replication/backoff.js';
import { ContentAge, PrimaryClock } from '../../src/replication/content-age.js';
import { Fifo } from '../../src/replication/fifo.js';
import { isLoopback } from '../../src/replication/index.js';
import { SilenceWatch } from '../../src/replication/silence-watch.js';
import { Turns } from '../../src/replication/turns.js';

test('loopback: only addresses that no other machine can reach', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost', 'LOCALHOST', '::ffff:127.0.0.1']) {
    assert.ok(isLoopback(host), host);
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '127.0.0.1.example.com',
    '127.example',
    'localhost.example',
    '::2',
    '',
  ]) {
    assert.not(isLoopback(host), host);
  }
});

test('without a token only loopback may be listened on', () => {
  requireToken('127.0.0.1', undefined);
  requireToken('0.0.0.0', 'secret');
  for (const token of [undefined, '']) {
    try {
      requireToken('0.0.0.0', token);
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof SluiceError && error.code === 'TOKEN_REQUIRED');
      assert.match(error.hint, /replication\.token/);
    }
  }
});

test('authorization', () => {
  assert.ok(isAuthorized('Bearer secret', 'secret'));
  for (const header of [undefined, '', 'secret', 'bearer secret', 'Bearer secret ', 'Bearer secre', 'Bearer secrets']) {
    assert.not(isAuthorized(header, 'secret'), String(header));
  }
  assert.ok(isAuthorized(undefined, undefined));
});

test('back-off doubles, stays within its limits, and is spread', () => {
  assert.is(
    backoffMs(0, 50, 5000, () => 0),
    25,
  );
  assert.is(
    backoffMs(0, 50, 5000, () => 1),
    50,
  );
  assert.is(
    backoffMs(3, 50, 5000, () => 1),
    400,
  );
  fc.assert(
    fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (attempt, random) => {
      const ms = backoffMs(attempt, 50, 5000, () => random);
      assert.ok(ms >= 25 && ms <= 5000);
    }),
  );
});

test('content age: since the oldest that is missing was committed', () => {
  const age = new ContentAge();
  age.reset(5);
  assert.is(age.lagMs(10_000, undefined), 0);
  age.heard(7, 9_000);
  age.heard(9, 9_900);
  assert.is(age.lagMs(10_000, undefined), 1_000, 'the first heard of counts');
  assert.is(age.lagMs(10_000, 8_500), 1_500, 'what waits here is older');
  age.appliedTo(6);
  assert.is(age.lagMs(10_000, undefined), 1_000);
  age.appliedTo(8);
  assert.is(age.lagMs(10_000, undefined), 0);
  age.heard(8, 9_950);
  assert.is(age.lagMs(10_000, undefined), 0, 'already here');
  age.heard(9, 10_500);
  assert.is(age.lagMs(10_000, undefined), 0, 'never negative');
});

test('the primary’s clock: the least delayed heartbeat counts, and old ones are forgotten', () => {
  const clock = new PrimaryClock();
  clock.heard(1_000, 6_040);
  clock.heard(2_000, 7_005);
  clock.heard(3_000, 8_500);
  assert.is(clock.at(10_000), 4_995);
  for (let i = 0; i < 16; i++) clock.heard(0, 3_000);
  assert.is(clock.at(10_000), 7_000);
});

test('a queue gives what it got, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 5000 }), (pushes) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      pushes.forEach((push, i) => {
        if (push) {
          fifo.push(i);
          model.push(i);
        } else assert.is(fifo.shift(), model.shift());
        assert.is(fifo.length, model.length);
        assert.is(fifo.peek(), model[0]);
      });
    }),
    { numRuns: 20 },
  );
  const long = new Fifo<number>();
  for (let i = 0; i < 5000; i++) long.push(i);
  for (let i = 0; i < 5000; i++) assert.is(long.shift(), i);
  assert.is(long.shift(), undefined);
});

test('turns: one step each, in turn', () => {
  const turns = new Turns<string>();
  const left: Record<string, number> = { a: 4, b: 2, c: 1 };
  for (const name of Object.keys(left)) turns.add(name);
  const order: string[] = [];
  const step = (name: string): number | 'idle' => {
    order.push(name);
    left[name]!--;
    return left[name]! > 0 ? 10 : 'idle';
  };
  assert.not(turns.run(1000, () => true, step));
  assert.is(order.join(''), 'abcabaa');
});

test('turns: the budget ends a run, no room too, and what is blocked waits until there is room', () => {
  const turns = new Turns<string>();
  turns.add('a');
  assert.ok(
    turns.run(
      30,
      () => true,
      () => 10,
    ),
    'used up',
  );
  let steps = 0;
  const blocked = (): 'blocked' => {
    steps++;
    return 'blocked';
  };
  assert.not(turns.run(30, () => false, blocked));
  assert.is(steps, 0);
  assert.not(turns.run(30, () => true, blocked));
  assert.not(turns.run(30, () => true, blocked));
  assert.is(steps, 1);
  turns.unblock();
  turns.run(30, () => true, blocked);
  assert.is(steps, 2);
  turns.remove('a');
  turns.unblock();
  turns.run(30, () => true, blocked);
  assert.is(steps, 2);
});

test('silence: so many checks without a byte', () => {
  const socket = { bytesRead: 0 };
  const watch = new SilenceWatch(socket, 10, 30);
  assert.equal([watch.isSilent(), watch.isSilent(), watch.isSilent()], [false, false, false]);
  assert.is(watch.isSilent(), true);
  socket.bytesRead = 1;
  assert.is(watch.isSilent(), false);
});

test.run();
