import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { eventually, FakeDatabase, FakeSink } from './fakes.js';
import { withPair } from './pair.js';

test('live: transactions arrive in order and are acknowledged', () =>
  withPair(async (pair) => {
    await pair.start();
    pair.databases.commit('app.db', 50);
    await pair.same();
    assert.equal(pair.sink.historyOf('app.db').slice(-3), ['t48', 't49', 't50']);
    await eventually(() => pair.server.followers()[0]?.databases[0]?.txid === '0000000000000032', 'acknowledged');
    assert.is(pair.server.followers()[0]?.databases[0]?.state, 'live');
    assert.is(pair.client.status().connected, true);
    assert.equal(pair.client.problems(), []);
    await eventually(() => pair.client.lagMs() === 0 && pair.server.followers()[0]?.lagMs === 0, 'no lag');
  }));

test('a new replica gets a short log as it is, and a long one as a snapshot', () =>
  withPair(async (pair) => {
    pair.databases.commit('short.db', 1, 3);
    pair.databases.commit('long.db', 40, 20);
    await pair.start();
    assert.equal(pair.sink.historyOf('short.db'), ['t1']);
    assert.equal(pair.sink.historyOf('long.db'), ['snapshot new 40']);
    await pair.same();
  }));

test('catch-up: a replica that was away reads the log from where it was', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3);
    await pair.start();
    await pair.same();
    await pair.client.stop();
    pair.databases.commit('app.db', 100);
    const again = pair.follow();
    await pair.caughtUp(again);
    assert.equal(pair.sink.historyOf('app.db').slice(-2), ['t102', 't103']);
    assert.is(pair.databases.get('app.db')!.snapshots, 0);
  }));

test('behind: where the log no longer reaches, a snapshot', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3);
    await pair.start();
    await pair.client.stop();
    pair.databases.commit('app.db', 10);
    pair.databases.get('app.db')!.prune(6);
    await pair.caughtUp(pair.follow());
    assert.is(pair.sink.historyOf('app.db').at(-1), 'snapshot behind 13');
    assert.equal(pair.sink.asides, []);
  }));

test('diverged: another history under the same TXIDs is set aside', () =>
  withPair(async (pair) => {
    for (const txids of [2, 5, 9]) {
      const other = new FakeDatabase(`${txids}.db`, 'other branch');
      for (let i = 0; i < txids; i++) other.commit();
      pair.sink.copies.set(other.name, { position: other.position, history: [] });
      pair.databases.commit(other.name, 5);
    }
    await pair.start();
    await pair.same();
    assert.equal(pair.sink.asides.sort(), ['2.db', '5.db', '9.db']);
    assert.equal(pair.sink.historyOf('9.db'), ['snapshot diverged 5']);
  }));

test('databases that the primary does not have are set aside', () =>
  withPair(async (pair) => {
    const other = new FakeDatabase('only-here.db');
    other.commit();
    pair.sink.copies.set(other.name, { position: other.position, history: [] });
    pair.databases.commit('app.db');
    await pair.start();
    await eventually(() => !pair.sink.copies.has('only-here.db'), 'set aside');
    assert.equal(pair.sink.retained, [['app.db']]);
  }));

test('a transaction too large for one message', () =>
  withPair(async (pair) => {
    await pair.start();
    pair.databases.commit('app.db', 2);
    pair.databases.commit('app.db', 1, 700);
    pair.databases.commit('app.db', 2);
    await pair.same();
    assert.equal(pair.sink.historyOf('app.db'), ['t1', 't2', 'large t3', 't4', 't5']);
    await eventually(() => pair.databases.get('app.db')!.openEntries === 0, 'log entry closed');
  }));

test('reset: what is not in the log comes as a snapshot', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3);
    await pair.start();
    pair.databases.reset('app.db');
    await pair.same();
    assert.is(pair.sink.historyOf('app.db').at(-1), 'snapshot behind 4');
    pair.databases.commit('app.db', 2);
    await pair.same();
    assert.is(pair.sink.historyOf('app.db').at(-1), 't6');
  }));

