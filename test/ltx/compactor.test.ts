import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bytesSource,
  compactLtx,
  encodeLtx,
  type LtxHeader,
  type LtxPage,
  type LtxSummary,
} from '../../src/ltx/index.js';
import { checksumOf, fixture, headerOf, makePage, makePages, readAll, throwsLtx, upTo } from './support.js';

function compact(files: readonly Uint8Array[]): { bytes: Uint8Array; summary: LtxSummary } {
  const pieces: Uint8Array[] = [];
  const summary = compactLtx(files.map(bytesSource), (piece) => pieces.push(Uint8Array.from(piece)));
  return { bytes: Buffer.concat(pieces), summary };
}

const file = (fields: Partial<LtxHeader>, pgnos: readonly number[], seed = 0): Uint8Array =>
  encodeLtx(headerOf(fields), makePages(512, pgnos, seed));

const sum = (low: number): bigint => (1n << 63n) + BigInt(low);

test('the newest of each page, fields of the first and the last', () => {
  const wal = { offset: 32, size: 500, salt1: 1, salt2: 2 };
  const { bytes, summary } = compact([
    file(
      { minTxid: 4, maxTxid: 5, commit: 9, timestampMs: 1, preApply: sum(1), postApply: sum(2), wal, nodeId: 5n },
      [1, 3, 9],
      1,
    ),
    file({ minTxid: 6, maxTxid: 6, commit: 5, timestampMs: 2, preApply: sum(2), postApply: sum(3), wal }, [1, 2], 2),
    file({ minTxid: 7, maxTxid: 9, commit: 7, timestampMs: 3, preApply: sum(3), postApply: sum(4), wal }, [2, 6, 7], 3),
  ]);
  const read = readAll(bytes);
  assert.equal(read.summary.header, {
    ...headerOf({ minTxid: 4, maxTxid: 9, commit: 7, timestampMs: 3, preApply: sum(1), postApply: sum(4) }),
    flags: 2,
  });
  assert.equal(read.pages, [
    { pgno: 1, data: makePage(512, 1, 2) },
    { pgno: 2, data: makePage(512, 2, 3) },
    { pgno: 3, data: makePage(512, 3, 1) },
    { pgno: 6, data: makePage(512, 6, 3) },
    { pgno: 7, data: makePage(512, 7, 3) },
  ]);
  assert.is(summary.sizeBytes, bytes.length);
  assert.is(summary.fileChecksum, read.summary.fileChecksum);
});

/** A database going through random transactions: its pages, and the file of each transaction. */
function history(steps: readonly { commit: number; pgnos: readonly number[] }[]): {
  files: Uint8Array[];
  pages: LtxPage[];
} {
  let database = new Map<number, Uint8Array>();
  let preApply = 0n;
  const all = (): LtxPage[] => [...database].map(([pgno, data]) => ({ pgno, data })).sort((a, b) => a.pgno - b.pgno);
  const files = steps.map(({ commit, pgnos }, i) => {
    const changed = new Set(i === 0 ? upTo(commit) : pgnos.filter((pgno) => pgno <= commit));
    for (let pgno = database.size + 1; pgno <= commit; pgno++) changed.add(pgno);
    const pages = makePages(
      512,
      [...changed].sort((a, b) => a - b),
      i,
    );
    for (const { pgno, data } of pages) database.set(pgno, data);
    database = new Map([...database].filter(([pgno]) => pgno <= commit));
    const postApply = checksumOf(512, all());
    const bytes = encodeLtx(headerOf({ minTxid: i + 1, maxTxid: i + 1, commit, preApply, postApply }), pages);
    preApply = postApply;
    return bytes;
  });
  return { files, pages: all() };
}

test('a whole history makes the snapshot of its end, also in two steps', () => {
  const step = fc.record({ commit: fc.integer({ min: 1, max: 30 }), pgnos: fc.array(fc.integer({ min: 1, max: 30 })) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 12 }), fc.nat(10), (steps, cut) => {
      const { files, pages } = history(steps);
      const whole = compact(files);
      assert.equal(readAll(whole.bytes).pages, pages); // reading checks that it adds up to the checksum too
      assert.is(whole.summary.postApply, checksumOf(512, pages));
      const at = 1 + (cut % (files.length - 1));
      const inTwo = compact([compact(files.slice(0, at)).bytes, compact(files.slice(at)).bytes]);
      assert.equal(inTwo.bytes, whole.bytes);
    }),
    { numRuns: 60 },
  );
});

