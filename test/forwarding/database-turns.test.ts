import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Halter } from '../../src/apply/index.js';
import { HaltDesk } from '../../src/forwarding/index.js';
import { HALT_LIMITS, type HaltLimits } from '../../src/forwarding/limits.js';
import { DatabaseSums, decodeHeader, encodeLtx, type Position, pageChecksum } from '../../src/ltx/index.js';
import type { WritePeer } from '../../src/replication/index.js';
import type { Message } from '../../src/replication/messages.js';

/** The primary's side of forwarded writes, with a database of one page that is a number. */

const test = suite('HaltDesk');
const spool = mkdtempSync(join(tmpdir(), 'sluice-turns-'));
test.after(() => rmSync(spool, { recursive: true, force: true }));

const PAGE_SIZE = 512;
const ENDS = { silenceMs: HALT_LIMITS.silenceMs, holdMs: HALT_LIMITS.holdMs };
const FAST: HaltLimits = { ...HALT_LIMITS, restMs: 1, lockMs: 50 };

function sumsOf(value: number): DatabaseSums {
  const sums = new DatabaseSums(PAGE_SIZE);
  const sum = { high: 0, low: 0 };
  pageChecksum(1, Buffer.alloc(PAGE_SIZE, value), 0, PAGE_SIZE, sum);
  sums.set(1, sum.high, sum.low);
  return sums;
}

function positionOf(txid: number, value: number): Position {
  return { txid, checksum: sumsOf(value).checksum() };
}

/** The transaction that makes it `value`, after `before`. */
function write(before: Position, value: number): Uint8Array {
  const header = {
    pageSize: PAGE_SIZE,
    commit: 1,
    minTxid: before.txid + 1,
    maxTxid: before.txid + 1,
    timestampMs: 1,
    preApply: before.checksum,
    postApply: positionOf(0, value).checksum,
  };
  return encodeLtx(header, [{ pgno: 1, data: Buffer.alloc(PAGE_SIZE, value) }]);
}

class Primary implements Halter {
  position = positionOf(2, 1);
  value = 1;
  /** Who has the write lock. */
  lock: 'free' | 'replica' | 'local' = 'free';
  readonly events: string[] = [];
  private readonly history = new Map<number, bigint>();

  readonly desk: HaltDesk;

  constructor(limits: HaltLimits = FAST) {
    this.desk = new HaltDesk(
      {
        limits,
        halter: async () => this,
        closeHalter: () => this.close(),
        ground: (name) => {
          if (name !== 'a.db') return undefined;
          const after = (txid: number) => this.history.get(txid);
          return { name, position: this.position, pageSize: PAGE_SIZE, pageCount: 1, sums: sumsOf(this.value), after };
        },
        settled: async () => this.position,
        log: { warn: () => undefined, info: () => undefined },
      },
      spool,
    );
  }

  advance(value: number): void {
    this.value = value;
    this.position = positionOf(this.position.txid + 1, value);
    this.history.set(this.position.txid, this.position.checksum);
  }

  async halt(): Promise<boolean> {
    if (this.lock !== 'free') return false;
    this.lock = 'replica';
    this.events.push('lock');
    return true;
  }

  async commit(_name: string, ltx: Parameters<Halter['commit']>[1]): Promise<void> {
    assert.is(this.lock, 'replica', 'nothing is written without the lock');
    if (ltx.kind !== 'bytes') throw new Error('a file');
    const { minTxid } = decodeHeader(ltx.bytes);
    assert.is(minTxid, this.position.txid + 1);
    this.advance(this.value + 1);
    this.events.push(`commit ${minTxid}`);
  }

  async create(): Promise<void> {
    throw new Error('not here');
  }

  async release(): Promise<void> {
    if (this.lock === 'replica') this.lock = 'free';
    this.events.push('unlock');
  }

  async close(): Promise<void> {}
}

class Replica implements WritePeer {
  heardMs = performance.now();
  readonly said: Message[] = [];
  readonly expected: Position[] = [];

  constructor(
    readonly nodeId: string,
    private readonly primary: Primary,
  ) {}

  send(message: Message): void {
    this.said.push(message);
  }

  expect(_name: string, position: Position): void {
    this.expected.push(position);
  }

  settle(): void {}

  halt(serial: number): void {
    this.primary.desk.receive(this, { type: 'halt', name: 'a.db', serial, byHand: false });
  }

  release(serial: number): void {
    this.primary.desk.receive(this, { type: 'release', name: 'a.db', serial });
  }

  forward(serial: number, bytes: Uint8Array, pieces = 1): void {
    const size = Math.ceil(bytes.length / pieces);
    for (let n = 0; n < pieces; n++) {
      const type = n === pieces - 1 ? 'forward' : 'forward-chunk';
      this.primary.desk.receive(this, { type, name: 'a.db', serial, bytes: bytes.subarray(n * size, (n + 1) * size) });
    }
  }

