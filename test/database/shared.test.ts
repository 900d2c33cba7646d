import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PinFlags } from '../../src/database/pin-flags.js';
import { MAX_SLOTS, SharedState } from '../../src/database/shared.js';

const test = suite('memory shared by the threads');

test('each slot has its own fields, and another side sees them', () => {
  const here = new SharedState();
  const there = new SharedState(here.buffer);
  for (const slot of [0, 1, MAX_SLOTS - 1]) {
    const wal = { walFrames: slot + 8, walSalt1: 0xffff_0000 + slot, walSalt2: 0xfff0_0000 + slot };
    here.setPosition(slot, slot + 1, BigInt(slot + 2), slot + 3, wal);
    here.publishWal(slot, slot + 4, slot + 5);
    here.setLogFd(slot, slot + 6);
    here.settle(slot, slot + 7);
  }
  for (const slot of [0, 1, MAX_SLOTS - 1]) {
    const wal = { walFrames: slot + 8, walSalt1: 0xffff_0000 + slot, walSalt2: 0xfff0_0000 + slot };
    assert.equal(there.position(slot), { txid: slot + 1, checksum: BigInt(slot + 2), pageCount: slot + 3, ...wal });
    assert.equal(there.wal(slot), { generation: slot + 4, frames: slot + 5 });
    assert.is(there.logFd(slot), slot + 6);
    assert.is(there.settled(slot), slot + 7);
    for (const flag of ['isHeld', 'takeWaiting', 'takeLogDirty'] as const) assert.is(there[flag](slot), false);
    assert.is(there.fileWrites(slot), 0);
  }
  assert.is(there.logFd(2), -1);
  assert.is(there.lagMs(), -1);
});

test('a WAL of one generation is known by its salts', () => {
  const shared = new SharedState();
  const salts = { salt1: 0xffff_fff0, salt2: 3 };
  shared.publishWal(1, 4, 2, salts);
  assert.is(shared.isWal(1, 4, salts), true);
  assert.is(shared.isWal(1, 5, salts), false);
  assert.is(shared.isWal(1, 4, { ...salts, salt1: 1 }), false);
  assert.is(shared.isWal(1, 4, { ...salts, salt2: 1 }), false);
  // More of the same.
  shared.publishWal(1, 4, 3);
  assert.is(shared.isWal(1, 4, salts), true);
  shared.beginWal(1, 5);
  assert.is(shared.isWal(1, 5, salts), false);
  assert.is(shared.isWal(1, 5, { salt1: 0, salt2: 0 }), true);
});

test('a WAL is logged by generation and frames', () => {
  const shared = new SharedState();
  assert.is(shared.isLogged(0, 5, 0), true, 'there is nothing to log');
  shared.publishLogged(0, 1, 10);
  assert.equal(
    [9, 10, 11].map((frames) => shared.isLogged(0, 1, frames)),
    [true, true, false],
  );
  assert.is(shared.isLogged(0, 2, 1), false);
  shared.publishLogged(0, 2, 1);
  assert.equal([shared.isLogged(0, 1, 1), shared.isLogged(0, 2, 1), shared.isLogged(0, 2, 2)], [false, true, false]);
});

test('the ring has each slot once, in order, however often it rang, and all of them at once', () => {
  const shared = new SharedState();
  for (let round = 0; round < 3; round++) {
    for (let slot = 0; slot < MAX_SLOTS; slot++) {
      shared.ringBell(slot);
      shared.ringBell(slot);
    }
    for (let slot = 0; slot < MAX_SLOTS; slot++) assert.is(shared.takeAttention(), slot);
    assert.is(shared.takeAttention(), -1);
  }
});

test('the bell ends a wait, also one that began after it rang', async () => {
  const shared = new SharedState();
  const seen = shared.bell();
  setImmediate(() => shared.ringBell(3));
  await shared.untilBell(seen);
  await shared.untilBell(seen);
  assert.is(shared.takeAttention(), 3);
});

test('a position that is read while it is written is never of two', async () => {
  const shared = new SharedState();
  const script = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.module).then(({ SharedState }) => {
      const shared = new SharedState(workerData.buffer);
      parentPort.postMessage('begun');
      const untilMs = Date.now() + 400;
      let n = 0;
      while (Date.now() < untilMs) for (let i = 0; i < 1000; i++) { n++; shared.setPosition(0, n, BigInt(n) * 3n, n % 1000); }
      parentPort.postMessage(n);
    });`;
  const module = new URL('../../src/database/shared.js', import.meta.url).href;
  const worker = new Worker(script, { eval: true, workerData: { module, buffer: shared.buffer } });
  const messages: unknown[] = [];
  worker.on('message', (message) => messages.push(message));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  while (messages.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  let reads = 0;
  while (messages.length < 2) {
    for (let i = 0; i < 2000; i++) {
      const { txid, checksum, pageCount } = shared.position(0);
      if (checksum !== BigInt(txid) * 3n || pageCount !== txid % 1000) assert.unreachable(`${txid} with ${checksum}`);
      reads++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await ended;
  assert.ok(reads > 0);
});

test('flags of a pin: a bit for each page of the image, and none for others', () => {
  const here = new PinFlags({ pages: 100 });
  const there = new PinFlags(here.buffer);
  for (const page of [1, 31, 32, 33, 100]) {
    assert.is(there.covers(page), true);
    assert.is(there.isSaved(page), false);
    here.setSaved(page);
    assert.is(there.isSaved(page), true);
  }
  for (const page of [2, 30, 34, 99]) assert.is(there.isSaved(page), false);
  assert.is(here.covers(128), false);
  assert.is(here.isSaved(1_000_000), false);
  there.cursor = 77;
  assert.is(here.cursor, 77);
  assert.equal([there.walCopied, there.failed], [false, false]);
  here.setWalCopied();
  here.setFailed();
  assert.equal([there.walCopied, there.failed], [true, true]);
});

test.run();