test('files that overlap: the later one wins', () => {
  const { files } = history([
    { commit: 4, pgnos: [] },
    { commit: 4, pgnos: [2] },
    { commit: 5, pgnos: [2, 3] },
  ]);
  const overlapping = compact([compact(files.slice(0, 2)).bytes, compact(files.slice(1)).bytes]);
  assert.equal(overlapping.bytes, compact(files).bytes);
});

test('one file stays itself', () => {
  const one = file({ commit: 9 }, [2, 4]);
  assert.equal(compact([one]).bytes, Buffer.from(one));
});

test("a file with the format's own checksum, which nothing goes by", () => {
  const e = fixture('e-two-pages-of-512.ltx');
  const next = (preApply: bigint): Uint8Array => file({ minTxid: 2, maxTxid: 2, commit: 2, preApply }, []);
  const merged = readAll(compact([e, next(sum(7))]).bytes);
  assert.is(merged.pages.length, 2);
  assert.equal([merged.summary.postApply, merged.summary.standardPostApply], [0n, undefined]);
  assert.equal(merged.pages, readAll(e).pages);
});

test('refuses what does not follow each other', () => {
  const at = (minTxid: number, maxTxid: number, fields: Partial<LtxHeader> = {}): Uint8Array =>
    file({ minTxid, maxTxid, ...fields }, [1]);
  throwsLtx(() => compact([at(4, 4), at(6, 6)]), 'LTX_GAP', /4-0+4, then 0+6-0+6/);
  throwsLtx(() => compact([at(4, 4), at(4, 4)]), 'LTX_GAP');
  throwsLtx(() => compact([at(5, 5), at(4, 4)]), 'LTX_GAP');
  throwsLtx(() => compact([at(4, 8), at(5, 7)]), 'LTX_GAP');
  throwsLtx(() => compact([]), 'LTX_STATE');
  const other = encodeLtx(headerOf({ pageSize: 1024, minTxid: 8, maxTxid: 8 }), []);
  throwsLtx(() => compact([at(7, 7), other]), 'LTX_PAGE_SIZE', /512 and 1024/);
  throwsLtx(() => compact([at(7, 7, { postApply: sum(1) }), at(8, 8, { preApply: sum(2) })]), 'LTX_CHAIN');
  assert.is(compact([at(7, 7, { postApply: sum(1) }), at(8, 8)]).summary.pages, 1);
});

test('refuses damaged inputs, also where nothing of them is used', () => {
  const old = Buffer.from(file({ minTxid: 4, maxTxid: 4 }, [1, 2]));
  old[old.length - 1]! ^= 1;
  const newer = file({ minTxid: 5, maxTxid: 5 }, [1, 2], 1);
  throwsLtx(() => compact([old, newer]), 'LTX_CHECKSUM');
  const page = new Uint8Array(512); // so many that the end of the index comes with another read than the pages
  const long = encodeLtx(
    headerOf({ commit: 50_000 }),
    upTo(50_000).map((pgno) => ({ pgno, data: page })),
  );
  long[long.length - 1]! ^= 1;
  throwsLtx(() => compactLtx([bytesSource(long)], () => undefined), 'LTX_CHECKSUM');
  throwsLtx(() => compact([newer.subarray(0, 110)]), 'LTX_TRUNCATED');
  throwsLtx(() => compact([newer.subarray(0, 8)]), 'LTX_TRUNCATED');
});

test('many files', () => {
  const files = Array.from({ length: 300 }, (_, i) =>
    file({ minTxid: i + 2, maxTxid: i + 2, commit: 400 }, [1, i + 2], i),
  );
  const { summary } = compact(files);
  assert.equal([summary.pages, summary.header.minTxid, summary.header.maxTxid], [301, 2, 301]);
});

test.run();
