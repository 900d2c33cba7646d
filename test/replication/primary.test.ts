import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { ZERO_POSITION } from '../../src/ltx/index.js';
import { ReplicationServer } from '../../src/replication/index.js';
import { MESSAGE_COST_BYTES } from '../../src/replication/limits.js';
import { encodeMessage, PROTOCOL_VERSION } from '../../src/replication/messages.js';
import { eventually, FakeDatabaseSet, FakeSink, silentLog } from './fakes.js';
import { Pair, withPair } from './pair.js';
import { RawPeer } from './raw-peer.js';

const KIB = 1024;

function codeOf(error: unknown): string {
  return error instanceof SluiceError ? error.code : String(error);
}

test('listening: no token on other than loopback, a port in use, a name that is none', async () => {
  const server = new ReplicationServer({ databases: new FakeDatabaseSet(), nodeId: 'p', log: silentLog });
  const second = new ReplicationServer({ databases: new FakeDatabaseSet(), nodeId: 'p', log: silentLog });
  try {
    for (const host of ['0.0.0.0', '::']) {
      assert.is(await server.listen(host, 0).then(() => 'listens', codeOf), 'TOKEN_REQUIRED', host);
    }
    const { host, port } = await server.listen('localhost', 0);
    assert.ok(port > 0 && (host === '127.0.0.1' || host === '::1'));
    assert.is(await second.listen(host, port).then(() => 'listens', codeOf), 'LISTEN_FAILED');
    assert.is(await second.listen('no.such.host.invalid', 0).then(() => 'listens', codeOf), 'LISTEN_FAILED');
  } finally {
    await server.close();
    await second.close();
  }
});

test('a wrong token is refused, is told on the replica, and never logged; the right one goes', async () => {
  const lines: string[] = [];
  const note = (fields: object, message: string) => void lines.push(message + JSON.stringify(fields));
  const log = { debug: note, info: note, warn: note, error: note };
  await withPair(
    async (pair) => {
      pair.databases.commit('app.db', 3);
      await pair.listen();
      const wrong = pair.follow(new FakeSink(), { token: 'wrong-secret' });
      await eventually(() => wrong.status().lastError !== null, 'refused');
      assert.match(wrong.status().lastError!, /refused the token\. Set replication\.token/);
      assert.is(wrong.status().connected, false);
      assert.is(wrong.lagMs(), null);
      assert.is((await RawPeer.connect(pair.url)).httpStatus, 401);
      const right = new FakeSink();
      pair.follow(right, { token: 'right-secret' });
      await pair.same(right);
      assert.not.match(lines.join('\n'), /secret/);
    },
    { token: 'right-secret', log },
    { log },
  );
});

test('a web page may not connect', () =>
  withPair(async (pair) => {
    await pair.listen();
    assert.is((await RawPeer.connect(pair.url, { origin: 'https://example.com' })).httpStatus, 403);
  }));

test('a replica of another version gets a refusal that names both', () =>
  withPair(async (pair) => {
    await pair.listen();
    const peer = await RawPeer.connect(pair.url);
    peer.send({ type: 'hello', version: 9, nodeId: 'r', name: 'r', positions: new Map() });
    const { code, text } = await peer.got('refuse');
    assert.is(code, 'REPLICATION_VERSION');
    assert.is(text, 'the replica speaks replication protocol 9, the primary 3: run the same version of Sluice on both');
    assert.is(await peer.closed(), 1008);
  }));

test('a node does not follow itself', () =>
  withPair(async (pair) => {
    await pair.listen();
    const peer = await RawPeer.connect(pair.url);
    peer.send({ type: 'hello', version: PROTOCOL_VERSION, nodeId: 'primary', name: '', positions: new Map() });
    assert.is((await peer.got('refuse')).code, 'SAME_NODE');
  }));

