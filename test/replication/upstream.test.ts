import { createServer } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { PROTOCOL_VERSION, ReplicationClient, type ReplicationClientOptions } from '../../src/replication/index.js';
import { MESSAGE_COST_BYTES } from '../../src/replication/limits.js';
import { eventually, FakeDatabase, FakeSink, silentLog } from './fakes.js';
import { type RawPeer, RawPrimary } from './raw-peer.js';

const KIB = 1024;

/** A client against a primary whose every message the test makes. */
async function withRawPrimary(
  body: (primary: RawPrimary, client: ReplicationClient, sink: FakeSink) => Promise<void>,
  options: Partial<ReplicationClientOptions> = {},
): Promise<void> {
  const primary = await RawPrimary.listen();
  const sink = new FakeSink();
  const client = new ReplicationClient({
    url: primary.url,
    sink,
    nodeId: 'r',
    log: silentLog,
    heartbeatMs: 20,
    ...options,
    limits: {
      reconnectMinMs: 5,
      reconnectMaxMs: 20,
      refusedMs: 60_000,
      retryMinMs: 5,
      retryMaxMs: 20,
      ...options.limits,
    },
  });
  try {
    client.start();
    await body(primary, client, sink);
  } finally {
    await client.stop();
    primary.close();
  }
}

function reply(peer: RawPeer, ...databases: FakeDatabase[]): void {
  const positions = databases.map(({ name, position, positionTimeMs }) => ({ name, position, timeMs: positionTimeMs }));
  peer.send({
    type: 'hello-reply',
    nodeId: 'p',
    advertise: 'http://p',
    sentMs: Date.now(),
    positions,
    run: 1n,
    proxy: null,
    wantsStored: false,
  });
}

function sendAll(peer: RawPeer, database: FakeDatabase, from = 1): void {
  for (let txid = from; txid <= database.position.txid; txid++) {
    peer.send({ type: 'transaction', name: database.name, ltx: database.entries.get(txid)! });
  }
}

test('hello, catch-up, acknowledgements, lag', () =>
  withRawPrimary(async (primary, client, sink) => {
    const peer = await primary.peer();
    assert.equal(peer.of('hello')[0], {
      type: 'hello',
      version: PROTOCOL_VERSION,
      nodeId: 'r',
      name: 'r',
      positions: new Map(),
    });
    assert.is(client.lagMs(), null);
    assert.is(client.primary(), null);
    const database = new FakeDatabase('app.db');
    for (let i = 0; i < 5; i++) database.commit();
    database.positionTimeMs -= 60_000;
    reply(peer, database);
    await eventually(() => client.status().connected, 'connected');
    assert.is(client.primary(), 'http://p');
    assert.ok(client.lagMs('app.db')! >= 59_000, 'a database that is not here yet is as old as the primary’s last');
    assert.is(client.lagMs('other.db'), null);
    sendAll(peer, database);
    await peer.got('ack', 5);
    assert.equal(peer.of('ack')[4]!.position, sink.positionOf('app.db'));
    const acked = peer.of('ack').reduce((sum, { bytes }) => sum + bytes, 0);
    assert.is(acked, database.log.bytes + 5 * MESSAGE_COST_BYTES);
    peer.send({ type: 'heartbeat', sentMs: Date.now(), positions: [] });
    await eventually(() => client.lagMs() === 0, 'no lag');
    peer.send({
      type: 'heartbeat',
      sentMs: Date.now(),
      positions: [{ name: 'app.db', position: { txid: 6, checksum: 1n }, timeMs: Date.now() - 5000 }],
    });
    await peer.got('heartbeat-reply', 2);
    assert.ok(client.lagMs()! >= 4900);
    assert.is(client.status().lagMs! >= 4900, true);
  }));

test('while the primary is not heard the content grows old', () =>
  withRawPrimary(async (primary, client) => {
    const peer = await primary.peer();
    reply(peer);
    await eventually(() => client.lagMs() === 0, 'fresh');
    await eventually(() => client.lagMs()! > 60, 'silent');
    peer.ws.terminate();
    await eventually(() => !client.status().connected && client.lagMs()! > 100, 'lost');
  }));

