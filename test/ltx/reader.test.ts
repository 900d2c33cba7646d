import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ByteSource,
  bytesSource,
  Crc64,
  encodeLtx,
  fileSource,
  LtxError,
  type LtxErrorCode,
  LtxReader,
  LtxStreamDecoder,
  readPageAt,
  readPageIndex,
  verifyLtx,
} from '../../src/ltx/index.js';
import { fixture, headerOf, makePages, makeSnapshot, readAll, throwsLtx, withFolder } from './support.js';

const SMALL = encodeLtx(headerOf(), makePages(512, [2, 5, 9]));

/** All ways to read; each must say the same. */
function outcomes(bytes: Uint8Array): string[] {
  const say = (run: () => void): string => {
    try {
      run();
      return 'ok';
    } catch (error) {
      if (!(error instanceof LtxError)) throw error;
      return error.code;
    }
  };
  const byteByByte = (): void => {
    const decoder = new LtxStreamDecoder();
    for (let i = 0; i < bytes.length; i++) decoder.push(bytes.subarray(i, i + 1));
    decoder.end();
  };
  const atOnce = (): void => {
    const decoder = new LtxStreamDecoder();
    decoder.push(bytes);
    decoder.end();
  };
  return [say(() => readAll(bytes)), say(() => verifyLtx(bytesSource(bytes))), say(byteByByte), say(atOnce)];
}

function refused(bytes: Uint8Array, code: LtxErrorCode): void {
  assert.equal(outcomes(bytes), [code, code, code, code]);
}

/** Page access by the index may accept more, but must end as it should. */
function readByIndex(bytes: Uint8Array): void {
  const source = bytesSource(bytes);
  try {
    const index = readPageIndex(source);
    const target = new Uint8Array(index.header.pageSize);
    for (let i = 0; i < index.count; i++) readPageAt(source, index, index.pgnoAt(i), target);
  } catch (error) {
    if (!(error instanceof LtxError)) throw error;
  }
}

/** A copy with other bytes at a place, and its file checksum made right again where the change is in what it covers. */
function changed(bytes: Uint8Array, offset: number, hex: string): Buffer {
  const copy = Buffer.from(bytes);
  copy.write(hex, offset, 'hex');
  return copy;
}

/** The file checksum put right after a change of header, frame headers, index or trailer. `plain`: [frame head, page]. */
function sealed(parts: readonly Uint8Array[], stored: readonly Uint8Array[]): Buffer {
  const crc = new Crc64();
  for (const part of parts) crc.update(part);
  const checksum = Buffer.alloc(8);
  checksum.writeBigUInt64BE(crc.checksum);
  return Buffer.concat([...stored, checksum]);
}

const header = (fields = {}): Uint8Array => encodeLtx(headerOf(fields), []).subarray(0, 100);
const zeros = (count: number): Uint8Array => new Uint8Array(count);
const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');

/** A file of one page frame made by hand. */
function oneFrame(
  head: string,
  page: Uint8Array,
  block: Uint8Array,
  index?: string,
  post = '0000000000000000',
): Buffer {
  const frameSize = head.length / 2 + block.length;
  const entries =
    index ??
    `0264${frameSize < 128 ? frameSize.toString(16).padStart(2, '0') : ((frameSize & 0x7f) | 0x80).toString(16) + (frameSize >> 7).toString(16).padStart(2, '0')}00`;
  const length = (entries.length / 2).toString(16).padStart(16, '0');
  const tail = [zeros(6), hex(entries), hex(length), hex(post)];
  return sealed([header(), hex(head), page, ...tail], [header(), hex(head), block, ...tail]);
}

const PAGE = Buffer.alloc(512, 'sluice');
const BLOCK = lz4.compressSync(PAGE).subarray(4);
const HEAD = `000000020001${BLOCK.length.toString(16).padStart(8, '0')}`;

test('a file made by hand is read', () => {
  assert.equal(outcomes(oneFrame(HEAD, PAGE, BLOCK)), ['ok', 'ok', 'ok', 'ok']);
  const frame = lz4.compressFrameSync(PAGE);
  assert.equal(outcomes(oneFrame('000000020000', PAGE, frame)), ['ok', 'ok', 'ok', 'ok']);
  const checked = lz4.compressFrameSync(PAGE, { contentChecksum: true, blockChecksums: true });
  assert.equal(outcomes(oneFrame('000000020000', PAGE, checked)), ['ok', 'ok', 'ok', 'ok']);
});

test('blocks that are not one page, although every checksum is right', () => {
  for (const size of [0, 256, 511, 513, 1024, 70000]) {
    const other = Buffer.alloc(size, 'sluice');
    const block = lz4.compressSync(other).subarray(4);
    const head = `000000020001${block.length.toString(16).padStart(8, '0')}`;
    refused(oneFrame(head, other, block), 'LTX_PAGE');
    refused(oneFrame('000000020000', other, lz4.compressFrameSync(other)), 'LTX_PAGE');
  }
  refused(oneFrame('00000002000100000000', PAGE, zeros(0)), 'LTX_PAGE');
});

