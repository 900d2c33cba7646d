import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { MAX_DATABASES } from '../../src/replication/limits.js';
import {
  decodeMessage,
  encodeMessage,
  LARGE_KINDS,
  type Message,
  PROTOCOL_VERSION,
  REQUEST_REASONS,
} from '../../src/replication/messages.js';

function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true });
}

const txid = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const position = record({ txid, checksum: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) });
const timeMs = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const part = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((text) => !/[/\0]|^\.\.?$/.test(text));
const name = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const bytes = fc.uint8Array({ maxLength: 300 });
const haltMs = fc.integer({ min: 0, max: 2 ** 30 });
const serial = fc.integer({ min: 0, max: 0xffffffff });
const positions = fc.array(record({ name, position, timeMs }), { maxLength: 5 });
const held = fc.array(fc.tuple(name, position), { maxLength: 20 }).map((entries) => new Map(entries));

/** One arbitrary for each type of message; the compiler sees that none is missing. */
const arbitraries: { [T in Message['type']]: fc.Arbitrary<Extract<Message, { type: T }>> } = {
  hello: record({
    type: fc.constant('hello' as const),
    version: fc.constant(PROTOCOL_VERSION),
    nodeId: text,
    name: text,
    positions: held,
  }),
  'hello-reply': record({
    type: fc.constant('hello-reply' as const),
    nodeId: text,
    advertise: fc.option(text),
    sentMs: timeMs,
    positions,
    run: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    proxy: fc.option(text),
    wantsStored: fc.boolean(),
  }),
  refuse: record({ type: fc.constant('refuse' as const), code: text, text }),
  transaction: record({ type: fc.constant('transaction' as const), name, ltx: bytes }),
  'large-begin': record({
    type: fc.constant('large-begin' as const),
    name,
    kind: fc.constantFrom(...LARGE_KINDS),
    position,
    timeMs,
  }),
  'large-chunk': record({ type: fc.constant('large-chunk' as const), name, bytes }),
  'large-end': record({ type: fc.constant('large-end' as const), name }),
  'large-abort': record({ type: fc.constant('large-abort' as const), name }),
  ack: record({ type: fc.constant('ack' as const), name, position: fc.option(position), bytes: txid }),
  heartbeat: record({ type: fc.constant('heartbeat' as const), sentMs: timeMs, positions }),
  'heartbeat-reply': record({ type: fc.constant('heartbeat-reply' as const), sentMs: timeMs }),
  drop: record({ type: fc.constant('drop' as const), name, position }),
  'request-snapshot': record({
    type: fc.constant('request-snapshot' as const),
    name,
    serial,
    position,
    reason: fc.constantFrom(...REQUEST_REASONS),
  }),
  resume: record({ type: fc.constant('resume' as const), name, serial, position }),
  restart: record({ type: fc.constant('restart' as const), name, serial }),
  'database-problem': record({ type: fc.constant('database-problem' as const), name, code: text, text }),
  halt: record({ type: fc.constant('halt' as const), name, serial, byHand: fc.boolean() }),
  halted: record({ type: fc.constant('halted' as const), name, serial, position, silenceMs: haltMs, holdMs: haltMs }),
  'halt-wanted': record({ type: fc.constant('halt-wanted' as const), name, serial, withNext: fc.boolean() }),
  'halt-ended': record({ type: fc.constant('halt-ended' as const), name, serial, code: text, text }),
  release: record({ type: fc.constant('release' as const), name, serial }),
  'forward-chunk': record({ type: fc.constant('forward-chunk' as const), name, serial, bytes }),
  forward: record({ type: fc.constant('forward' as const), name, serial, bytes }),
  forwarded: record({ type: fc.constant('forwarded' as const), name, position }),
  'forward-refused': record({ type: fc.constant('forward-refused' as const), name, serial, code: text, text }),
  stored: record({ type: fc.constant('stored' as const), name, position }),
};
const message: fc.Arbitrary<Message> = fc.oneof(...Object.values(arbitraries));