  types(): string[] {
    return this.said.map(({ type }) => type);
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; !holds(); n++) {
    if (n > 2000) throw new Error('it does not happen');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('one after the other, each with the lock for itself', async () => {
  const primary = new Primary();
  const [a, b] = [new Replica('a', primary), new Replica('b', primary)];
  a.halt(1);
  b.halt(7);
  await until(() => a.types().includes('halt-wanted'));
  assert.equal(a.said[0], { type: 'halted', name: 'a.db', serial: 1, position: positionOf(2, 1), ...ENDS });
  assert.equal(b.said, []);
  a.forward(2, write(primary.position, 2), 3);
  await until(() => primary.position.txid === 3);
  assert.equal(a.expected, [positionOf(3, 2)]);
  a.forward(3, write(positionOf(3, 2), 3));
  await until(() => primary.position.txid === 4);
  a.release(1);
  await until(() => b.said.length > 0);
  assert.equal(b.said[0], { type: 'halted', name: 'a.db', serial: 7, position: positionOf(4, 3), ...ENDS });
  b.release(7);
  await until(() => primary.lock === 'free');
  assert.equal(primary.events, ['lock', 'commit 3', 'commit 4', 'unlock', 'lock', 'unlock']);
});

test('what came before the lock was given back belongs to the turn', async () => {
  const primary = new Primary();
  const [a, b] = [new Replica('a', primary), new Replica('b', primary)];
  a.halt(1);
  await until(() => a.types().includes('halted'));
  a.forward(2, write(primary.position, 2));
  a.release(1);
  b.halt(7);
  await until(() => b.types().includes('halted'));
  assert.equal(b.said[0], { type: 'halted', name: 'a.db', serial: 7, position: positionOf(3, 2), ...ENDS });
  b.release(7);
  await until(() => primary.lock === 'free');
  assert.equal(primary.events, ['lock', 'commit 3', 'unlock', 'lock', 'unlock']);
});

test('a replica that is gone, or silent, or has it for too long loses it', async () => {
  const primary = new Primary({ ...FAST, silenceMs: 60, holdMs: 200, turnMs: 30 });
  const gone = new Replica('gone', primary);
  gone.halt(1);
  await until(() => gone.types().includes('halted'));
  primary.desk.left(gone);
  await until(() => primary.lock === 'free');
  const silent = new Replica('silent', primary);
  silent.halt(1);
  await until(() => silent.types().includes('halt-ended'));
  await until(() => primary.lock === 'free');
  const greedy = new Replica('greedy', primary);
  const beat = setInterval(() => {
    greedy.heardMs = performance.now();
  }, 5);
  greedy.halt(1);
  await until(() => greedy.types().includes('halt-ended'));
  clearInterval(beat);
  assert.equal(greedy.types(), ['halted', 'halt-wanted', 'halt-ended']);
  const ended = greedy.said.at(-1);
  assert.is(ended?.type === 'halt-ended' && ended.code, 'HALT_EXPIRED');
  await until(() => primary.lock === 'free');
});

test('the primary’s own writers have it: busy, after a while', async () => {
  const primary = new Primary();
  primary.lock = 'local';
  const replica = new Replica('a', primary);
  replica.halt(4);
  await until(() => replica.said.length > 0);
  const [answer] = replica.said;
  assert.is(answer?.type === 'halt-ended' && answer.code, 'HALT_BUSY');
  assert.is(primary.lock, 'local');
});

test('sent again: what was taken is not made twice, what was not is taken if nothing came in between', async () => {
  const primary = new Primary();
  const replica = new Replica('a', primary);
  const first = write(primary.position, 2);
  replica.forward(1, first);
  await until(() => primary.position.txid === 3);
  replica.forward(2, first);
  await until(() => primary.lock === 'free');
  assert.is(primary.position.txid, 3);
  assert.equal(replica.said, [], 'the stream says what was taken');
  const late = write(positionOf(3, 2), 7);
  primary.advance(5);
  replica.forward(3, late);
  await until(() => replica.said.length > 0);
  const [answer] = replica.said;
  assert.is(answer?.type === 'forward-refused' && `${answer.serial} ${answer.code}`, '3 FORWARD_STALE');
  assert.is(primary.position.txid, 4);
  await until(() => primary.lock === 'free');
});

test('what is no transaction is refused, and the lock stays with who has it', async () => {
  const primary = new Primary();
  const replica = new Replica('a', primary);
  replica.halt(1);
  await until(() => replica.types().includes('halted'));
  const bad = Buffer.from(write(primary.position, 2));
  bad[bad.length - 20]! ^= 1;
  replica.forward(2, bad);
  await until(() => replica.types().includes('forward-refused'));
  replica.forward(3, write(primary.position, 2));
  await until(() => primary.position.txid === 3);
  replica.release(1);
  await until(() => primary.lock === 'free');
});

test.run();
