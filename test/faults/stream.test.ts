import { existsSync, readdirSync } from 'node:fs';
import { Packr } from 'msgpackr';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bytesSource, decodeHeader, encodeLtx, type LtxHeader, LtxReader } from '../../src/ltx/index.js';
import { encodeMessage, encodeTransaction, type Message, PROTOCOL_VERSION } from '../../src/replication/messages.js';
import { Bench, exec, requireMounts, same, type TestNode, until, value } from './bench.js';
import { Meddler } from './meddler.js';

requireMounts('stream');
const test = suite('a stream that is not what it should be');

const COUNT = 'SELECT count(*) FROM t';
const packr = new Packr({ useRecords: false, moreTypes: false, variableMapSize: false });

interface Meddled {
  readonly primary: TestNode;
  readonly replica: TestNode;
  readonly meddler: Meddler;
}

let bench: Bench;
let shared: Meddled;

test.before(async () => {
  bench = new Bench();
  shared = await meddled();
});
test.after(() => bench.end());

async function meddled(): Promise<Meddled> {
  const primary = await bench.primary();
  for (const name of ['a.db', 'b.db']) {
    exec(primary.path(name), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)');
  }
  const meddler = await Meddler.start(primary.url);
  bench.onEnd(() => meddler.stop());
  const replica = await bench.replica(meddler.url);
  for (const name of ['a.db', 'b.db']) await same(primary, replica, name);
  return { primary, replica, meddler };
}

const databasesOf = ({ mount }: TestNode) => readdirSync(mount).filter((name) => !/-(wal|shm)$/.test(name));
const insert = (node: TestNode, name: string) => exec(node.path(name), 'INSERT INTO t VALUES (1)');

/** Changes the database's next transaction, once. */
function meddleOnce(
  meddler: Meddler,
  name: string,
  change: (ltx: Uint8Array) => Uint8Array | undefined,
): () => boolean {
  let done = false;
  meddler.toReplica = (message, bytes) => {
    if (done || message.type !== 'transaction' || message.name !== name) return bytes;
    done = true;
    const changed = change(message.ltx);
    return changed === undefined ? undefined : encodeTransaction(name, changed);
  };
  return () => done;
}

/** The transaction with another header, everything else in it as it should be for that. */
function withHeader(ltx: Uint8Array, change: Partial<LtxHeader>): Uint8Array {
  const reader = new LtxReader(bytesSource(ltx));
  const pages: { pgno: number; data: Uint8Array }[] = [];
  for (;;) {
    const data = Buffer.alloc(reader.header.pageSize);
    const pgno = reader.nextPage(data);
    if (pgno === 0) break;
    pages.push({ pgno, data });
  }
  return Uint8Array.from(encodeLtx({ ...reader.header, ...change }, pages));
}

const flipped = (ltx: Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(ltx);
  copy[130]! ^= 0xff;
  return copy;
};

for (const [what, change] of [
  ['a flipped byte', flipped],
  ['one that is cut', (ltx: Uint8Array) => ltx.slice(0, -40)],
  ['one that is no LTX', () => Buffer.from('SQLite format 3\0'.repeat(5))],
  ['an empty one', () => new Uint8Array()],
  ['a wrong checksum of the database', (ltx: Uint8Array) => withHeader(ltx, { postApply: 0x8000_0000_dead_beefn })],
  ['another history', (ltx: Uint8Array) => withHeader(ltx, { preApply: 0x8000_0000_dead_beefn })],
  ['a gap', () => undefined],
  ['a TXID of the future', (ltx: Uint8Array) => withHeader(ltx, { minTxid: 5000, maxTxid: 5000 })],
  ['a page size of another database', (ltx: Uint8Array) => foreignPages(ltx)],
] as [string, (ltx: Uint8Array) => Uint8Array | undefined][]) {
  test(`${what}: never applied, told, the other database goes on, then all is the same again`, async () => {
    const { primary, replica, meddler } = shared;
    // Of its own, because the waits after failures grow for each database.
    const name = `${what.replaceAll(' ', '-')}.db`;
    exec(primary.path(name), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x)');
    await same(primary, replica, name);
    const connections = meddler.connections;
    meddler.saidByReplica.length = 0;
    const done = meddleOnce(meddler, name, change);
    insert(primary, name);
    insert(primary, 'b.db');
    await until('it was meddled with', done);
    await same(primary, replica, 'b.db');
    // A gap is noticed with what comes behind it.
    insert(primary, name);
    await same(primary, replica, name);
    assert.is(value(replica.path(name), COUNT), 2);
    assert.is(value(replica.path(name), 'PRAGMA integrity_check'), 'ok');
    assert.is(meddler.connections, connections, 'the connection stays');
    const told = meddler.saidByReplica.filter((message) => message.type === 'database-problem');
    assert.ok(told.length >= 1, 'the primary is told');
    assert.ok(told.every((message) => message.name === name));
    await until('no problem is shown any more', async () => (await replica.problems()).length === 0);
  });
}