/** Buffers compare as plain bytes. */
function plain(value: Message): unknown {
  const copy: Record<string, unknown> = { ...value };
  for (const [key, field] of Object.entries(copy)) if (field instanceof Uint8Array) copy[key] = Array.from(field);
  return copy;
}

function failure(data: Uint8Array): unknown {
  try {
    decodeMessage(data);
  } catch (error) {
    return error;
  }
  return undefined;
}

function isRefused(data: Uint8Array): boolean {
  const error = failure(data);
  return error instanceof SluiceError && error.code === 'REPLICATION_MESSAGE';
}

for (const [type, arbitrary] of Object.entries(arbitraries)) {
  test(`round trip: ${type}`, () => {
    fc.assert(
      fc.property(arbitrary as fc.Arbitrary<Message>, (value) => {
        assert.equal(plain(decodeMessage(encodeMessage(value))), plain(value));
      }),
      { numRuns: 200 },
    );
  });
}

test('LTX bytes are not copied when read', () => {
  const data = encodeMessage({ type: 'transaction', name: 'app.db', ltx: new Uint8Array(1000).fill(7) });
  const decoded = decodeMessage(data);
  assert.is(decoded.type === 'transaction' && decoded.ltx.buffer, data.buffer);
});

test('the wire form of a transaction', () => {
  const data = encodeMessage({ type: 'transaction', name: 'a.db', ltx: Uint8Array.of(1, 2, 3) });
  assert.is(data.toString('hex'), '94' + '03' + '03' + 'a4612e6462' + 'c600000003' + '010203');
});

test('arbitrary bytes: a message or one clear error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
      const error = failure(data);
      assert.ok(error === undefined || error instanceof SluiceError, String(error));
    }),
    { numRuns: 5000 },
  );
});

test('messages with some bytes changed, cut or added: a message or one clear error', () => {
  const change = fc.tuple(fc.nat(), fc.nat(255));
  fc.assert(
    fc.property(
      message,
      fc.array(change, { maxLength: 4 }),
      fc.nat(),
      fc.uint8Array({ maxLength: 4 }),
      (value, changes, cut, tail) => {
        const data = Buffer.from(encodeMessage(value));
        for (const [at, byte] of changes) data[at % data.length] = byte;
        const error = failure(Buffer.concat([data.subarray(0, data.length - (cut % 3)), tail]));
        assert.ok(error === undefined || error instanceof SluiceError, String(error));
      },
    ),
    { numRuns: 5000 },
  );
});

test('every strict prefix of a message is refused', () => {
  fc.assert(
    fc.property(message, (value) => {
      const data = encodeMessage(value);
      for (let length = 0; length < data.length; length++) assert.ok(isRefused(data.subarray(0, length)));
    }),
    { numRuns: 100 },
  );
});

/** A hello whose node id is an array of 2 MiB of one-byte values. */
function manyValues(value: number): Buffer {
  const head = Buffer.from('950200dd00200000', 'hex');
  return Buffer.concat([head, Buffer.alloc(0x20_0000, value), Buffer.from('a0a0', 'hex')]);
}

test('a message of too many values is refused before it is unpacked', () => {
  assert.match(String(failure(manyValues(0x90))), /more than \d+ values/);
});

test('as many positions as there may be fit a hello and a heartbeat', () => {
  const list = Array.from({ length: MAX_DATABASES }, (_, i) => ({
    name: `${i}`,
    position: { txid: i, checksum: 1n },
    timeMs: i,
  }));
  const hello = {
    type: 'hello',
    version: PROTOCOL_VERSION,
    nodeId: 'n',
    name: 'n',
    positions: new Map(list.map((each) => [each.name, each.position])),
  } as const;
  for (const message of [hello, { type: 'heartbeat', sentMs: 1, positions: list } as const]) {
    const decoded = decodeMessage(encodeMessage(message));
    assert.is('positions' in decoded && [...decoded.positions].length, MAX_DATABASES);
  }
});