test('an absurd size is refused before its bytes come', () => {
  const decoder = new LtxStreamDecoder();
  decoder.push(header());
  throwsLtx(() => decoder.push(hex('000000020001ffffffff')), 'LTX_PAGE', /4294967295 compressed bytes/);
  throwsLtx(() => decoder.push(zeros(1)), 'LTX_STATE');
  throwsLtx(() => decoder.end(), 'LTX_STATE');
  const frames = new LtxStreamDecoder();
  frames.push(header());
  throwsLtx(() => frames.push(hex('00000002000004224d186440a7ffffff7f')), 'LTX_PAGE', /too long/);
});

test('LZ4 frames: no frame, a dictionary, another version, endless blocks', () => {
  for (const start of [
    '00224d186440a7',
    '04224d186540a7',
    '04224d18a440a7',
    `04224d186440a7${'0100008000'.repeat(40)}`,
  ]) {
    refused(Buffer.concat([header(), hex('000000020000'), hex(start), zeros(64)]), 'LTX_PAGE');
  }
  const decoder = new LtxStreamDecoder();
  decoder.push(header());
  decoder.push(hex(`00000002000004224d186440a7${'0100008000'.repeat(16)}`));
  throwsLtx(() => decoder.push(hex('0100008000')), 'LTX_PAGE', /too long/);
});

test('page numbers that may not be', () => {
  refused(oneFrame(HEAD.replace('00000002', '0000000a'), PAGE, BLOCK), 'LTX_PAGE');
  refused(oneFrame(HEAD.replace('00000002', '00000000'), PAGE, BLOCK), 'LTX_PAGE');
  refused(oneFrame(HEAD.replace('000000020001', '000000020003'), PAGE, BLOCK), 'LTX_PAGE');
  const twice = encodeLtx(headerOf(), makePages(512, [2, 5]));
  const second = 100 + readPageIndex(bytesSource(twice)).sizeAt(0);
  refused(changed(twice, second, '00000002'), 'LTX_PAGE');
  refused(changed(makeSnapshot(512, 3, 3), 12, '00000004'), 'LTX_PAGE');
  refused(changed(makeSnapshot(512, 3, 3), 12, '00000002'), 'LTX_PAGE');
});

test('an index that disagrees, although every checksum is right', () => {
  const size = (HEAD.length / 2 + BLOCK.length).toString(16).padStart(2, '0');
  for (const index of [
    '00',
    `0364${size}00`,
    `0265${size}00`,
    `0264${size}`,
    `0264${size}0364${size}00`,
    `8200640100`,
    `0264${size}80`,
  ]) {
    refused(oneFrame(HEAD, PAGE, BLOCK, index), 'LTX_INDEX');
  }
  throwsLtx(() => readPageIndex(bytesSource(oneFrame(HEAD, PAGE, BLOCK, '00'))), 'LTX_INDEX', /ends elsewhere/);
  const good = oneFrame(HEAD, PAGE, BLOCK);
  refused(changed(good, good.length - 24, '0000000000000005'), 'LTX_INDEX');
  refused(changed(good, good.length - 24, 'ffffffffffffffff'), 'LTX_INDEX');
  for (const length of ['0000000000000000', '0000000000000003', '0000000000000005', 'ffffffffffffffff']) {
    throwsLtx(() => readPageIndex(bytesSource(changed(good, good.length - 24, length))), 'LTX_INDEX');
  }
});

test('a trailer with what it must not have', () => {
  refused(oneFrame(HEAD, PAGE, BLOCK, undefined, '8000000000000000'), 'LTX_TRAILER');
  refused(Buffer.concat([SMALL, zeros(1)]), 'LTX_TRAILER');
  refused(changed(SMALL, SMALL.length - 1, '77'), 'LTX_CHECKSUM');
});

test('reserved bytes and every other header byte are covered', () => {
  refused(changed(SMALL, 99, '02'), 'LTX_CHECKSUM');
  refused(changed(SMALL, 39, 'ff'), 'LTX_CHECKSUM');
});

test('a snapshot whose pages do not add up to its checksum', () => {
  const pages = makePages(512, [1, 2, 3]);
  refused(encodeLtx(headerOf({ minTxid: 1, commit: 3, postApply: (1n << 63n) + 5n }), pages), 'LTX_DATABASE_CHECKSUM');
  assert.is(readAll(encodeLtx(headerOf({ minTxid: 1, commit: 3 }), pages)).summary.postApply, 0n);
  assert.is(readAll(makeSnapshot(512, 3, 3)).summary.header.maxTxid, 3);
});

test('every cut is found', () => {
  for (const bytes of [SMALL, fixture('f-lz4-frames-txid1-6.ltx')]) {
    for (let size = 0; size < bytes.length; size++) {
      refused(bytes.subarray(0, size), 'LTX_TRUNCATED');
      readByIndex(bytes.subarray(0, size));
    }
  }
});