const hostile: [string, (peer: RawPeer) => void][] = [
  ['bytes that are no message', (peer) => peer.ws.send(Buffer.from('ddffffffff', 'hex'))],
  ['text', (peer) => peer.ws.send('hello')],
  ['an unknown message', (peer) => peer.ws.send(Buffer.from('920263', 'hex'))],
  ['a message of another version', (peer) => peer.ws.send(Buffer.from('920706', 'hex'))],
  [
    'a message that only a primary sends',
    (peer) => peer.send({ type: 'transaction', name: 'app.db', ltx: Buffer.alloc(1) }),
  ],
  [
    'a second hello',
    (peer) => peer.send({ type: 'hello', version: PROTOCOL_VERSION, nodeId: 'x', name: '', positions: new Map() }),
  ],
  ['an acknowledgement of more than was sent', (peer) => peer.ack('app.db', 1e9)],
  ['an acknowledgement of a database that is not there', (peer) => peer.ack('no.db', 1)],
  ['a message over the limit', (peer) => peer.ws.send(Buffer.alloc(9 * 1024 * KIB))],
];
for (const [what, send] of hostile) {
  test(`hostile replica: ${what}: it is disconnected, others are not`, () =>
    withPair(async (pair) => {
      pair.databases.commit('app.db');
      await pair.start();
      const peer = await RawPeer.replica(pair.url, 'hostile');
      send(peer);
      await peer.closed();
      pair.databases.commit('app.db');
      await pair.same();
      await eventually(() => pair.server.followers().length === 1, 'only the good one is left');
    }));
}

test('a replica that says nothing is disconnected', () =>
  withPair(
    async (pair) => {
      await pair.listen();
      const silent = await RawPeer.connect(pair.url);
      assert.is((await silent.got('refuse')).code, 'HELLO_TIMEOUT');
      const hangs = await RawPeer.replica(pair.url, 'hangs');
      await hangs.closed();
      await eventually(() => pair.server.followers().length === 0, 'gone');
    },
    { limits: { helloMs: 50, silenceMs: 100 } },
  ));

test('a replica that comes again takes the place of its old connection, which is dead', () =>
  withPair(
    async (pair) => {
      await pair.listen();
      const old = await RawPeer.replica(pair.url, 'r');
      old.pause();
      await RawPeer.replica(pair.url, 'r');
      await eventually(() => pair.server.followers().length === 1, 'one is left');
      old.resume();
      await old.closed();
    },
    { limits: { twinMs: 50 } },
  ));

test('two replicas with one node id: the second is told which and what to do, and the first goes on', () =>
  withPair(
    async (pair) => {
      pair.databases.commit('app.db');
      await pair.listen();
      const first = pair.follow(pair.sink, { nodeId: 'twin' });
      await pair.same();
      const copy = new FakeSink();
      const second = pair.follow(copy, { nodeId: 'twin' });
      await eventually(() => second.status().lastError !== null, 'refused');
      assert.is(second.refusal(), 'NODE_ID_TWICE');
      assert.match(second.status().lastError!, /the replica at 127\.0\.0\.1:\d+ has the node id twin too/);
      assert.match(second.status().lastError!, /remove node\.json in its data folder/);
      pair.databases.commit('app.db');
      await pair.same();
      assert.is(first.refusal(), null);
      assert.equal([first.status().connected, first.status().lastError], [true, null]);
      assert.is(pair.server.followers().length, 1);
      await first.stop();
      await pair.same(copy);
      assert.is(second.refusal(), null);
    },
    { limits: { twinMs: 10_000 } },
  ));

test('a replica that does not acknowledge gets no more than its window, others go on, and it goes on from the log', () =>
  withPair(
    async (pair) => {
      const database = pair.databases.commit('app.db', 1);
      await pair.start();
      const peer = await RawPeer.replica(pair.url, 'slow', new Map([['app.db', database.position]]));
      for (let i = 0; i < 100; i++) pair.databases.commit('app.db', 1, 10);
      await pair.same();
      await eventually(() => peer.ltxBytes > 400 * KIB, 'a window full');
      await new Promise((done) => setTimeout(done, 50));
      assert.ok(peer.ltxBytes <= 512 * KIB, `${peer.ltxBytes} bytes without an acknowledgement`);
      const slow = () => pair.server.followers().find(({ nodeId }) => nodeId === 'slow')!;
      await eventually(() => slow().databases[0]!.state === 'stuck', 'stuck');
      let acked = 0;
      await eventually(() => {
        const messages = peer.of('transaction');
        for (; acked < messages.length; acked++)
          peer.ack('app.db', messages[acked]!.ltx.length + MESSAGE_COST_BYTES, null);
        return acked === 100;
      }, 'all 100');
    },
    { limits: { databaseWindowBytes: 512 * KIB, stuckMs: 30 } },
  ));

