import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  encodeLtx,
  LtxEncoder,
  type LtxHeader,
  type LtxPage,
  type LtxSummary,
  lockPage,
  snapshotPages,
} from '../../src/ltx/index.js';
import { PageOrder } from '../../src/ltx/page-frame.js';
import { checksumOf, headerOf, makePages, readAll, throwsLtx, upTo } from './support.js';

const PAGE_SIZES = [512, 1024, 4096, 65536];

/** What the streaming encoder makes, its pieces copied at once. */
function stream(
  header: LtxHeader,
  pages: readonly LtxPage[],
): { bytes: Uint8Array; summary: LtxSummary; pieces: number } {
  const pieces: Uint8Array[] = [];
  const encoder = new LtxEncoder((piece) => pieces.push(Uint8Array.from(piece)), header);
  for (const { pgno, data } of pages) encoder.writePage(pgno, data);
  const summary = encoder.finish();
  return { bytes: new Uint8Array(Buffer.concat(pieces)), summary, pieces: pieces.length };
}

test('bytes of a small file', () => {
  const page = new Uint8Array(512).fill(7);
  const bytes = encodeLtx(headerOf({ commit: 3, preApply: 1n << 63n }), [{ pgno: 3, data: page }]);
  assert.is(
    Buffer.from(bytes.subarray(100)).toString('hex'),
    [
      ['00000003', '0001', '0000000c', '1f070100ffe8500707070707'], // page 3: one byte, a match of 506, five literals
      ['000000000000'],
      ['036416', '00', '0000000000000004'], // page 3 at 100, 22 bytes
      ['0000000000000000', 'e890263997797b55'],
    ]
      .flat()
      .join(''),
  );
  assert.is(readAll(bytes).summary.fileChecksum, Buffer.from(bytes).readBigUInt64BE(bytes.length - 8));
});

test('what was written is read, by both encoders', () => {
  const model = fc.record({
    pageSize: fc.constantFrom(...PAGE_SIZES),
    pgnos: fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 20 }),
    extra: fc.nat(5),
    seed: fc.nat(1000),
    minTxid: fc.integer({ min: 2, max: Number.MAX_SAFE_INTEGER - 5 }),
    range: fc.nat(5),
    preApply: fc.bigInt({ min: 1n << 63n, max: (1n << 64n) - 1n }),
  });
  fc.assert(
    fc.property(model, ({ pageSize, pgnos, extra, seed, minTxid, range, preApply }) => {
      pgnos.sort((a, b) => a - b);
      const commit = (pgnos.at(-1) ?? 0) + extra;
      const header = headerOf({ pageSize, commit, minTxid, maxTxid: minTxid + range, preApply, postApply: preApply });
      const pages = makePages(pageSize, pgnos, seed);
      const bytes = encodeLtx(header, pages);
      const read = readAll(bytes);
      assert.equal(read.pages, pages);
      assert.equal(read.summary.header, { ...header, flags: 2 });
      assert.is(read.summary.sizeBytes, bytes.length);
      assert.is(read.summary.pages, pages.length);
      const streamed = stream(header, pages);
      assert.equal(streamed.bytes, new Uint8Array(bytes));
      assert.equal({ ...streamed.summary, header: undefined }, { ...read.summary, header: undefined });
    }),
    { numRuns: 150 },
  );
});

test('files larger than a piece come in pieces', () => {
  const commit = 600;
  const pages = makePages(4096, upTo(commit));
  const header = headerOf({ pageSize: 4096, commit, minTxid: 1, postApply: checksumOf(4096, pages) });
  const { bytes, summary, pieces } = stream(header, pages);
  assert.ok(pieces > 2);
  assert.is(summary.sizeBytes, bytes.length);
  assert.equal(readAll(bytes).pages, pages);
  assert.equal(new Uint8Array(encodeLtx(header, pages)), bytes);
  assert.equal(new Uint8Array(encodeLtx(header, pages)), bytes, 'the scratch is clean the second time');
});