test('every changed byte is found', () => {
  const files = [
    SMALL,
    makeSnapshot(512, 3, 3),
    fixture('e-two-pages-of-512.ltx'),
    fixture('f-lz4-frames-txid1-6.ltx'),
  ];
  for (const bytes of files) {
    const whole = Buffer.concat(readAll(bytes).pages.map((page) => page.data));
    for (let at = 0; at < bytes.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const copy = Buffer.from(bytes);
        copy[at]! ^= flip;
        readByIndex(copy);
        const said = outcomes(copy);
        assert.is(new Set(said).size, 1, `${said} at ${at}`);
        // The compressed form is not covered: another one for the same page is as good.
        if (said[0] === 'ok') assert.equal(Buffer.concat(readAll(copy).pages.map((page) => page.data)), whole);
      }
    }
  }
});

test('many changes at once, cuts, repeats, and random bytes: an LtxError or the same pages', () => {
  const files = [SMALL, fixture('a-L0-full-txid1.ltx'), fixture('f-lz4-frames-txid1-6.ltx')];
  const change = fc.record({
    at: fc.nat(2000),
    value: fc.nat(255),
    cut: fc.nat(20),
    insert: fc.uint8Array({ maxLength: 8 }),
  });
  fc.assert(
    fc.property(fc.constantFrom(...files), fc.array(change, { minLength: 1, maxLength: 6 }), (file, changes) => {
      let bytes = Buffer.from(file);
      for (const { at, value, cut, insert } of changes) {
        const place = at % bytes.length;
        bytes = Buffer.concat([
          bytes.subarray(0, place),
          insert,
          Buffer.from([value]),
          bytes.subarray(place + (cut % 3)),
        ]);
      }
      readByIndex(bytes);
      assert.is(new Set(outcomes(bytes)).size, 1);
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (tail) => {
      const bytes = Buffer.concat([header(), tail]);
      readByIndex(bytes);
      const said = outcomes(bytes);
      assert.is(new Set(said).size, 1);
      assert.is.not(said[0], 'ok');
    }),
    { numRuns: 500 },
  );
});

test('any cutting into chunks gives the same', () => {
  const file = makeSnapshot(4096, 12, 5);
  const { pages, summary } = readAll(file);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }), (sizes) => {
      const seen: unknown[] = [];
      const decoder = new LtxStreamDecoder({
        header: (found) => seen.push(found),
        page: (pgno, data) => seen.push({ pgno, data: Uint8Array.from(data) }),
      });
      for (let at = 0, i = 0; at < file.length; i++) {
        const size = sizes[i % sizes.length]!;
        decoder.push(file.subarray(at, at + size));
        at += size;
      }
      assert.equal(decoder.end(), summary);
      assert.equal(seen, [summary.header, ...pages]);
    }),
    { numRuns: 50 },
  );
});

test('a file on disk, with bytes around it', () => {
  withFolder((folder) => {
    const file = makeSnapshot(65536, 20, 5);
    const path = join(folder, 'log');
    writeFileSync(path, Buffer.concat([zeros(11), file, zeros(7)]));
    const fd = openSync(path, 'r');
    try {
      const source = fileSource(fd, 11, file.length);
      assert.is(verifyLtx(source).pages, 20);
      assert.is(readPageIndex(source).count, 20);
      throwsLtx(() => verifyLtx(fileSource(fd, 11, file.length - 1)), 'LTX_TRUNCATED');
      throwsLtx(() => verifyLtx(fileSource(fd, 11, file.length + 1)), 'LTX_TRAILER');
      throwsLtx(() => verifyLtx(fileSource(fd, 11, file.length + 100)), 'LTX_TRAILER');
    } finally {
      closeSync(fd);
    }
  });
});

test('reads are bounded whatever the size', () => {
  let largest = 0;
  const file = makeSnapshot(65536, 60, 5);
  const source: ByteSource = {
    size: 2 ** 40,
    read(target, targetOffset, length, position) {
      largest = Math.max(largest, length);
      return bytesSource(file).read(target, targetOffset, length, position);
    },
  };
  assert.is(verifyLtx(source).pages, 60);
  assert.ok(largest <= 1024 * 1024);
});

test('bytes after the end are not forgiven', () => {
  const decoder = new LtxStreamDecoder();
  decoder.push(SMALL);
  assert.is(decoder.end().pages, 3);
  throwsLtx(() => decoder.push(zeros(1)), 'LTX_TRAILER');
  throwsLtx(() => decoder.end(), 'LTX_STATE');
});

test('some pages, then finish', () => {
  const reader = new LtxReader(bytesSource(SMALL));
  const target = new Uint8Array(600);
  assert.is(reader.nextPage(target), 2);
  assert.equal(target.subarray(0, 512), makePages(512, [2])[0]!.data);
  assert.is(reader.finish().pages, 3);
  assert.is(reader.nextPage(target), 0);
  throwsLtx(() => new LtxReader(bytesSource(SMALL)).nextPage(new Uint8Array(511)), 'LTX_STATE');
});

test.run();
