import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Database, ToWorker } from '../../src/database/index.js';
import { DatabaseWrites, type WriteEvent } from '../../src/forwarding/database-writes.js';
import { WRITE_LIMITS } from '../../src/forwarding/index.js';
import type { Position } from '../../src/ltx/index.js';
import type { WriteMessage } from '../../src/replication/index.js';
import { waitFor } from '../support/cluster.js';

/** What a replica's main thread makes of the lock by hand, between the worker and the primary. */

const test = suite('forwarding/by-hand');

const NAME = 'app.db';
const AT: Position = { txid: 4, checksum: 1n << 63n };
const LIMITS = { silenceMs: 60_000, holdMs: 60_000 };
const FURTHER: Position = { txid: 5, checksum: (1n << 63n) | 5n };

class Scene {
  readonly toPrimary: WriteMessage[] = [];
  readonly toWorker: ToWorker[] = [];
  readonly warned: string[] = [];
  position = AT;
  isConnected = true;
  private serials = 0;
  private readonly sender = {
    send: (message: WriteMessage) => void this.toPrimary.push(message),
    queuedBytes: () => 0,
  };
  readonly writes = new DatabaseWrites(NAME, {
    limits: { ...WRITE_LIMITS, waitMs: 200 },
    spool: '/nonexistent',
    database: () => {
      const { position } = this;
      return {
        name: NAME,
        live: true,
        position,
        log: { last: position.txid },
        isWal: () => true,
      } as unknown as Database;
    },
    blank: () => assert.unreachable('the database is there') as never,
    look: () => Promise.resolve({ wal: undefined, position: undefined }) as never,
    sender: () => (this.isConnected ? this.sender : undefined),
    playedBack: () => undefined,
    worker: (message) => this.toWorker.push(message),
    heardMs: () => 0,
    serial: () => ++this.serials,
    log: { warn: (_fields, message) => this.warned.push(message), debug: () => undefined },
  });

  worker(kind: 'hand-wanted' | 'hand-released' | 'hand-taken', inherited = false): void {
    this.writes.onWorker({ kind, name: NAME, ...(kind === 'hand-taken' && { inherited }) } as WriteEvent);
  }

  /** An application waits for SQLite's write lock. */
  wantLock(): void {
    this.writes.onWorker({ kind: 'lock-wanted', name: NAME });
  }

  releaseLock(serial: number, committed: boolean): void {
    this.writes.onWorker({ kind: 'lock-released', name: NAME, serial, committed });
  }

  /** The primary's answer to the last `halt`. */
  halted(position = AT): void {
    this.writes.onAnswer({ type: 'halted', name: NAME, serial: this.halt().serial, position, ...LIMITS });
  }

  ended(code: string): void {
    this.writes.onAnswer({ type: 'halt-ended', name: NAME, serial: this.halt().serial, code, text: 'why' });
  }

  halt(): Extract<WriteMessage, { type: 'halt' }> {
    const halt = this.toPrimary.findLast(({ type }) => type === 'halt');
    if (halt?.type !== 'halt') throw new Error('nothing was asked');
    return halt;
  }

  get asked(): string[] {
    return this.toPrimary.map((message) => (message.type === 'halt' && message.byHand ? 'halt by hand' : message.type));
  }

  get told(): string[] {
    return this.toWorker.map((message) => (message.kind === 'hand' ? message.what : message.kind));
  }

  /** Somebody has it. */
  hold(): void {
    this.worker('hand-wanted');
    this.halted();
    this.worker('hand-taken');
  }

  /** The last grant. */
  async granted(count = 1): Promise<number> {
    const grants = () => this.toWorker.filter(({ kind }) => kind === 'grant');
    await waitFor(() => grants().length >= count);
    return (grants().at(-1) as Extract<ToWorker, { kind: 'grant' }>).serial;
  }

  reconnect(): void {
    this.isConnected = false;
    this.writes.disconnected();
    this.isConnected = true;
    this.writes.connected();
  }
}

async function scene(run: (s: Scene) => Promise<void>): Promise<void> {
  const s = new Scene();
  try {
    await run(s);
  } finally {
    s.writes.close();
  }
}

const check = (name: string, run: (s: Scene) => Promise<void>): void => test(name, () => scene(run));

check('it is asked for as such, and given when the database is up to date', async (s) => {
  s.worker('hand-wanted');
  assert.equal(s.asked, ['halt by hand']);
  s.halted(FURTHER);
  assert.equal(s.told, []);
  s.position = FURTHER;
  s.writes.moved();
  assert.equal(s.told, ['given']);
});