const hostile: [string, (peer: RawPeer) => void][] = [
  ['bytes that are no message', (peer) => peer.ws.send(Buffer.from('ddffffffff', 'hex'))],
  ['text', (peer) => peer.ws.send('hello')],
  ['an unknown message', (peer) => peer.ws.send(Buffer.from('920363', 'hex'))],
  ['a message that only a replica sends', (peer) => peer.ack('app.db', 1)],
  ['a second hello-reply', (peer) => reply(peer)],
  ['a name that leaves the mount', (peer) => peer.send({ type: 'large-end', name: '../../etc/passwd' })],
  ['a message over the limit', (peer) => peer.ws.send(Buffer.alloc(9 * 1024 * KIB))],
  ['nothing any more', (peer) => peer.ws.terminate()],
];
for (const [what, send] of hostile) {
  test(`hostile primary: ${what}: the connection ends, and another begins`, () =>
    withRawPrimary(async (primary, client, sink) => {
      const peer = await primary.peer();
      reply(peer);
      await eventually(() => client.status().connected, 'connected');
      send(peer);
      await peer.closed();
      const again = await primary.peer(2);
      const database = new FakeDatabase('app.db');
      database.commit();
      reply(again, database);
      sendAll(again, database);
      await eventually(() => sink.positionOf('app.db').txid === 1, 'follows again');
    }));
}

test('data before the hello is refused', () =>
  withRawPrimary(async (primary, client, sink) => {
    const database = new FakeDatabase('app.db');
    database.commit();
    const peer = await primary.peer();
    sendAll(peer, database);
    await peer.closed();
    assert.is(sink.received, 0);
    assert.match(client.status().lastError!, /before hello-reply/);
  }));

test('streams that make no sense: that database begins anew, nothing is applied', () =>
  withRawPrimary(async (primary, client, sink) => {
    const peer = await primary.peer();
    reply(peer);
    peer.send({ type: 'large-chunk', name: 'a.db', bytes: Buffer.alloc(10) });
    peer.send({ type: 'large-end', name: 'b.db' });
    const position = { txid: 1, checksum: 1n };
    peer.send({ type: 'large-begin', name: 'c.db', kind: 'new', position, timeMs: 0 });
    peer.send({ type: 'large-begin', name: 'c.db', kind: 'new', position, timeMs: 0 });
    await peer.got('resume', 3);
    assert.equal(
      peer
        .of('resume')
        .map(({ name }) => name)
        .sort(),
      ['a.db', 'b.db', 'c.db'],
    );
    assert.is(sink.aborted, 1);
    assert.is(sink.received, 0);
    assert.is(client.problems().length, 3);
    // What was under way is dropped, and its window given back, until the primary begins anew.
    const database = new FakeDatabase('a.db');
    database.commit();
    const acks = peer.of('ack').length;
    sendAll(peer, database);
    await peer.got('ack', acks + 1);
    assert.is(sink.received, 0);
    peer.send({ type: 'restart', name: 'a.db', serial: 99 });
    sendAll(peer, database);
    await peer.got('ack', acks + 2);
    assert.is(sink.received, 0, 'not for this request');
    peer.send({ type: 'restart', name: 'a.db', serial: 1 });
    sendAll(peer, database);
    await eventually(() => sink.positionOf('a.db').txid === 1, 'applied');
  }));

test('a database that is bad again and again is asked for more and more seldom', () =>
  withRawPrimary(
    async (primary, client, sink) => {
      const peer = await primary.peer();
      reply(peer);
      sink.before = () => {
        throw new SluiceError('LTX_CHECKSUM', 'bad');
      };
      const ltx = new FakeDatabase('app.db').commit();
      peer.send({ type: 'transaction', name: 'app.db', ltx });
      for (let serial = 1; serial <= 6; serial++) {
        const request = await peer.got('request-snapshot', serial);
        assert.equal([request.serial, request.reason], [serial, 'behind']);
        peer.send({ type: 'restart', name: 'app.db', serial });
        peer.send({ type: 'transaction', name: 'app.db', ltx });
      }
      assert.is(client.problems()[0]!.code, 'LTX_CHECKSUM');
      assert.is(peer.of('database-problem').length, 1, 'told once');
      assert.equal(delays(6), [2, 4, 8, 16, 32, 64]);
    },
    { random: () => 0, limits: { retryMinMs: 4, retryMaxMs: 1000 } },
  ));

/** Half of the waits that doubling from 4 ms gives: what `random: () => 0` makes of them. */
function delays(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (4 * 2 ** i) / 2);
}