test('a page out of a larger buffer', () => {
  const [page] = makePages(512, [2]);
  const image = Buffer.concat([Buffer.alloc(512, 1), page!.data, Buffer.alloc(9)]);
  const pieces: Uint8Array[] = [];
  const encoder = new LtxEncoder((piece) => pieces.push(Uint8Array.from(piece)), headerOf());
  encoder.writePage(2, image, 512);
  encoder.finish();
  assert.equal(readAll(Buffer.concat(pieces)).pages, [page]);
  const other = new LtxEncoder(() => undefined, headerOf());
  throwsLtx(() => other.writePage(2, image, 522), 'LTX_PAGE', /needs 512 bytes at 522/);
});

test('refuses pages that LTX does not allow', () => {
  const encode = (fields: Partial<LtxHeader>, pgnos: readonly number[]) => () =>
    encodeLtx(headerOf(fields), makePages(512, pgnos));
  throwsLtx(encode({}, [0]), 'LTX_PAGE');
  throwsLtx(encode({}, [3, 3]), 'LTX_PAGE', /page 3: comes after page 3/);
  throwsLtx(encode({}, [3, 2]), 'LTX_PAGE', /page 2: comes after page 3/);
  throwsLtx(encode({}, [10]), 'LTX_PAGE', /above the commit of 9/);
  throwsLtx(encode({ minTxid: 1, commit: 3 }, [2, 3]), 'LTX_PAGE', /page 2: comes after page 0 in a snapshot/);
  throwsLtx(encode({ minTxid: 1, commit: 3 }, [1, 3]), 'LTX_PAGE', /page 3: comes after page 1 in a snapshot/);
  throwsLtx(encode({ minTxid: 1, commit: 3 }, [1, 2]), 'LTX_PAGE', /page 3: is missing/);
  throwsLtx(encode({ minTxid: 1, commit: 3 }, []), 'LTX_PAGE', /page 1: is missing/);
  const lock = lockPage(512);
  throwsLtx(encode({ commit: lock + 1 }, [lock]), 'LTX_PAGE', /lock page/);
  throwsLtx(() => encodeLtx(headerOf(), [{ pgno: 1, data: new Uint8Array(511) }]), 'LTX_PAGE');
  throwsLtx(() => encodeLtx(headerOf(), [{ pgno: 1.5, data: new Uint8Array(512) }]), 'LTX_PAGE');
  assert.is(readAll(encodeLtx(headerOf(), makePages(512, [9]))).summary.pages, 1, 'and works after a refusal');
});

test('a snapshot goes around the lock page', () => {
  const lock = 16385;
  for (const commit of [lock - 1, lock, lock + 1]) {
    const order = new PageOrder(commit, lock, true);
    for (let pgno = 1; pgno < lock; pgno++) order.take(pgno);
    if (commit > lock) {
      throwsLtx(() => order.end(), 'LTX_PAGE');
      throwsLtx(() => order.take(lock), 'LTX_PAGE', /lock page/);
      order.take(lock + 1);
    }
    order.end();
    assert.is(order.count, snapshotPages(65536, commit));
  }
  const short = new PageOrder(lock + 1, lock, true);
  short.take(1);
  throwsLtx(() => short.take(lock + 1), 'LTX_PAGE');
});

test('finished is finished', () => {
  const encoder = new LtxEncoder(() => undefined, headerOf());
  encoder.finish();
  throwsLtx(() => encoder.finish(), 'LTX_STATE');
  throwsLtx(() => encoder.writePage(1, new Uint8Array(512)), 'LTX_STATE');
});

test('a database of no pages', () => {
  const { pages, summary } = readAll(encodeLtx(headerOf({ commit: 0, postApply: 1n << 63n }), []));
  assert.equal(pages, []);
  assert.is(summary.postApply, 1n << 63n);
});

test.run();