test('a socket that is not read: the primary’s buffer stays bounded, others go on, and it catches up', () =>
  withPair(
    async (pair) => {
      pair.databases.commit('app.db', 1, 20);
      await pair.start();
      const position = pair.databases.get('app.db')!.position;
      const peer = await RawPeer.replica(pair.url, 'paused', new Map([['app.db', position]]));
      peer.pause();
      let most = 0;
      const paused = () => pair.server.followers().find(({ nodeId }) => nodeId === 'paused')!;
      for (let i = 0; i < 120; i++) {
        pair.databases.commit('app.db', 1, 40);
        if (i % 10 === 0) await pair.same();
        most = Math.max(most, paused().bufferedBytes);
      }
      await pair.same();
      assert.ok(most > 0, 'the socket was full');
      assert.ok(most <= 1024 * KIB + 256 * KIB, `${most} bytes buffered`);
      peer.resume();
      await eventually(() => peer.of('transaction').length === 120, 'all 120');
    },
    {
      limits: {
        databaseWindowBytes: 1e9,
        connectionWindowBytes: 1e9,
        liveBufferBytes: 1024 * KIB,
        bulkBufferBytes: 512 * KIB,
      },
    },
  ));

test('pruned while catching up: a snapshot', () =>
  withPair(
    async (pair) => {
      const database = pair.databases.commit('app.db', 1);
      await pair.listen();
      pair.databases.commit('app.db', 100, 10);
      const peer = await RawPeer.replica(
        pair.url,
        'r',
        new Map([['app.db', { txid: 1, checksum: firstChecksum(database) }]]),
      );
      await eventually(() => peer.of('transaction').length > 2, 'begun from the log');
      database.prune(90);
      peer.takes = true;
      for (const { ltx } of peer.of('transaction')) peer.ack('app.db', ltx.length + MESSAGE_COST_BYTES, null);
      assert.is((await peer.got('large-begin')).kind, 'behind');
      await peer.got('large-end');
      await eventually(() => database.openSnapshots === 0, 'snapshot closed');
    },
    { limits: { databaseWindowBytes: 256 * KIB } },
  ));

function firstChecksum(database: { log: { get(txid: number): { after: { checksum: bigint } } | undefined } }): bigint {
  return database.log.get(1)!.after.checksum;
}

test('a stuck database stops only itself, a snapshot that is not taken too', () =>
  withPair(
    async (pair) => {
      for (const name of ['stuck.db', 'large.db', 'live.db']) pair.databases.commit(name, 1, 2);
      await pair.start();
      let go = (): void => {};
      const held = new Promise<void>((done) => {
        go = done;
      });
      pair.sink.before = (name) => (name === 'live.db' ? undefined : held);
      pair.databases.commit('large.db', 1, 500);
      for (let i = 0; i < 100; i++) {
        pair.databases.commit('stuck.db', 1, 20);
        pair.databases.commit('live.db', 1, 20);
        if (i % 10 === 0) await pair.same(pair.sink, ['live.db']);
      }
      await pair.same(pair.sink, ['live.db']);
      assert.is(pair.sink.positionOf('stuck.db').txid, 1);
      go();
      await pair.same();
      assert.is(pair.sink.historyOf('large.db').at(-1), 'large t2');
    },
    { limits: { databaseWindowBytes: 256 * KIB, connectionWindowBytes: 512 * KIB } },
  ));

test('a snapshot that fails on the primary: tried again, told to the replica, others go on', () =>
  withPair(async (pair) => {
    const bad = pair.databases.commit('bad.db', 2);
    bad.prune(3);
    bad.snapshotError = new SluiceError('DATABASE_DAMAGED', 'bad.db: page 7 is damaged');
    pair.databases.commit('good.db', 2);
    await pair.listen();
    pair.follow();
    await pair.same(pair.sink, ['good.db']);
    await eventually(() => pair.client.problems()[0]?.code === 'DATABASE_DAMAGED', 'told');
    bad.snapshotError = undefined;
    await pair.same();
    assert.is(pair.client.problems().length, 0);
  }));

test('more snapshots than there are slots: in turn', () =>
  withPair(
    async (pair) => {
      for (let i = 0; i < 10; i++) pair.databases.commit(`${i}.db`, 3, 100).prune(4);
      await pair.start();
      await pair.same();
      assert.is(pair.databases.get('9.db')!.snapshots, 1);
    },
    { limits: { snapshots: 1 } },
  ));

test('a large stream that is not taken is given up, and begins again when the replica has room', () =>
  withPair(
    async (pair) => {
      const database = pair.databases.commit('app.db', 2, 600);
      database.prune(3);
      await pair.listen();
      const peer = await RawPeer.replica(pair.url, 'r');
      await peer.got('large-abort');
      assert.is(database.openSnapshots, 0);
      const bytes = peer.of('large-chunk').reduce((sum, chunk) => sum + chunk.bytes.length + MESSAGE_COST_BYTES, 0);
      peer.ack('app.db', bytes, null);
      await peer.got('large-begin', 2);
    },
    { limits: { databaseWindowBytes: 512 * KIB, snapshotStallMs: 50 } },
  ));

