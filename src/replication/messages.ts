import { Packr } from 'msgpackr';
import { describeError, SluiceError } from '../errors.js';
import type { Position, Txid } from '../ltx/index.js';
import { takeEnvelope } from './chunk-pool.js';
import { Fields } from './fields.js';
import {
  CHUNK_BYTES,
  MAX_ADDRESS_LENGTH,
  MAX_DATABASES,
  MAX_ID_LENGTH,
  MAX_MESSAGE_BYTES,
  MAX_TEXT_LENGTH,
} from './limits.js';
import { badMessage, checkShape } from './shape.js';

/**
 * Each message is one msgpack array, `[version, type, field, …]`, in one binary WebSocket message. LTX bytes stand
 * untouched as its last field. The forms of the first two fields, and of `refuse`, are the same in every version.
 */
export const PROTOCOL_VERSION = 3;

/** Where one database stands, and when its last transaction was logged (the primary's clock, Unix milliseconds). */
export interface DatabasePosition {
  readonly name: string;
  readonly position: Position;
  readonly timeMs: number;
}

/** What a large stream is: a transaction that does not fit one message, or a snapshot and why it is sent. */
export const LARGE_KINDS = ['transaction', 'new', 'behind', 'diverged'] as const;
export type LargeKind = (typeof LARGE_KINDS)[number];

/** Why a replica asks for a snapshot. */
export const REQUEST_REASONS = ['behind', 'diverged'] as const;
export type RequestReason = (typeof REQUEST_REASONS)[number];

export type Message =
  /** Replica: its first message. `positions` are without times. */
  | { type: 'hello'; version: number; nodeId: string; name: string; positions: ReadonlyMap<string, Position> }
  /** Primary: its first message. */
  | {
      type: 'hello-reply';
      nodeId: string;
      advertise: string | null;
      sentMs: number;
      positions: readonly DatabasePosition[];
      /** Another for each process of each primary, so that "the same history" can be told; never 0n. */
      run: bigint;
      /** The address of the primary's HTTP proxy; null if it has none, or does not say. */
      proxy: string | null;
      /** Somebody waits for what replicas have: they say `stored`. */
      wantsStored: boolean;
    }
  /** Either: why the connection will be closed. */
  | { type: 'refuse'; code: string; text: string }
  /** Primary: one whole LTX file, at most CHUNK_BYTES. */
  | { type: 'transaction'; name: string; ltx: Uint8Array }
  /** Primary: `large-chunk`s follow, then `large-end` or `large-abort`; other databases' messages may stand between. */
  | { type: 'large-begin'; name: string; kind: LargeKind; position: Position; timeMs: number }
  | { type: 'large-chunk'; name: string; bytes: Uint8Array }
  | { type: 'large-end'; name: string }
  | { type: 'large-abort'; name: string }
  /**
   * Replica: `bytes` more of this database's window are free. `position`: it is there now, visible to its readers;
   * ZERO_POSITION after a drop; null where it did not move.
   */
  | { type: 'ack'; name: string; position: Position | null; bytes: number }
  /** Primary: its clock, and what moved since the last one. */
  | { type: 'heartbeat'; sentMs: number; positions: readonly DatabasePosition[] }
  | { type: 'heartbeat-reply'; sentMs: number }
  /** Primary: the application deleted it. */
  | { type: 'drop'; name: string; position: Position }
  /** Replica: discards what comes of this database until `restart` with the same serial. `position` is where it is. */
  | { type: 'request-snapshot'; name: string; serial: number; position: Position; reason: RequestReason }
  /** Replica: the same, but go on from `position`, by the log if possible. */
  | { type: 'resume'; name: string; serial: number; position: Position }
  /** Primary: from here on it is what was asked for. */
  | { type: 'restart'; name: string; serial: number }
  /** Either: this database cannot go on here, and why. Others do. */
  | { type: 'database-problem'; name: string; code: string; text: string }
  /**
   * Replica: an application wants to write. `serial` tells this time from others. `byHand`: it is to last until it is given
   * back, over many transactions.
   */
  | { type: 'halt'; name: string; serial: number; byHand: boolean }
  /**
   * Primary: nobody else writes until `release`, or `halt-ended`; the database stands at `position`. It ends by itself after
   * `holdMs`, and when nothing is heard of the replica for `silenceMs`.
   */
  | { type: 'halted'; name: string; serial: number; position: Position; silenceMs: number; holdMs: number }
  /** Primary: the halt is wanted back when the transaction under way is done. `withNext`: if that is on its way already, the next one's `release` is soon enough. */
  | { type: 'halt-wanted'; name: string; serial: number; withNext: boolean }
  /** Primary: there is no halt (any more), and why. */
  | { type: 'halt-ended'; name: string; serial: number; code: string; text: string }
  /** Replica: it is done writing. */
  | { type: 'release'; name: string; serial: number }
  /** Replica: a piece of the LTX file of one transaction; the last is a `forward`. `serial` tells one from others. */
  | { type: 'forward-chunk'; name: string; serial: number; bytes: Uint8Array }
  | { type: 'forward'; name: string; serial: number; bytes: Uint8Array }
  /** Primary, in the place of the transaction: it is the one that this replica forwarded, and in the primary's history. */
  | { type: 'forwarded'; name: string; position: Position }
  /** Primary: it was not taken, and will not be. */
  | { type: 'forward-refused'; name: string; serial: number; code: string; text: string }
  /** Replica: the transaction that leads there is in its log, and will be applied whatever becomes of this connection. */
  | { type: 'stored'; name: string; position: Position };

