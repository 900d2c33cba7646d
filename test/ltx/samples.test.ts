import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytesSource, formatChecksum, readPageAt, readPageIndex } from '../../src/ltx/index.js';
import { fixture, readAll, standardChecksumOf } from './support.js';

const text = (bytes: Uint8Array, start: number, end: number): string =>
  Buffer.from(bytes.subarray(start, end)).toString('latin1');

const litestream = { pageSize: 4096, commit: 4, preApply: 0n, postApply: 0n, flags: 2 };
const salts = { salt1: 0x9e5a08f5, salt2: 0xabd6a564 };

test('a: the first transaction by Litestream', () => {
  const { pages, summary } = readAll(fixture('a-L0-full-txid1.ltx'));
  assert.equal(summary, {
    header: {
      ...litestream,
      minTxid: 1,
      maxTxid: 1,
      timestampMs: Date.parse('2026-11-21T11:08:29.051Z'),
      wal: { offset: 32, size: 24720, ...salts },
    },
    pages: 4,
    sizeBytes: 587,
    fileChecksum: 0x91cf45a84d9c9b73n,
    postApply: 0n,
  });
  assert.equal(
    pages.map((page) => page.pgno),
    [1, 2, 3, 4],
  );
  assert.is(text(pages[0]!.data, 0, 16), 'SQLite format 3\0');
  assert.is(text(pages[0]!.data, 0xfd2, 0x1000), 'CREATE TABLE t(id integer primary key, v text)');
  assert.equal(pages[1]!.data, pages[3]!.data);
  assert.equal([...pages[1]!.data.subarray(0, 8)], [0x0d, 0, 0, 0, 0, 0x10, 0, 0]);
});

test('b: an incremental one', () => {
  const { pages, summary } = readAll(fixture('b-L0-incremental-txid3.ltx'));
  assert.is(summary.header.minTxid, 3);
  assert.is(summary.header.maxTxid, 3);
  assert.equal(summary.header.wal, { offset: 28872, size: 4120, ...salts });
  assert.is(summary.fileChecksum, 0x9504ced7b6ab136bn);
  assert.equal(
    pages.map((page) => page.pgno),
    [2],
  );
  assert.is(text(pages[0]!.data, 0xfec, 0x1000), '\x08\x02\x03\0\x17row 2\x08\x01\x03\0\x17row 1');
});

test('c: a compaction', () => {
  const { pages, summary } = readAll(fixture('c-L1-compacted-txid7-9.ltx'));
  assert.equal([summary.header.minTxid, summary.header.maxTxid, summary.sizeBytes], [7, 9, 248]);
  assert.is(summary.header.wal, undefined);
  assert.is(summary.fileChecksum, 0x970a1249b0d6e778n);
  assert.is(text(pages[0]!.data, 0xfb0, 0xfba), '\x08\x08\x03\0\x17row 8');
});

test('d: a snapshot', () => {
  const { pages, summary } = readAll(fixture('d-L9-snapshot-txid1-1.ltx'));
  assert.is(summary.fileChecksum, 0x88c0a8547b9f6529n);
  assert.equal(summary.header.wal, { offset: 20632, size: 4120, ...salts });
  assert.equal(pages, readAll(fixture('a-L0-full-txid1.ltx')).pages);
});

test('e: with a database checksum in its trailer, which adds up', () => {
  const { pages, summary } = readAll(fixture('e-two-pages-of-512.ltx'));
  assert.equal([summary.header.pageSize, summary.header.commit, summary.header.flags], [512, 2, 0]);
  assert.is(formatChecksum(summary.standardPostApply!), 'a04d9c61cd6f3779');
  assert.is(standardChecksumOf(512, pages), summary.standardPostApply);
  assert.is(summary.postApply, 0n, 'nothing goes by it');
  assert.is(text(pages[1]!.data, 505, 512), '\x02\x17hello');
});

test('f: pages as LZ4 frames', () => {
  const bytes = fixture('f-lz4-frames-txid1-6.ltx');
  const { pages, summary } = readAll(bytes);
  assert.equal(Buffer.concat(pages.map((page) => page.data)), fixture('f-lz4-frames.db'));
  assert.is(summary.header.nodeId, 0xfedcba9876543210n);
  assert.is(summary.standardPostApply, 0x82563fe8a369c79bn);
  assert.is(summary.sizeBytes, 909);
});

for (const name of ['a-L0-full-txid1', 'b-L0-incremental-txid3', 'e-two-pages-of-512', 'f-lz4-frames-txid1-6']) {
  test(`${name}: single pages by the index`, () => {
    const bytes = fixture(`${name}.ltx`);
    const source = bytesSource(bytes);
    const index = readPageIndex(source);
    const { pages } = readAll(bytes);
    assert.is(index.count, pages.length);
    const target = new Uint8Array(index.header.pageSize);
    for (const page of pages) {
      assert.ok(readPageAt(source, index, page.pgno, target));
      assert.equal(target, page.data);
    }
    assert.not(readPageAt(source, index, 99, target));
  });
}

test.run();