const packr = new Packr({ useRecords: false });
const refused: [string, Uint8Array][] = [
  ['nothing', Buffer.alloc(0)],
  ['not an array', packr.pack('hello')],
  ['a map', packr.pack({ a: 1 })],
  ['an array of 4 billion', Buffer.from('ddffffffff', 'hex')],
  ['a string of 4 billion', Buffer.from('93010adbffffffff', 'hex')],
  ['LTX bytes of 4 billion', Buffer.from('940303a161c6ffffffff', 'hex')],
  ['arrays 1,000 deep', Buffer.alloc(1000, 0x91)],
  ['a date', packr.pack([PROTOCOL_VERSION, 10, new Date(0)])],
  ['a regular expression', new Packr({ moreTypes: true }).pack([PROTOCOL_VERSION, 10, /a+/])],
  ['a record', Buffer.from('9301' + '0a' + 'd47240' + '91a161' + '01', 'hex')],
  ['an unknown type', packr.pack([PROTOCOL_VERSION, 99])],
  ['a type that is no number', packr.pack([PROTOCOL_VERSION, 'ack'])],
  ['a field too few', packr.pack([PROTOCOL_VERSION, 6])],
  ['a field too many', packr.pack([PROTOCOL_VERSION, 6, 'app.db', 1])],
  ['a name that leaves the mount', packr.pack([PROTOCOL_VERSION, 6, '../app.db'])],
  ['an absolute name', packr.pack([PROTOCOL_VERSION, 6, '/app.db'])],
  ['a name with NUL', packr.pack([PROTOCOL_VERSION, 6, 'a\0b'])],
  ['a name part of 300 characters', packr.pack([PROTOCOL_VERSION, 6, 'a'.repeat(300)])],
  ['a name of 5,000 characters', packr.pack([PROTOCOL_VERSION, 6, 'abcd/'.repeat(1000)])],
  ['an empty name', packr.pack([PROTOCOL_VERSION, 6, ''])],
  ['a negative count', packr.pack([PROTOCOL_VERSION, 8, 'app.db', -1])],
  ['a count with a fraction', packr.pack([PROTOCOL_VERSION, 8, 'app.db', 0.5])],
  ['a TXID over 2^53', packr.pack([PROTOCOL_VERSION, 8, 'app.db', 0, 2 ** 53, 1n])],
  ['a checksum that is a number', packr.pack([PROTOCOL_VERSION, 8, 'app.db', 0, 1, 1])],
  ['a kind that there is not', packr.pack([PROTOCOL_VERSION, 4, 'app.db', 4, 1, 1n, 0])],
  ['an LTX over the limit', packr.pack([PROTOCOL_VERSION, 3, 'app.db', Buffer.alloc(256 * 1024 + 1)])],
  ['a message over the limit', Buffer.alloc(9 * 1024 * 1024)],
  ['millions of empty arrays, forty bytes of memory each', manyValues(0x90)],
  ['bytes after its end', Buffer.concat([packr.pack([PROTOCOL_VERSION, 6, 'app.db']), Buffer.alloc(1)])],
];
for (const [what, data] of refused) {
  test(`refused: ${what}`, () => assert.ok(isRefused(data), String(failure(data))));
}

test('another version: a hello tells which, a refusal is read, everything else is an error that names both', () => {
  const hello = decodeMessage(packr.pack([7, 0, 'fields', 5]));
  assert.is(hello.type === 'hello' && hello.version, 7);
  assert.equal(decodeMessage(packr.pack([7, 2, 'CODE', 'text'])), { type: 'refuse', code: 'CODE', text: 'text' });
  const error = failure(packr.pack([7, 6, 'app.db']));
  assert.ok(error instanceof SluiceError && error.code === 'REPLICATION_VERSION');
  assert.match(error.message, new RegExp(`protocol 7, this node ${PROTOCOL_VERSION}`));
});

test.run();
