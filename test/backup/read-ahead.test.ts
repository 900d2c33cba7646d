import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { countRequests, type Store, type StoreFile } from '../../src/backup/index.js';
import { readInOrder } from '../../src/backup/read-ahead.js';
import { errorCode, SluiceError } from '../../src/errors.js';
import { withFaultyBucket } from './faulty-bucket.js';

const MIB = 1024 * 1024;

function file(txid: number, sizeBytes: number): StoreFile {
  return { level: 0, minTxid: txid, maxTxid: txid, sizeBytes, timeMs: 0 };
}

/** What is at a place of a file: another value at each, mostly. */
function byteAt(txid: number, offset: number): number {
  return (offset * 31 + (offset >>> 12) + txid) & 0xff;
}

/** Gives such files, slowly, later ones sooner; notes what is asked for, and how much of it at a time. */
class SlowStore {
  readonly asked: string[] = [];
  underWay = 0;
  most = 0;
  sentBytes = 0;

  constructor(private readonly failsAt?: number) {}

  get store(): Store {
    const get = this.get.bind(this);
    return { get } as unknown as Store;
  }

  private async *get(
    { minTxid, sizeBytes }: StoreFile,
    range?: { offsetBytes: number; lengthBytes?: number },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const start = range?.offsetBytes ?? 0;
    const end = range?.lengthBytes === undefined ? sizeBytes : start + range.lengthBytes;
    this.asked.push(`${minTxid}:${start}-${range?.lengthBytes === undefined ? '' : end}`);
    this.most = Math.max(this.most, ++this.underWay);
    try {
      await sleep(this.asked.length % 3);
      if (minTxid === this.failsAt) throw new SluiceError('STORE_FAILED', 'as the test asked for');
      for (let at = start; at < end; at += 300_000) {
        const piece = new Uint8Array(Math.min(300_000, end - at));
        for (let i = 0; i < piece.length; i++) piece[i] = byteAt(minTxid, at + i);
        this.sentBytes += piece.length;
        yield piece;
        await sleep(0);
      }
    } finally {
      this.underWay--;
    }
  }
}

async function readAndCheck(slow: SlowStore, files: readonly StoreFile[], parallel?: number): Promise<void> {
  for await (const { file, pieces } of readInOrder(slow.store, files, parallel)) {
    let at = 0;
    for await (const piece of pieces) {
      for (let i = 0; i < piece.length; i += 1009) {
        if (piece[i] !== byteAt(file.minTxid, at + i)) throw new Error(`wrong byte at ${at + i} of ${file.minTxid}`);
      }
      at += piece.length;
    }
    assert.is(at, file.sizeBytes);
  }
}

test('files of all sizes, in order, in ranges of 4 MiB', async () => {
  const slow = new SlowStore();
  const files = [file(1, 9 * MIB), file(2, 1000), file(3, 4 * MIB), file(4, 0), file(5, 4 * MIB + 1)];
  await readAndCheck(slow, files);
  assert.equal(slow.asked, [
    `1:0-${4 * MIB}`,
    `1:${4 * MIB}-${8 * MIB}`,
    `1:${8 * MIB}-`,
    '2:0-',
    '3:0-',
    '4:0-',
    `5:0-${4 * MIB}`,
    `5:${4 * MIB}-`,
  ]);
  assert.is(countRequests(files), slow.asked.length);
});

test('so many at a time, and no more', async () => {
  const files = Array.from({ length: 40 }, (_, i) => file(i + 1, 1000));
  for (const parallel of [1, 3]) {
    const slow = new SlowStore();
    await readAndCheck(slow, files, parallel);
    assert.is(slow.most, parallel);
  }
});

test('what is not taken is not fetched beyond 32 MiB and what is being read', async () => {
  const slow = new SlowStore();
  for await (const { pieces } of readInOrder(slow.store, [file(1, 200 * MIB)], 64)) {
    for await (const _ of pieces) {
      await sleep(100);
      break;
    }
    break;
  }
  assert.ok(slow.asked.length <= 9, `${slow.asked.length} ranges`);
  assert.ok(slow.sentBytes <= 37 * MIB);
});

test('a failure is met when its turn comes', async () => {
  const slow = new SlowStore(3);
  const read: number[] = [];
  try {
    for await (const { file: found, pieces } of readInOrder(slow.store, [file(1, 10), file(2, 10), file(3, 10)])) {
      for await (const _ of pieces) read.push(found.minTxid);
    }
    assert.unreachable();
  } catch (error) {
    assert.is(errorCode(error), 'STORE_FAILED');
  }
  assert.equal(read, [1, 2]);
});

test('connections that break in each of several ranges are taken up where they were', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const bytes = new Uint8Array(10 * MIB);
    for (let i = 0; i < bytes.length; i++) bytes[i] = byteAt(7, i);
    await store.put({ level: 9, minTxid: 1, maxTxid: 7, timestampMs: 0 }, bytes);
    const key: StoreFile = { level: 9, minTxid: 1, maxTxid: 7, sizeBytes: bytes.length, timeMs: 0 };
    proxy.set('cut', 6, ({ method }) => method === 'GET');
    const parts: Uint8Array[] = [];
    for await (const { pieces } of readInOrder(store, [key], 3)) {
      for await (const piece of pieces) parts.push(Uint8Array.from(piece));
    }
    assert.ok(Buffer.concat(parts).equals(bytes));
    assert.is(proxy.faulted, 6);
  }));

test.run();
