import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Position, ZERO_POSITION } from '../../src/ltx/index.js';
import { DatabaseFlow, Window } from '../../src/replication/follower-state.js';

const at = (txid: number): Position => (txid === 0 ? ZERO_POSITION : { txid, checksum: BigInt(txid) });

/** A database whose log reaches from `first` to `last`. */
function database(first: number, last: number) {
  const get = (txid: number) => (txid >= first && txid <= last ? { before: at(txid - 1), after: at(txid) } : undefined);
  return { position: at(last), pageSize: 4096, pageCount: 10, log: { first, last, bytes: 100, get } };
}

function flowAt(txid: number, first: number, last: number): DatabaseFlow {
  const flow = new DatabaseFlow('app.db');
  flow.begin(at(txid), database(first, last));
  return flow;
}

test('live: pushed while there is room, from the log after that', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  assert.is(flow.mode, 'live');
  for (let txid = 6; txid <= 10; txid++) {
    assert.ok(flow.logged(txid, 200, window, true, 0));
    flow.took(200, window, 0);
    flow.advanced(at(txid));
  }
  assert.not(flow.logged(11, 200, window, true, 0));
  assert.is(flow.mode, 'catching-up');
  assert.not(flow.logged(12, 200, window, true, 0), 'not before 11');
  assert.ok(flow.acknowledged(at(8), 600, window, 1));
  const step = flow.next(database(1, 12));
  assert.is(step.kind === 'entry' && step.entry.after.txid, 11);
});

test('live again when the log has no more', () => {
  const flow = flowAt(3, 1, 5);
  assert.is(flow.next(database(1, 5)).kind, 'entry');
  flow.advanced(at(4));
  flow.advanced(at(5));
  assert.is(flow.next(database(1, 5)).kind, 'none');
  assert.is(flow.mode, 'live');
});

test('no room in the socket: from the log', () => {
  const flow = flowAt(5, 1, 5);
  assert.not(flow.logged(6, 1, new Window(1000, 4000), false, 0));
  assert.is(flow.mode, 'catching-up');
});

test('a transaction that was sent from the log already is not sent again', () => {
  const flow = flowAt(5, 1, 5);
  flow.advanced(at(7));
  assert.not(flow.logged(6, 1, new Window(1000, 4000), true, 0));
  assert.is(flow.mode, 'live');
});

const turns: [what: string, sent: number, first: number, last: number, reason: string][] = [
  ['the log was pruned beyond what was sent', 3, 6, 9, 'behind'],
  ['the primary went back', 12, 1, 9, 'diverged'],
];
for (const [what, sent, first, last, reason] of turns) {
  test(`a snapshot when ${what}`, () => {
    const flow = flowAt(2, 1, 9);
    flow.advanced(at(sent));
    const step = flow.next(database(first, last));
    assert.is(step.kind === 'snapshot' && step.reason, reason);
    flow.advanced(at(last));
    assert.is(flow.next(database(first, last)).kind, 'none');
    assert.is(flow.mode, 'live');
  });
}

test('a snapshot when what was sent is not what the log goes on from', () => {
  for (const last of [5, 9]) {
    const flow = flowAt(2, 1, 9);
    flow.advanced({ txid: 5, checksum: 77n });
    const step = flow.next(database(1, last));
    assert.is(step.kind === 'snapshot' && step.reason, 'diverged');
  }
});

test('the window: databases that are stuck leave room for others', () => {
  const window = new Window(8, 32);
  const stuck = Array.from({ length: 20 }, (_, i) => new DatabaseFlow(`${i}.db`));
  for (const flow of stuck) while (window.mayTake(flow, 1)) flow.took(1, window, 0);
  assert.is(stuck[0]!.unackedBytes, 8);
  assert.ok(stuck.every(({ unackedBytes }) => unackedBytes >= 1));
  assert.ok(window.unackedBytes <= 32 + 20);
  assert.ok(window.mayTake(new DatabaseFlow('other.db'), 1));
});

test('acknowledging more than was sent is refused', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  flow.took(100, window, 0);
  assert.not(flow.acknowledged(null, 101, window, 0));
  assert.ok(flow.acknowledged(null, 100, window, 0));
  assert.is(window.unackedBytes, 0);
});

test('what a replica holds that is not of this history does not count as acknowledged', () => {
  const flow = new DatabaseFlow('app.db');
  flow.begin({ txid: 50, checksum: 77n }, database(1, 40));
  assert.is(flow.acked.txid, 0);
  assert.ok(flow.acknowledged(at(60), 0, new Window(1, 1), 0));
  assert.is(flow.acked.txid, 0, 'beyond what was sent');
});

test('dropped and made again: late acknowledgements of the old one do not count', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  flow.took(10, window, 0);
  flow.dropped(128, window, 0);
  assert.not(flow.finished);
  flow.begin(undefined, database(1, 2));
  flow.advanced(at(1));
  flow.advanced(at(2));
  assert.ok(flow.acknowledged(at(1), 10, window, 0));
  assert.is(flow.acked.txid, 0);
  assert.ok(flow.acknowledged(ZERO_POSITION, 128, window, 0));
  assert.ok(flow.acknowledged(at(1), 0, window, 0));
  assert.is(flow.acked.txid, 1);
});

test('dropped: forgotten when everything is acknowledged', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  flow.dropped(128, window, 0);
  assert.not(flow.settled);
  assert.ok(flow.acknowledged(ZERO_POSITION, 128, window, 0));
  assert.ok(flow.finished && flow.settled);
});

test('lag: since when the oldest missing transaction is missing', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  assert.is(flow.lagMs(1000), 0);
  for (const [txid, nowMs] of [
    [6, 100],
    [7, 200],
  ] as const) {
    flow.logged(txid, 1, window, true, nowMs);
    flow.advanced(at(txid));
  }
  assert.is(flow.lagMs(1000), 900);
  flow.acknowledged(at(7), 0, window, 1000);
  assert.is(flow.lagMs(1000), 0);
  flow.noteBehind(9, 1100);
  assert.is(flow.lagMs(1250), 150);
});

test('stuck: nothing acknowledged for too long, or the replica said so', () => {
  const flow = flowAt(5, 1, 5);
  const window = new Window(1000, 4000);
  assert.not(flow.isStuck(99_999, 100));
  flow.took(10, window, 1000);
  assert.not(flow.isStuck(1100, 100));
  assert.ok(flow.isStuck(1101, 100));
  flow.acknowledged(null, 5, window, 1200);
  assert.not(flow.isStuck(1300, 100));
  flow.problem = 'REPLICA_FAILED: disk full';
  assert.ok(flow.isStuck(1300, 100));
});

test.run();