test('large streams of a replica that leaves are closed', () =>
  withPair(
    async (pair) => {
      const snapshot = pair.databases.commit('snapshot.db', 2, 600);
      snapshot.prune(3);
      const entry = pair.databases.commit('entry.db', 1, 1);
      const { position } = entry;
      pair.databases.commit('entry.db', 1, 600);
      await pair.listen();
      const peer = await RawPeer.replica(pair.url, 'r', new Map([['entry.db', position]]));
      await peer.got('large-begin', 2);
      assert.equal([snapshot.openSnapshots, entry.openEntries], [1, 1]);
      peer.ws.terminate();
      await eventually(() => snapshot.openSnapshots === 0 && entry.openEntries === 0, 'closed');
    },
    { limits: { databaseWindowBytes: 512 * KIB } },
  ));

test('close waits for acknowledgements, up to its limit', () =>
  withPair(async (pair) => {
    await pair.start();
    pair.databases.commit('app.db', 200);
    await pair.server.close();
    assert.is(pair.sink.positionOf('app.db').txid, 200);

    const stubborn = new Pair({ limits: { drainMs: 50 } });
    stubborn.databases.commit('app.db', 3);
    await stubborn.listen();
    const peer = await RawPeer.replica(stubborn.url, 'r');
    await peer.got('transaction');
    await stubborn.server.close();
    assert.is(await peer.closed(), 1001);
  }));

test('reconnect storms leave nothing behind', () =>
  withPair(async (pair) => {
    pair.databases.commit('app.db', 3, 70).prune(4);
    await pair.start();
    for (let round = 0; round < 8; round++) {
      const peers = await Promise.all(Array.from({ length: 10 }, (_, i) => RawPeer.replica(pair.url, `storm ${i}`)));
      for (const peer of peers) peer.ws.terminate();
    }
    pair.databases.commit('app.db', 3);
    await pair.same();
    await eventually(() => pair.server.followers().length === 1, 'only the real one is left');
    await eventually(() => pair.databases.get('app.db')!.openSnapshots === 0, 'snapshots closed');
  }));

test('the server restarts under load: the replica follows again', () =>
  withPair(async (pair) => {
    await pair.start();
    const port = Number(new URL(pair.url).port);
    for (let round = 0; round < 5; round++) {
      pair.databases.commit('app.db', 50);
      await pair.server.close();
      pair.databases.commit('app.db', 50);
      await pair.listen('127.0.0.1', port);
    }
    await pair.same();
    assert.is(pair.sink.positionOf('app.db').txid, 500);
    assert.is(pair.databases.get('app.db')!.snapshots, 0);
  }));

test('a transaction that is logged between a request and its answer comes after the answer', async () => {
  let onWarn = (): void => {};
  const log = { ...silentLog, warn: () => onWarn() };
  await withPair(
    async (pair) => {
      const database = pair.databases.commit('app.db', 1);
      await pair.listen();
      const peer = await RawPeer.replica(pair.url, 'r', new Map([['app.db', database.position]]));
      onWarn = () => void pair.databases.commit('app.db', 1);
      // Both are read at once, and the second is logged: a listener's call between the request and the pump.
      peer.send({ type: 'resume', name: 'app.db', serial: 1, position: database.position });
      peer.send({ type: 'database-problem', name: 'app.db', code: 'X', text: 'x' });
      await peer.got('transaction');
      const types = peer.messages
        .map(({ type }) => type)
        .filter((type) => type === 'restart' || type === 'transaction');
      assert.equal(types, ['restart', 'transaction']);
    },
    { log },
  );
});

test('heartbeats name what moved, and a follower without anything to do is told the time', () =>
  withPair(async (pair) => {
    const database = pair.databases.commit('app.db', 1);
    await pair.listen();
    const peer = await RawPeer.replica(pair.url, 'r', new Map([['app.db', database.position]]));
    await peer.got('heartbeat', 2);
    pair.databases.commit('app.db', 1);
    await eventually(() => peer.of('heartbeat').some(({ positions }) => positions[0]?.position.txid === 2), 'named');
    assert.equal(peer.messages[0]!.type, 'hello-reply');
    peer.ws.send(encodeMessage({ type: 'heartbeat-reply', sentMs: 0 }));
    peer.ack('app.db', 0, ZERO_POSITION);
    await peer.got('heartbeat', 5);
    assert.is(peer.closeCode, undefined);
  }));

test.run();