export type MessageType = Message['type'];

/** The number of a type is its place. New ones go to the end. */
const TYPES: readonly MessageType[] = [
  'hello',
  'hello-reply',
  'refuse',
  'transaction',
  'large-begin',
  'large-chunk',
  'large-end',
  'large-abort',
  'ack',
  'heartbeat',
  'heartbeat-reply',
  'drop',
  'request-snapshot',
  'resume',
  'restart',
  'database-problem',
  'halt',
  'halted',
  'halt-wanted',
  'halt-ended',
  'release',
  'forward-chunk',
  'forward',
  'forwarded',
  'forward-refused',
  'stored',
];
const TYPE_NUMBERS = new Map(TYPES.map((type, number) => [type, number]));

const MAX_SERIAL = 0xffffffff;
/** Milliseconds: some days. */
const MAX_HALT_MS = 2 ** 30;
const BIN32 = 0xc6;
const BIN32_HEAD_BYTES = 5;

const packr = new Packr({ useRecords: false, moreTypes: false, variableMapSize: false });

/** The bytes of a message. */
export function encodeMessage(message: Message): Buffer {
  if (message.type === 'transaction') return encodeTransaction(message.name, message.ltx);
  if (message.type === 'large-chunk') {
    const { envelope, body } = chunkEnvelope(message.name, message.bytes.length);
    body.set(message.bytes);
    return envelope;
  }
  const version = message.type === 'hello' ? message.version : PROTOCOL_VERSION;
  return packr.pack([version, TYPE_NUMBERS.get(message.type), ...fieldsOf(message)]);
}

/** A `transaction`. The only copy of the LTX bytes that sending makes, shared by all replicas. */
export function encodeTransaction(name: string, ltx: Uint8Array): Buffer {
  const { envelope, body } = withBody('transaction', name, ltx.length, Buffer.allocUnsafeSlow);
  body.set(ltx);
  return envelope;
}

/** A `large-chunk` whose bytes are still to be written into `body`. Its envelope may go to `giveEnvelope` when it was sent. */
export function chunkEnvelope(name: string, length: number): { envelope: Buffer; body: Buffer } {
  return withBody('large-chunk', name, length, takeEnvelope);
}

/** `[version, type, name, bytes]`: msgpackr packs all but the bytes, the array's count (low bits of byte 0) goes up by one. */
function withBody(
  type: MessageType,
  name: string,
  length: number,
  allocate: (sizeBytes: number) => Buffer,
): { envelope: Buffer; body: Buffer } {
  const head = packr.pack([PROTOCOL_VERSION, TYPE_NUMBERS.get(type), name]);
  const bodyAt = head.length + BIN32_HEAD_BYTES;
  const envelope = allocate(bodyAt + length);
  envelope.set(head);
  envelope[0]! += 1;
  envelope[head.length] = BIN32;
  envelope.writeUInt32BE(length, head.length + 1);
  return { envelope, body: envelope.subarray(bodyAt) };
}