test('drop, and a new database of the same name', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3);
    await pair.start();
    await pair.same();
    pair.databases.drop('app.db');
    await eventually(() => !pair.sink.copies.has('app.db'), 'dropped');
    for (let i = 0; i < 20; i++) {
      pair.databases.commit('app.db', 2, 1, `branch ${i}`);
      if (i < 19) pair.databases.drop('app.db');
    }
    await pair.same();
    assert.equal(pair.sink.asides, []);
    await eventually(() => pair.server.followers()[0]?.databases[0]?.txid === '0000000000000002', 'acknowledged');
  }));

test('a gap: the replica asks for a snapshot of that database only', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3);
    pair.databases.commit('other.db', 3);
    await pair.start();
    pair.sink.copies.get('app.db')!.position = { txid: 1, checksum: 1n << 63n };
    pair.databases.commit('app.db');
    pair.databases.commit('other.db');
    await pair.same();
    assert.match(pair.sink.historyOf('app.db').at(-1)!, /^snapshot .* 4$/);
    assert.is(pair.sink.historyOf('other.db').at(-1), 't4');
    await eventually(() => pair.client.problems().length === 0, 'no problem left');
  }));

test('bad bytes and a wrong checksum: nothing applied, a snapshot, with back-off', async () => {
  const failures: string[] = [];
  const hooks = { failed: (_name: string, code: string) => void failures.push(code) };
  await withPair(
    async (pair) => {
      pair.databases.commit('app.db', 3);
      await pair.start();
      const ltx = pair.databases.get('app.db')!.commit();
      const bad = Uint8Array.from(ltx);
      bad[bad.length - 1]! ^= 1;
      for (const listener of pair.databases.listeners) listener.transaction?.(pair.databases.get('app.db')!, bad);
      await pair.same();
      assert.equal(failures.length, 1);
      assert.match(failures[0]!, /^LTX_/);
      assert.match(pair.sink.historyOf('app.db').at(-1)!, /^snapshot behind 4$/);

      pair.sink.before = () => {
        pair.sink.before = () => {};
        throw new SluiceError('REPLICA_DIVERGED', 'app.db: other checksum');
      };
      pair.databases.commit('app.db');
      await pair.same();
      assert.is(failures[1], 'REPLICA_DIVERGED');
      assert.equal(pair.sink.asides, ['app.db']);
    },
    {},
    { hooks },
  );
});

test('REPLICA_FAILED: tried again with what is queued; other databases go on; the primary shows it', () =>
  withPair(async (pair) => {
    pair.databases.commit('full.db');
    pair.databases.commit('app.db');
    await pair.start();
    let full = true;
    pair.sink.before = (name) => {
      if (full && name === 'full.db') throw new SluiceError('REPLICA_FAILED', 'full.db: no space left on device');
    };
    pair.databases.commit('full.db', 20);
    pair.databases.commit('app.db', 20);
    await pair.same(pair.sink, ['app.db']);
    const stateOf = (name: string) => pair.server.followers()[0]?.databases.find((d) => d.name === name)?.state;
    await eventually(() => stateOf('full.db') === 'stuck', 'stuck');
    assert.is(stateOf('app.db'), 'live');
    assert.is(pair.client.problems()[0]?.code, 'REPLICA_FAILED');
    assert.is(pair.sink.positionOf('full.db').txid, 1);
    full = false;
    await pair.same();
    assert.is(pair.databases.get('full.db')!.snapshots, 0);
    await eventually(() => stateOf('full.db') === 'live' && pair.client.problems().length === 0, 'well again');
  }));

test('a failed large transaction is sent again from the position, without a snapshot', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db');
    await pair.start();
    let failures = 3;
    pair.sink.before = (_name, what) => {
      if (what === 'write' && failures-- > 0) throw new SluiceError('REPLICA_FAILED', 'no space left');
    };
    pair.databases.commit('app.db', 1, 700);
    pair.databases.commit('app.db', 3);
    await pair.same();
    assert.equal(pair.sink.historyOf('app.db'), ['t1', 'large t2', 't3', 't4', 't5']);
    assert.ok(pair.sink.aborted >= 3);
  }));