/** The same transaction as one of a database with pages of 512 bytes. */
function foreignPages(ltx: Uint8Array): Uint8Array {
  const header = decodeHeader(ltx);
  const page = Buffer.alloc(512, 1);
  return Uint8Array.from(encodeLtx({ ...header, pageSize: 512, commit: 2 }, [{ pgno: 1, data: page }]));
}

const raw = (...values: unknown[]): Buffer => packr.pack(values);
const NOW: Message = { type: 'heartbeat', sentMs: 0, positions: [] };

test('names that are good for SQLite and not for a replica are refused, and do not stop others', async () => {
  const { primary, replica, meddler } = shared;
  meddler.saidByReplica.length = 0;
  const rows = value(replica.path('a.db'), COUNT);
  meddler.tellReplica(encodeTransaction('.sluice-wake', new Uint8Array(10)));
  meddler.tellReplica(encodeTransaction('a.db-wal', new Uint8Array(10)));
  await until('both are told', () => {
    const told = meddler.saidByReplica.filter((message) => message.type === 'database-problem');
    return told.length >= 2;
  });
  insert(primary, 'b.db');
  await same(primary, replica, 'b.db');
  assert.is(value(replica.path('a.db'), COUNT), rows);
});

for (const [what, bytes] of [
  ['of an unknown type', raw(PROTOCOL_VERSION, 99)],
  ['that only a primary sends', encodeMessage({ type: 'drop', name: 'a.db', position: { txid: 1, checksum: 0n } })],
  [
    'that acknowledges more than was sent',
    encodeMessage({ type: 'ack', name: 'a.db', position: null, bytes: 2 ** 50 }),
  ],
  ['with a name that leads out', raw(PROTOCOL_VERSION, 8, '../../etc/x', 0)],
  ['that is no message', Buffer.alloc(1000, 0xff)],
] as [string, Buffer][]) {
  test(`a replica that sends a message ${what} is refused; the primary and its applications go on`, async () => {
    const { primary, replica, meddler } = shared;
    const rows = Number(value(primary.path('a.db'), COUNT));
    await until('it is connected', async () => (await replica.status()).upstream?.connected);
    meddler.saidByPrimary.length = 0;
    meddler.tellPrimary(bytes);
    await until('it is refused', () => meddler.saidByPrimary.some((message) => message.type === 'refuse'));
    insert(primary, 'a.db');
    assert.is(value(primary.path('a.db'), COUNT), rows + 1);
    assert.equal(await primary.problems(), []);
    if (!what.includes('unknown version')) await same(primary, replica, 'a.db');
  });
}

for (const [what, bytes, said] of [
  ['of an unknown type', raw(PROTOCOL_VERSION, 99, 'a.db'), /unknown type/],
  ['that is no message', Buffer.from('hello'), /bad replication message/],
  [
    'with a length beyond its end',
    Buffer.from([0x94, PROTOCOL_VERSION, 3, 0xa1, 0x61, 0xc6, 0xff, 0xff, 0xff, 0xff]),
    /beyond its end/,
  ],
  ['with a name that leads out: ../x', raw(PROTOCOL_VERSION, 3, '../x', Buffer.alloc(10)), /wrong database name/],
  ['with a name that leads out: /etc/x', raw(PROTOCOL_VERSION, 3, '/etc/x', Buffer.alloc(10)), /wrong database name/],
  ['with a name with NUL', raw(PROTOCOL_VERSION, 3, 'a\0.db', Buffer.alloc(10)), /wrong database name/],
  ['with a name of 300 characters', raw(PROTOCOL_VERSION, 3, 'x'.repeat(300), Buffer.alloc(10)), /wrong database name/],
  ['with a TXID that is no number', raw(PROTOCOL_VERSION, 11, 'a.db', 'one', 0), /wrong TXID/],
  [
    'of an unknown version',
    raw(PROTOCOL_VERSION + 1, 9, 0, []),
    new RegExp(`replication protocol ${PROTOCOL_VERSION + 1}`),
  ],
] as [string, Buffer, RegExp][]) {
  test(`a message ${what}: the replica leaves, says why, comes back, and has lost nothing`, async () => {
    const { primary, replica, meddler } = shared;
    const connections = meddler.connections;
    const rows = value(replica.path('b.db'), COUNT);
    replica.stderr = '';
    const files = databasesOf(replica);
    const before = replica.position('a.db');
    meddler.tellReplica(encodeMessage(NOW));
    meddler.tellReplica(bytes);
    await until('it said why', () => said.test(replica.stderr));
    assert.is(replica.position('a.db'), before);
    if (!what.includes('unknown version')) {
      await until('it is back', () => meddler.connections > connections);
      insert(primary, 'a.db');
      await same(primary, replica, 'a.db');
    } else {
      const { lastError, connected } = (await replica.status()).upstream!;
      assert.not(connected);
      assert.match(lastError!, 'run the same version of Sluice on both');
      assert.equal(await replica.problems(), [`UPSTREAM_LOST ${meddler.url}`]);
    }
    assert.equal(databasesOf(replica), files);
    assert.not(existsSync(bench.path('x')));
    assert.is(value(replica.path('b.db'), COUNT), rows);
  });
}

test.run();