check('it is kept between transactions, whatever the primary asks, until it is given back', async (s) => {
  s.hold();
  for (let n = 1; n <= 3; n++) {
    s.wantLock();
    const serial = await s.granted(n);
    s.writes.onAnswer({ type: 'halt-wanted', name: NAME, serial: s.halt().serial, withNext: false });
    s.releaseLock(serial, false);
    await sleep(3 * WRITE_LIMITS.keepMs);
    for (const message of s.toWorker.splice(0)) {
      if (message.kind !== 'grant-return') continue;
      s.writes.onWorker({ kind: 'grant-returned', name: NAME, serial: message.serial, ended: true });
    }
    s.toWorker.push(...new Array<ToWorker>(n).fill({ kind: 'grant', name: NAME, serial, wal: undefined, untilMs: 0 }));
  }
  assert.equal(s.asked, ['halt by hand']);
  s.worker('hand-released');
  await waitFor(() => s.asked.includes('release'));
  assert.equal(s.asked, ['halt by hand', 'release']);
  assert.ok(s.writes.isIdle);
});

check('who wants it next does not have it of the same halt', async (s) => {
  s.hold();
  s.worker('hand-released');
  s.worker('hand-wanted');
  await waitFor(() => s.asked.length === 3);
  assert.equal(s.asked, ['halt by hand', 'release', 'halt by hand']);
  s.halted();
  assert.equal(s.told, ['given', 'given']);
});

check('a halt that an application’s transaction was given is not enough', async (s) => {
  s.wantLock();
  s.halted();
  const serial = await s.granted();
  s.worker('hand-wanted');
  assert.equal(s.asked, ['halt']);
  await waitFor(() => s.told.includes('grant-return'));
  s.writes.onWorker({ kind: 'grant-returned', name: NAME, serial, ended: false });
  s.releaseLock(serial, false);
  await waitFor(() => s.asked.length === 3);
  assert.equal(s.asked, ['halt', 'release', 'halt by hand']);
});

check('a replica that does not come up to the primary lets it go on, and tries again', async (s) => {
  s.worker('hand-wanted');
  s.halted(FURTHER);
  await waitFor(() => s.asked.length === 3);
  assert.equal(s.asked, ['halt by hand', 'release', 'halt by hand']);
  assert.equal(s.told, []);
});

check('a busy primary is asked again', async (s) => {
  s.worker('hand-wanted');
  s.ended('HALT_BUSY');
  await waitFor(() => s.asked.length === 2);
  s.halted();
  assert.equal(s.told, ['given']);
});

check('a primary that takes no writes is not', async (s) => {
  s.worker('hand-wanted');
  s.ended('WRITES_OFF');
  assert.equal(s.told, ['refused']);
  assert.is(s.warned.length, 1);
  assert.ok(s.writes.isIdle);
});

check('taken back, it is lost until it is given back: nobody here gets the lock', async (s) => {
  s.hold();
  s.ended('HALT_EXPIRED');
  assert.match(s.warned.join(), 'was lost');
  s.wantLock();
  assert.equal(s.told, ['given', 'returned', 'lock-refused']);
  s.writes.onWorker({
    kind: 'commit',
    name: NAME,
    serial: 1,
    commit: { kind: 'rollback', pages: undefined },
  });
  await waitFor(() => s.told.includes('commit-answer'));
  assert.equal(s.toWorker.at(-1), { kind: 'commit-answer', name: NAME, taken: false });
  assert.equal(s.asked, ['halt by hand']);
  s.worker('hand-released');
  s.wantLock();
  assert.equal(s.asked, ['halt by hand', 'halt']);
});

check('after a lost connection it goes on, if nobody else has written', async (s) => {
  s.hold();
  s.reconnect();
  assert.equal(s.asked, ['halt by hand', 'halt by hand']);
  s.wantLock();
  s.halted();
  await s.granted();
  assert.equal(s.warned, []);
});

check('and is lost, if somebody has', async (s) => {
  s.hold();
  s.reconnect();
  s.position = FURTHER;
  s.halted(FURTHER);
  assert.match(s.warned.join(), 'others have written');
  await waitFor(() => s.asked.includes('release'));
  s.wantLock();
  assert.is(s.told.at(-1), 'lock-refused');
});

check('what was given, and is lost before somebody takes it, is nobody’s', async (s) => {
  s.worker('hand-wanted');
  s.halted();
  s.ended('HALT_EXPIRED');
  assert.equal(s.told, ['given', 'returned']);
  s.worker('hand-released');
  assert.ok(s.writes.isIdle);
});

check('what nobody takes goes back, also after a lost connection', async (s) => {
  s.worker('hand-wanted');
  s.halted();
  s.reconnect();
  s.halted();
  assert.equal(s.told, ['given']);
  await waitFor(() => s.told.includes('returned'));
  s.worker('hand-released');
  await waitFor(() => s.asked.includes('release'));
});

check('what an earlier process gave is asked for again', async (s) => {
  s.worker('hand-taken', true);
  assert.equal(s.asked, ['halt by hand']);
  s.halted();
  assert.equal(s.told, []);
  s.worker('hand-released');
  await waitFor(() => s.asked.includes('release'));
});

test.run();
