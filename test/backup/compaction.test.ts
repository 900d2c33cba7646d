import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compact } from '../../src/backup/compaction.js';
import { CompactionThread } from '../../src/backup/compaction-thread.js';
import { openStore, type Store, type StoreFile } from '../../src/backup/index.js';
import { encodeLtx, type LtxPage } from '../../src/ltx/index.js';
import { fixture, headerOf, makePages, readAll, upTo } from '../ltx/support.js';
import { ltxVerify, withWorkbench } from './workbench.js';

/** Merging files of a store: of many ranges each, of one range, of a damaged one. */

const PAGE_SIZE = 4096;
const PAGES = 900;

interface Stored {
  readonly store: Store;
  readonly folder: string;
  readonly files: readonly StoreFile[];
  /** Of each page the newest. */
  readonly newest: readonly LtxPage[];
}

/** Transactions of which each writes all pages but some, over the one before. */
async function storeTransactions(folder: string, count: number): Promise<Stored> {
  const root = openStore(`file://${folder}`);
  const store = root.database('app.db');
  const newest = new Map<number, LtxPage>();
  for (let txid = 1; txid <= count; txid++) {
    const pages = makePages(
      PAGE_SIZE,
      upTo(PAGES).filter((pgno) => txid === 1 || (pgno + txid) % 3 !== 0),
      txid,
    );
    for (const page of pages) newest.set(page.pgno, page);
    const header = headerOf({ pageSize: PAGE_SIZE, commit: PAGES, minTxid: txid + 1, maxTxid: txid + 1 });
    const sums = { preApply: (1n << 63n) | BigInt(txid), postApply: (1n << 63n) | BigInt(txid + 1) };
    const key = { level: 0, minTxid: txid + 1, maxTxid: txid + 1 };
    await store.put({ ...key, timestampMs: header.timestampMs }, encodeLtx({ ...header, ...sums }, pages));
  }
  const files = await store.listAll();
  return { store, folder: join(folder, 'app.db'), files, newest: [...newest.values()].sort((a, b) => a.pgno - b.pgno) };
}

for (const count of [2, 7, 64]) {
  test(`${count} files: of each page the newest, whatever ranges they are read in`, () =>
    withWorkbench(async (bench) => {
      const { store, folder, files, newest } = await storeTransactions(bench.folder, count);
      assert.ok(
        files.every(({ sizeBytes }) => sizeBytes > 3 * 128 * 1024),
        'each has many ranges',
      );
      const merged = await compact(store, files, 1);
      const { level, minTxid, maxTxid, checksum } = merged;
      assert.equal(
        { level, minTxid, maxTxid, checksum },
        { level: 1, minTxid: 2, maxTxid: count + 1, checksum: (1n << 63n) | BigInt(count + 1) },
      );
      const name = (txid: number) => txid.toString(16).padStart(16, '0');
      const path = join(folder, 'ltx/1', `${name(2)}-${name(count + 1)}.ltx`);
      const bytes = readFileSync(path);
      assert.is(bytes.length, merged.sizeBytes);
      const { pages } = readAll(bytes);
      assert.is(pages.length, newest.length);
      for (const [i, page] of pages.entries()) {
        assert.is(page.pgno, newest[i]!.pgno);
        assert.ok(Buffer.from(newest[i]!.data).equals(page.data), `page ${page.pgno}`);
      }
      ltxVerify([path]);
    }));
}

test('files of a few bytes: ranges are larger than they are', () =>
  withWorkbench(async (bench) => {
    const store = openStore(`file://${bench.folder}`).database('app.db');
    const [first, second] = [fixture('b-L0-incremental-txid3.ltx'), makeNext()];
    await store.put({ level: 0, minTxid: 3, maxTxid: 3, timestampMs: 0 }, first);
    await store.put({ level: 0, minTxid: 4, maxTxid: 4, timestampMs: 0 }, second);
    const merged = await compact(store, await store.listAll(), 1);
    assert.equal([merged.minTxid, merged.maxTxid], [3, 4]);
  }));

test('the thread that merges ends in the middle: that is an error, and the next merge has another thread', () =>
  withWorkbench(async (bench) => {
    const { store, files } = await storeTransactions(bench.folder, 64);
    const thread = new CompactionThread({ url: `file://${bench.folder}` });
    bench.onEnd(() => thread.close());
    const merging = thread.compact('app.db', files, 1);
    void (thread as unknown as { worker: Worker }).worker.terminate();
    assert.is(await merging.catch((error) => error.code), 'STORE_FAILED');
    assert.is((await thread.compact('app.db', files, 1)).maxTxid, 65);
    assert.is((await store.listAll()).length, 65);
  }));

function makeNext(): Uint8Array {
  const { header } = readAll(fixture('b-L0-incremental-txid3.ltx')).summary;
  const next = { ...header, minTxid: 4, maxTxid: 4, preApply: header.postApply, postApply: (1n << 63n) | 5n };
  return encodeLtx(next, makePages(header.pageSize, [1]));
}

for (const [what, damage, expected] of [
  ['longer than it was listed', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)]), 'LTX_TRAILER'],
  ['cut', (bytes: Buffer) => bytes.subarray(0, -1), 'LTX_TRUNCATED'],
] as const) {
  test(`a file that is ${what}: nothing is published`, () =>
    withWorkbench(async (bench) => {
      const { store, files } = await storeTransactions(bench.folder, 2);
      const damaged = files[1]!;
      const pieces: Uint8Array[] = [];
      for await (const piece of store.get(damaged)) pieces.push(piece);
      await store.delete([damaged]);
      await store.put({ ...damaged, timestampMs: 0 }, damage(Buffer.concat(pieces)));
      try {
        await compact(store, [files[0]!, { ...damaged }], 1);
        assert.unreachable();
      } catch (error) {
        assert.is((error as { code?: string }).code, expected);
      }
      assert.equal(
        (await store.listAll()).map(({ level }) => level),
        [0, 0],
      );
    }));
}

test.run();