test('a primary that does not keep to the window: the socket is not read until there is room', async () => {
  let receivedBytes = 0;
  const hooks = {
    received: (bytes: number) => {
      receivedBytes += bytes;
    },
  };
  await withRawPrimary(
    async (primary, client, sink) => {
      const peer = await primary.peer();
      const database = new FakeDatabase('app.db');
      for (let i = 0; i < 200; i++) database.commit(20);
      reply(peer, database);
      let go = (): void => {};
      const held = new Promise<void>((done) => {
        go = done;
      });
      sink.before = () => held;
      sendAll(peer, database);
      await eventually(() => receivedBytes > 256 * KIB, 'full');
      await new Promise((done) => setTimeout(done, 200));
      assert.ok(receivedBytes < 1024 * KIB, `${receivedBytes} bytes taken in`);
      assert.ok(client.status().connected, 'not taken for dead meanwhile');
      go();
      await eventually(() => sink.positionOf('app.db').txid === 200, 'all there');
    },
    { hooks, limits: { queueBytes: 256 * KIB, silenceMs: 60 } },
  );
});

test('a refusal is shown, and tried again only slowly', () =>
  withRawPrimary(async (primary, client) => {
    const peer = await primary.peer();
    const text = 'the replica speaks replication protocol 1, the primary 3';
    peer.send({ type: 'refuse', code: 'REPLICATION_VERSION', text });
    await eventually(() => client.status().lastError !== null, 'told');
    assert.is(client.status().lastError, `the primary refused: ${text}`);
    await new Promise((done) => setTimeout(done, 100));
    assert.is(primary.peers.length, 1);
  }));

test('a primary that answers in another version is refused, too', () =>
  withRawPrimary(async (primary, client) => {
    const peer = await primary.peer();
    peer.ws.send(Buffer.from('920501', 'hex'));
    await peer.closed();
    await eventually(() => client.status().lastError !== null, 'told');
    assert.match(client.status().lastError!, new RegExp(`protocol 5, this node ${PROTOCOL_VERSION}`));
    await new Promise((done) => setTimeout(done, 100));
    assert.is(primary.peers.length, 1);
  }));

test('a primary that does not answer the hello, or says nothing any more, is left', async () => {
  const errors: string[] = [];
  const log = { ...silentLog, warn: (_fields: object, message: string) => void errors.push(message) };
  await withRawPrimary(
    async (primary) => {
      await primary.peer();
      const second = await primary.peer(2);
      assert.match(errors[0]!, /did not answer the hello/);
      reply(second);
      second.ws.pause(); // so that it does not answer pings
      await primary.peer(3);
      assert.match(errors[1]!, /silent/);
    },
    { log, limits: { connectMs: 80, silenceMs: 80 } },
  );
});

test('several addresses are tried in turn; one that is no Sluice says so', async () => {
  const other = createServer((_request, response) => response.writeHead(404).end());
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const errors: string[] = [];
  const log = { ...silentLog, warn: (_fields: object, message: string) => void errors.push(message) };
  const primary = await RawPrimary.listen();
  const client = new ReplicationClient({
    url: ['ws://[::1]:1', `ws://127.0.0.1:${port}`, primary.url],
    sink: new FakeSink(),
    nodeId: 'r',
    log,
    limits: { reconnectMinMs: 5, reconnectMaxMs: 20, refusedMs: 20 },
  });
  try {
    client.start();
    await primary.peer();
    assert.is(errors.length, 2);
    assert.match(errors[0]!, /ECONNREFUSED/);
    assert.match(errors[1]!, /HTTP 404\. Check lease\.primary/);
    assert.is(client.status().url, primary.url);
  } finally {
    await client.stop();
    primary.close();
    other.close();
  }
});

test('an address that is none is refused at once', () => {
  for (const url of ['', 'primary', 'http://primary:1', 'ws://', []]) {
    try {
      new ReplicationClient({ url, sink: new FakeSink(), nodeId: 'r', log: silentLog });
      assert.unreachable(String(url));
    } catch (error) {
      assert.ok(error instanceof SluiceError && error.code === 'REPLICATION_URL', String(error));
    }
  }
});

test('stop: while connecting, while waiting, while the sink hangs', async () => {
  await withRawPrimary(
    async (primary, _client, sink) => {
      const peer = await primary.peer();
      const database = new FakeDatabase('app.db');
      database.commit();
      sink.before = () => new Promise(() => {});
      reply(peer, database);
      sendAll(peer, database);
      await eventually(() => peer.messages.length > 0, 'hangs');
    },
    { limits: { drainMs: 50 } },
  );
  const client = new ReplicationClient({ url: 'ws://127.0.0.1:1', sink: new FakeSink(), nodeId: 'r', log: silentLog });
  client.start();
  await client.stop();
  client.start();
  await eventually(() => client.status().lastError !== null, 'refused');
  await client.stop();
});

test.run();