function fieldsOf(message: Exclude<Message, { type: 'transaction' | 'large-chunk' }>): unknown[] {
  switch (message.type) {
    case 'hello':
      return [
        message.nodeId,
        message.name,
        Array.from(message.positions, ([name, { txid, checksum }]) => [name, txid, checksum]),
      ];
    case 'hello-reply':
      return [
        message.nodeId,
        message.advertise,
        message.sentMs,
        positionList(message.positions),
        message.run,
        message.proxy,
        message.wantsStored ? 1 : 0,
      ];
    case 'refuse':
      return [message.code, message.text];
    case 'large-begin':
      return [message.name, LARGE_KINDS.indexOf(message.kind), ...positionPair(message.position), message.timeMs];
    case 'large-end':
    case 'large-abort':
      return [message.name];
    case 'ack':
      return [message.name, message.bytes, ...(message.position === null ? [] : positionPair(message.position))];
    case 'heartbeat':
      return [message.sentMs, positionList(message.positions)];
    case 'heartbeat-reply':
      return [message.sentMs];
    case 'drop':
      return [message.name, ...positionPair(message.position)];
    case 'request-snapshot':
      return [message.name, message.serial, ...positionPair(message.position), REQUEST_REASONS.indexOf(message.reason)];
    case 'resume':
      return [message.name, message.serial, ...positionPair(message.position)];
    case 'restart':
      return [message.name, message.serial];
    case 'database-problem':
      return [message.name, message.code.slice(0, MAX_ID_LENGTH), message.text.slice(0, MAX_TEXT_LENGTH)];
    case 'halt':
      return [message.name, message.serial, message.byHand];
    case 'halt-wanted':
      return [message.name, message.serial, message.withNext];
    case 'release':
      return [message.name, message.serial];
    case 'halted': {
      const { name, serial, silenceMs, holdMs } = message;
      return [name, serial, ...positionPair(message.position), silenceMs, holdMs];
    }
    case 'halt-ended':
    case 'forward-refused': {
      const { name, serial, code, text } = message;
      return [name, serial, code.slice(0, MAX_ID_LENGTH), text.slice(0, MAX_TEXT_LENGTH)];
    }
    case 'forward-chunk':
    case 'forward':
      return [message.name, message.serial, message.bytes];
    case 'forwarded':
    case 'stored':
      return [message.name, ...positionPair(message.position)];
  }
}

function positionPair({ txid, checksum }: Position): [Txid, bigint] {
  return [txid, checksum];
}

function positionList(positions: readonly DatabasePosition[]): unknown[] {
  return positions.map(({ name, position, timeMs }) => [name, ...positionPair(position), timeMs]);
}

/**
 * Reads and checks a message; LTX bytes in it are a view of `bytes`. Throws `REPLICATION_MESSAGE` for anything that is
 * not one, `REPLICATION_VERSION` for one of another version, except that of a `hello` of another version only the
 * version is read.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  if (bytes.length > MAX_MESSAGE_BYTES) throw badMessage(`${bytes.length} bytes, more than ${MAX_MESSAGE_BYTES}`);
  checkShape(bytes);
  const values = unpack(bytes);
  const fields = new Fields(values, 'envelope');
  const version = fields.integer('version');
  const type = TYPES[fields.integer('type')];
  if (version !== PROTOCOL_VERSION) {
    if (type === 'hello') return { type, version, nodeId: '', name: '', positions: new Map() };
    if (type !== 'refuse') throw new SluiceError('REPLICATION_VERSION', versionText('the sender', version));
  }
  if (type === undefined) throw badMessage('unknown type');
  const rest = new Fields(values.slice(2), type);
  const message = readFields(type, rest, values.length - 2);
  rest.end();
  return message;
}

/** The text of a refusal for another protocol version; names both. */
export function versionText(who: string, version: number): string {
  return `${who} speaks replication protocol ${version}, this node ${PROTOCOL_VERSION}: run the same version of Sluice on both`;
}

