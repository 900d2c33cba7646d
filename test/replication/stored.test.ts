import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LtxHeader, Position } from '../../src/ltx/index.js';
import { CLIENT_LIMITS } from '../../src/replication/limits.js';
import type { Message } from '../../src/replication/messages.js';
import { ReplicaDatabase, type ReplicaDatabaseContext } from '../../src/replication/replica-database.js';
import { eventually, FakeDatabase, FakeSink } from './fakes.js';

const test = suite('what a replica says to be stored');

/** A sink with a log, which takes what follows at once. */
class LoggingSink extends FakeSink {
  logged: number[] = [];
  last = 0;

  logAhead(_name: string, _ltx: Uint8Array, header: LtxHeader): Position | undefined {
    if (header.minTxid !== this.last + 1) return undefined;
    this.last = header.maxTxid;
    this.logged.push(header.maxTxid);
    return { txid: header.maxTxid, checksum: header.postApply };
  }
}

/** One database of a replica, between a primary and a sink that the test plays. */
class Rig {
  readonly sink = new LoggingSink();
  readonly source = new FakeDatabase('a.db');
  readonly sent: Message[] = [];
  readonly replica: ReplicaDatabase;
  wantsStored = true;

  constructor() {
    const context: ReplicaDatabaseContext = {
      sink: this.sink,
      limits: { ...CLIENT_LIMITS, retryMinMs: 1, retryMaxMs: 2 },
      random: () => 0,
      wantsStored: () => this.wantsStored,
      send: (message) => this.sent.push(message),
      queued: () => undefined,
      applied: () => undefined,
      reached: () => undefined,
      dropped: () => undefined,
      failed: () => undefined,
      now: Date.now,
    };
    this.replica = new ReplicaDatabase('a.db', context);
  }

  connect(gate?: Promise<void>): void {
    this.replica.helloSaid();
    this.replica.connected(this.sink.positionOf('a.db'), undefined, gate);
  }

  /** The primary's next transaction comes. */
  next(): void {
    const ltx = this.source.commit();
    this.replica.receive({ type: 'transaction', name: 'a.db', ltx: Buffer.from(ltx) });
  }

  take(): string[] {
    return this.sent.splice(0).map((message) => {
      if (message.type === 'stored') return `stored ${message.position.txid}`;
      if (message.type === 'ack') return `ack ${message.position?.txid}`;
      return message.type;
    });
  }

  /** Bytes that were given back. */
  credit(): number {
    return this.sent.reduce((sum, message) => sum + (message.type === 'ack' ? message.bytes : 0), 0);
  }

  /** Waits until the primary knows that it is applied up to there. */
  acked(txid: number): Promise<void> {
    const isAcked = (message: Message) => message.type === 'ack' && message.position?.txid === txid;
    return eventually(() => this.sent.some(isAcked), `the acknowledgement of ${txid}`);
  }
}

let rig: Rig;
test.before.each(() => {
  rig = new Rig();
});

test('it is said at once, before the sink has taken it; one acknowledgement comes for several, with all of their window', async () => {
  rig.connect();
  for (let n = 1; n <= 3; n++) {
    rig.next();
    assert.is(rig.sent.filter(({ type }) => type === 'stored').length, n, 'in the turn in which it came');
  }
  assert.is(rig.sink.received, 0);
  await rig.acked(3);
  const bytes = rig.credit();
  assert.equal(rig.take(), ['stored 1', 'stored 2', 'stored 3', 'ack 3']);
  rig.wantsStored = false;
  for (let n = 0; n < 3; n++) rig.next();
  await rig.acked(6);
  assert.is(rig.credit(), bytes, 'what is not held back gives back the same');
});

test('a primary that does not want it is told of what is applied, each at once', async () => {
  rig.wantsStored = false;
  rig.connect();
  for (let n = 1; n <= 3; n++) {
    rig.next();
    await rig.replica.settled();
    assert.equal(rig.take(), [`ack ${n}`]);
  }
  assert.equal(rig.sink.logged, []);
});

test('nothing is logged before what it has to wait for after a connection', async () => {
  let open = () => {};
  rig.connect(
    new Promise((resolve) => {
      open = resolve;
    }),
  );
  rig.next();
  assert.equal([rig.sink.logged, rig.take()], [[], []]);
  open();
  await rig.acked(1);
  rig.sink.last = 1;
  rig.take();
  rig.next();
  assert.equal(rig.take(), ['stored 2'], 'the next one is');
});

test('an acknowledgement that is held back comes before a failure is told, which it would clear', async () => {
  rig.connect();
  rig.next();
  await rig.replica.settled();
  assert.equal(rig.take(), ['stored 1']);
  let failures = 1;
  rig.sink.before = () => {
    if (failures-- > 0) throw new Error('no space');
  };
  rig.next();
  await rig.acked(2);
  assert.equal(rig.take(), ['stored 2', 'ack 1', 'database-problem', 'ack 2']);
});

test('what was held back for one connection is not said on the next', async () => {
  rig.connect();
  rig.next();
  await rig.replica.settled();
  assert.equal(rig.take(), ['stored 1']);
  rig.replica.disconnected();
  rig.connect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(rig.take(), []);
  rig.next();
  await rig.acked(2);
  assert.equal(rig.take(), ['stored 2', 'ack 2']);
});

test.run();
