import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sendForward } from '../../src/forwarding/forward-pieces.js';
import { HaltDesk } from '../../src/forwarding/index.js';
import { FORWARD_PIECE_BYTES, FORWARD_QUEUE_BYTES, HALT_LIMITS } from '../../src/forwarding/limits.js';
import type { WriteMessage, WritePeer } from '../../src/replication/index.js';
import { waitFor } from '../support/cluster.js';

const test = suite('forwarding/forward-pieces');

const SIZE = FORWARD_QUEUE_BYTES + 3 * FORWARD_PIECE_BYTES + 5;

let folder: string;
let path: string;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-pieces-'));
  path = join(folder, 'tx');
  writeFileSync(path, Buffer.alloc(SIZE + 10, 7));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** A line that takes nothing until it is told to. */
class Line {
  readonly sent: WriteMessage[] = [];
  queued = 0;
  send(message: WriteMessage): void {
    this.sent.push(message);
    if ('bytes' in message) this.queued += message.bytes.length;
  }
  queuedBytes(): number {
    return this.queued;
  }
}

const bytesOf = (messages: readonly WriteMessage[]) =>
  Buffer.concat(messages.flatMap((message) => ('bytes' in message ? [message.bytes] : [])));
const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

test('a large transaction waits for the line, in its file', async () => {
  const line = new Line();
  const location = { kind: 'file', path, offset: 10, size: SIZE } as const;
  const done = sendForward('a.db', 3, location, line, () => true);
  await settle();
  assert.ok(line.queued <= FORWARD_QUEUE_BYTES + FORWARD_PIECE_BYTES, 'few bytes wait in memory');
  assert.ok(line.sent.every(({ type }) => type === 'forward-chunk'));
  line.queued = 0;
  await done;
  assert.is(bytesOf(line.sent).length, SIZE);
  assert.equal(
    line.sent.map(({ type }) => type).filter((type) => type === 'forward'),
    ['forward'],
  );
  assert.is(line.sent.at(-1)!.type, 'forward');
});

test('a small one is sent at once', () => {
  const line = new Line();
  void sendForward('a.db', 3, { kind: 'bytes', bytes: Buffer.alloc(100) }, line, () => true);
  assert.equal(
    line.sent.map(({ type }) => type),
    ['forward'],
  );
});

test('one that nobody waits for any more is not sent on', async () => {
  const line = new Line();
  let isWanted = true;
  const done = sendForward('a.db', 3, { kind: 'file', path, offset: 0, size: SIZE }, line, () => isWanted);
  await settle();
  const { length } = line.sent;
  isWanted = false;
  await done;
  assert.is(line.sent.length, length);
});

test('a file that is cut is an error', async () => {
  const line = new Line();
  const location = { kind: 'file', path, offset: 0, size: SIZE + 100 } as const;
  const done = sendForward('a.db', 3, location, line, () => true).catch((error: Error) => error.message);
  await settle();
  line.queued = 0;
  assert.match(String(await done), /is cut/);
});

test('what was begun and given up is not a part of the next one', async () => {
  const said: string[] = [];
  const desk = new HaltDesk(
    {
      limits: HALT_LIMITS,
      halter: () => Promise.reject(new Error('not asked')),
      closeHalter: async () => undefined,
      ground: () => undefined,
      settled: async () => undefined,
      log: { warn: (_fields, text) => said.push(text), info: () => undefined },
    },
    folder,
  );
  const answers: string[] = [];
  const peer: WritePeer = {
    nodeId: 'r',
    heardMs: 0,
    send: (message) => {
      if (message.type === 'forward-refused') answers.push(`${message.serial} ${message.text}`);
    },
    expect: () => undefined,
    settle: () => undefined,
  };
  const piece = { name: 'a.db', bytes: Buffer.alloc(FORWARD_PIECE_BYTES, 1) };
  for (let n = 0; n < 40; n++) assert.ok(desk.receive(peer, { type: 'forward-chunk', serial: 3, ...piece }));
  const spooled = () => readdirSync(folder).filter((name) => name.startsWith('forwarded-')).length;
  assert.is(spooled(), 1);
  assert.ok(desk.receive(peer, { type: 'forward-chunk', name: 'a.db', serial: 4, bytes: Buffer.from('not ') }));
  assert.is(spooled(), 0);
  assert.ok(desk.receive(peer, { type: 'forward', name: 'a.db', serial: 4, bytes: Buffer.from('an LTX') }));
  await waitFor(() => answers.length === 1);
  assert.match(answers[0]!, /^4 /);
  desk.close();
});

test.run();