function unpack(bytes: Uint8Array): unknown[] {
  let values: unknown;
  try {
    values = packr.unpack(bytes);
  } catch (error) {
    throw badMessage(describeError(error));
  }
  if (!Array.isArray(values)) throw badMessage('not an array');
  return values;
}

function readFields(type: MessageType, fields: Fields, count: number): Message {
  switch (type) {
    case 'hello':
      return {
        type,
        version: PROTOCOL_VERSION,
        nodeId: fields.text('node id', MAX_ID_LENGTH),
        name: fields.text('node name', MAX_ADDRESS_LENGTH),
        positions: new Map(fields.list('positions', MAX_DATABASES, (entry) => [entry.database(), entry.position()])),
      };
    case 'hello-reply':
      return {
        type,
        nodeId: fields.text('node id', MAX_ID_LENGTH),
        advertise: fields.textOrNull('address', MAX_ADDRESS_LENGTH),
        sentMs: fields.integer('time'),
        positions: readPositions(fields),
        run: fields.long('run'),
        proxy: fields.textOrNull('proxy address', MAX_ADDRESS_LENGTH),
        wantsStored: fields.integer('wants stored', 1) === 1,
      };
    case 'refuse':
      return { type, code: fields.text('code', MAX_ID_LENGTH), text: fields.text('text', MAX_TEXT_LENGTH) };
    case 'transaction':
      return { type, name: fields.database(), ltx: fields.bytes('LTX', CHUNK_BYTES) };
    case 'large-begin':
      return {
        type,
        name: fields.database(),
        kind: fields.choice('kind', LARGE_KINDS),
        position: fields.position(),
        timeMs: fields.integer('time'),
      };
    case 'large-chunk':
      return { type, name: fields.database(), bytes: fields.bytes('chunk', CHUNK_BYTES) };
    case 'large-end':
    case 'large-abort':
      return { type, name: fields.database() };
    case 'ack': {
      const name = fields.database();
      const bytes = fields.integer('byte count');
      return { type, name, bytes, position: count > 2 ? fields.position() : null };
    }
    case 'heartbeat':
      return { type, sentMs: fields.integer('time'), positions: readPositions(fields) };
    case 'heartbeat-reply':
      return { type, sentMs: fields.integer('time') };
    case 'drop':
      return { type, name: fields.database(), position: fields.position() };
    case 'request-snapshot':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        position: fields.position(),
        reason: fields.choice('reason', REQUEST_REASONS),
      };
    case 'resume':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        position: fields.position(),
      };
    case 'restart':
      return { type, name: fields.database(), serial: fields.integer('serial', MAX_SERIAL) };
    case 'database-problem':
      return {
        type,
        name: fields.database(),
        code: fields.text('code', MAX_ID_LENGTH),
        text: fields.text('text', MAX_TEXT_LENGTH),
      };
    case 'halt':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        byHand: fields.boolean('by hand'),
      };
    case 'halt-wanted':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        withNext: fields.boolean('with next'),
      };
    case 'release':
      return { type, name: fields.database(), serial: fields.integer('serial', MAX_SERIAL) };
    case 'halted':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        position: fields.position(),
        silenceMs: fields.integer('silence', MAX_HALT_MS),
        holdMs: fields.integer('hold', MAX_HALT_MS),
      };
    case 'halt-ended':
    case 'forward-refused':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        code: fields.text('code', MAX_ID_LENGTH),
        text: fields.text('text', MAX_TEXT_LENGTH),
      };
    case 'forward-chunk':
    case 'forward':
      return {
        type,
        name: fields.database(),
        serial: fields.integer('serial', MAX_SERIAL),
        bytes: fields.bytes('LTX', CHUNK_BYTES),
      };
    case 'forwarded':
    case 'stored':
      return { type, name: fields.database(), position: fields.position() };
  }
}

function readPositions(fields: Fields): DatabasePosition[] {
  return fields.list('positions', MAX_DATABASES, (entry) => ({
    name: entry.database(),
    position: entry.position(),
    timeMs: entry.integer('time'),
  }));
}
