import { Packr } from 'msgpackr';
import { errorCode, SluiceError } from '../../../../src/errors.js';
import { decodeMessage, encodeMessage, type Message, PROTOCOL_VERSION } from '../../../../src/replication/messages.js';
import type { Random } from '../random.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

const packr = new Packr({ useRecords: false, variableMapSize: false });
const position = { txid: 77, checksum: 0xf123_4567_89ab_cdefn };
const positions = [
  { name: 'app.db', position, timeMs: 1_795_259_298_915 },
  { name: 'söme/föld€r/🙂.db', position: { txid: 2 ** 53 - 1, checksum: 0n }, timeMs: 0 },
];

const MESSAGES: readonly Message[] = [
  {
    type: 'hello',
    version: PROTOCOL_VERSION,
    nodeId: 'node-1',
    name: 'fra',
    positions: new Map([['app.db', position]]),
  },
  {
    type: 'hello-reply',
    nodeId: 'node-1',
    advertise: null,
    sentMs: 5,
    positions,
    run: 12n,
    proxy: 'http://p:1',
    wantsStored: true,
  },
  {
    type: 'refuse',
    code: 'CODE',
    text: 'a text of more than sixty-four characters, so that it is read in another way',
  },
  { type: 'transaction', name: 'app.db', ltx: Buffer.alloc(200, 7) },
  { type: 'large-begin', name: 'app.db', kind: 'diverged', position, timeMs: 7 },
  { type: 'large-chunk', name: 'app.db', bytes: Buffer.alloc(300, 1) },
  { type: 'large-end', name: 'app.db' },
  { type: 'large-abort', name: 'app.db' },
  { type: 'ack', name: 'app.db', position, bytes: 1000 },
  { type: 'ack', name: 'app.db', position: null, bytes: 2 ** 40 },
  { type: 'heartbeat', sentMs: 1, positions },
  { type: 'heartbeat-reply', sentMs: 1 },
  { type: 'drop', name: 'a/b/c.db', position },
  { type: 'request-snapshot', name: 'app.db', serial: 5, position, reason: 'behind' },
  { type: 'resume', name: 'app.db', serial: 0xffff_ffff, position },
  { type: 'restart', name: 'app.db', serial: 1 },
  { type: 'database-problem', name: 'app.db', code: 'CODE', text: 'a text' },
  { type: 'halt', name: 'app.db', serial: 1, byHand: true },
  { type: 'halted', name: 'app.db', serial: 1, position, silenceMs: 5000, holdMs: 2 ** 30 },
  { type: 'halt-wanted', name: 'app.db', serial: 2, withNext: true },
  { type: 'halt-ended', name: 'app.db', serial: 2, code: 'CODE', text: 'a text' },
  { type: 'release', name: 'app.db', serial: 0xffff_ffff },
  { type: 'forward-chunk', name: 'app.db', serial: 3, bytes: Buffer.alloc(300, 2) },
  { type: 'forward', name: 'app.db', serial: 3, bytes: Buffer.alloc(1) },
  { type: 'forwarded', name: 'app.db', position },
  { type: 'forward-refused', name: 'app.db', serial: 3, code: 'CODE', text: '' },
  { type: 'stored', name: 'app.db', position },
];

const WORDS: readonly unknown[] = [
  0,
  1,
  -1,
  0.5,
  2 ** 53,
  10n,
  '',
  '.',
  '..',
  '/',
  '__proto__',
  'constructor',
  null,
  [],
  [[]],
];

/** Messages of the replication protocol. */
export const messages: TargetOpener = {
  open: (): Target => ({
    seeds: MESSAGES.map((message) => encodeMessage(message)),
    dictionary: [
      ...WORDS.map((word) => packr.pack(word)),
      ...[
        'dcffff',
        'ddffffffff',
        'dd00400000',
        'c6ffffffff',
        'dbffffffff',
        'd9ff',
        'c70872',
        'd4',
        'd6ff',
        'de0001',
        'df',
        '81',
        'c1',
      ].map((hex) => Buffer.from(hex, 'hex')),
      Buffer.alloc(60, 0x91),
      Buffer.alloc(10_000, 0x90),
    ],
    maxBytes: 24 << 10,
    make: (random) => packr.pack([random.below(3), random.below(20), ...fields(random, 3)]),
    run(input) {
      const decoded = attempt(isRefusal, () => decodeMessage(input));
      if (!('value' in decoded) || isForeignHello(decoded.value)) return;
      const again = encodeMessage(decoded.value);
      mustHold(encodeMessage(decodeMessage(again)).equals(again), 'a message that is encoded and decoded is another');
    },
  }),
};

/** Only its version was read. */
const isForeignHello = (message: Message): boolean => message.type === 'hello' && message.version !== PROTOCOL_VERSION;

function fields(random: Random, depth: number): unknown[] {
  return Array.from({ length: random.small(8) }, () => {
    if (depth > 0 && random.chance(0.3)) return fields(random, depth - 1);
    if (random.chance(0.3)) return random.bytes(random.small(40));
    if (random.chance(0.3)) return random.bytes(random.small(100)).toString('latin1');
    return random.pick([...WORDS, 'app.db', random.bits(32), BigInt(random.bits(32))]);
  });
}

function isRefusal(error: unknown): boolean {
  return error instanceof SluiceError && /^REPLICATION_/.test(errorCode(error) ?? '');
}
