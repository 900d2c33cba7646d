import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mergeEntries } from '../../src/backup/merge.js';
import type { LogEntry } from '../../src/database/types.js';
import { bytesSource, encodeLtx, LtxReader, verifyLtx } from '../../src/ltx/index.js';

const PAGE_SIZE = 4096;

/** A transaction of `count` pages that do not compress, each filled from `seed`. */
function transaction(txid: number, count: number, seed: number): LogEntry {
  const pages = Array.from({ length: count }, (_, i) => ({ pgno: i + 1, data: noise(seed * 1000 + i) }));
  const header = { pageSize: PAGE_SIZE, commit: count, timestampMs: 1, preApply: 0n, postApply: 0n };
  const bytes = encodeLtx({ ...header, minTxid: txid, maxTxid: txid }, pages);
  return {
    txid,
    size: bytes.length,
    before: { txid: txid - 1, checksum: 0n },
    after: { txid, checksum: 0n },
    bytes: () => bytes,
    open: () => ({ source: bytesSource(bytes), close: () => undefined }),
  };
}

function noise(seed: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  let state = seed * 2654435761 + 1;
  for (let i = 0; i < PAGE_SIZE; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    page[i] = state >>> 16;
  }
  return page;
}

test('a file of several megabytes is whole', async () => {
  // More than the encoder gathers at a time: each piece that it gives has to be copied.
  const { bytes } = await mergeEntries([transaction(5, 300, 1), transaction(6, 600, 2)]);
  assert.ok(bytes.length > 2_000_000);
  const summary = verifyLtx(bytesSource(bytes));
  assert.is(summary.pages, 600);
  assert.equal([summary.header.minTxid, summary.header.maxTxid], [5, 6]);
  const reader = new LtxReader(bytesSource(bytes));
  const page = new Uint8Array(PAGE_SIZE);
  for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
    assert.equal(page, noise(2000 + pgno - 1));
  }
});

test.run();