test('a database that cannot be taken is dropped all the same', () =>
  withPair(
    async (pair) => {
      pair.databases.commit('app.db');
      await pair.start();
      pair.sink.before = (_name, what) => {
        if (what === 'receive') throw new SluiceError('REPLICA_FAILED', 'disk full');
      };
      pair.databases.commit('app.db', 3);
      await eventually(() => pair.client.problems().length === 1, 'failing');
      pair.databases.drop('app.db');
      await eventually(() => !pair.sink.copies.has('app.db'), 'dropped');
      pair.sink.before = () => {};
      pair.databases.commit('app.db', 2, 1, 'new');
      await pair.same();
    },
    {},
    { limits: { retryMinMs: 60_000, retryMaxMs: 60_000 } },
  ));

test('the connection is lost while the sink works: what comes twice is recognised', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db');
    await pair.start();
    let go = (): void => {};
    const held = new Promise<void>((done) => {
      go = done;
    });
    pair.sink.before = () => held;
    pair.databases.commit('app.db', 5);
    await eventually(() => (pair.server.followers()[0]?.databases[0]?.state ?? '') === 'live', 'sent');
    const { port } = new URL(pair.url);
    await pair.server.close();
    await pair.listen('127.0.0.1', Number(port));
    await eventually(() => pair.client.status().connected, 'connected again');
    await eventually(() => pair.server.followers().length === 1, 'followed again');
    go();
    await pair.same();
    assert.equal(pair.sink.historyOf('app.db'), ['t1', 't2', 't3', 't4', 't5', 't6']);
    assert.is(pair.databases.get('app.db')!.snapshots, 0);
  }));

test('caughtUp waits for all databases of the hello', () =>
  withPair(async (pair) => {
    for (let i = 0; i < 5; i++) pair.databases.commit(`${i}.db`, 3);
    let go = (): void => {};
    const held = new Promise<void>((done) => {
      go = done;
    });
    pair.sink.before = (name) => (name === '3.db' ? held : undefined);
    await pair.listen();
    pair.follow();
    let caughtUp = false;
    void pair.client.caughtUp.then(() => {
      caughtUp = true;
    });
    await pair.same(pair.sink, ['0.db', '1.db', '2.db', '4.db']);
    await new Promise((done) => setTimeout(done, 50));
    assert.is(caughtUp, false);
    go();
    await pair.caughtUp();
  }));

test('200 databases, committing at once', () =>
  withPair(async (pair) => {
    await pair.start();
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 200; i++) pair.databases.commit(`tenants/${i}.db`);
      await new Promise((done) => setImmediate(done));
    }
    await pair.same();
    for (let i = 0; i < 200; i++) assert.is(pair.sink.historyOf(`tenants/${i}.db`).length, 10);
    await eventually(
      () => pair.server.followers()[0]?.databases.every(({ state }) => state === 'live') === true,
      'all live',
    );
  }));

test('several replicas, over IPv6, one of them late', () =>
  withPair(
    async (pair) => {
      pair.databases.commit('app.db', 2);
      await pair.listen('::1');
      assert.match(pair.url, /^ws:\/\/\[::1\]:\d+$/);
      pair.follow();
      const second = new FakeSink();
      pair.follow(second);
      pair.databases.commit('app.db', 20);
      const third = new FakeSink();
      pair.follow(third);
      for (const sink of [pair.sink, second, third]) await pair.same(sink);
      assert.is(pair.client.primary(), 'http://primary.example:8080');
      assert.equal(
        pair.server
          .followers()
          .map(({ nodeId }) => nodeId)
          .sort(),
        ['replica-1', 'replica-2', 'replica-3'],
      );
    },
    { advertise: 'http://primary.example:8080' },
  ));

test.run();
