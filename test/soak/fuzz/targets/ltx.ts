import { Crc64 } from '../../../../src/ltx/crc64.js';
import {
  bytesSource,
  compactLtx,
  encodeLtx,
  HEADER_SIZE,
  LtxError,
  type LtxPage,
  LtxStreamDecoder,
  type LtxSummary,
  readPageAt,
  readPageIndex,
} from '../../../../src/ltx/index.js';
import { putIndexEntry } from '../../../../src/ltx/index-section.js';
import { BLOCK_OFFSET, FLAG_SIZE, FRAME_HEADER_SIZE, frameSize, inflatePage } from '../../../../src/ltx/page-frame.js';
import { fixture, headerOf, makePages, makeSnapshot, readAll } from '../../../ltx/support.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

const isLtxError = (error: unknown): boolean => error instanceof LtxError;

const SEEDS = [
  ...['a-L0-full-txid1', 'b-L0-incremental-txid3', 'e-two-pages-of-512', 'f-lz4-frames-txid1-6'].map((name) =>
    fixture(`${name}.ltx`),
  ),
  encodeLtx(headerOf(), makePages(512, [1, 2, 5, 9])),
  encodeLtx(headerOf({ commit: 0 }), []),
  encodeLtx(headerOf({ pageSize: 65536, commit: 20_000 }), makePages(65536, [3, 16_386, 20_000])),
  makeSnapshot(1024, 7, 3),
].filter((bytes) => bytes.length <= 64 << 10);

const DICTIONARY = [
  '4c545831',
  '00000002',
  '00000200',
  '00010000',
  '000000000000',
  '04224d18',
  '60',
  '64',
  '6c',
  '0001',
].map((hex) => Buffer.from(hex, 'hex'));

/** LTX files: the reader, the stream decoder and the page index, which must say the same. */
export const ltx: TargetOpener = {
  open: (): Target => ({
    seeds: SEEDS,
    dictionary: DICTIONARY,
    maxBytes: 80 << 10,
    repair: (input) => sealed(input),
    run(input) {
      const read = attempt(isLtxError, () => readAll(input, pieceSize(input)));
      const streamed = attempt(isLtxError, () => stream(input));
      mustHold('value' in read === 'value' in streamed, 'reader and stream decoder disagree');
      if (!('value' in read)) {
        const codes = [read, streamed].map((each) => ('error' in each ? (each.error as LtxError).code : ''));
        mustHold(codes[0] === codes[1], `reader and stream decoder refuse it as ${codes.join(' and ')}`);
        return;
      }
      checkIndex(input, read.value.pages);
      checkAgain(read.value.summary, read.value.pages);
    },
  }),
};

/** The page index, read without what comes before it. */
export const pageIndex: TargetOpener = {
  open: (): Target => ({
    seeds: SEEDS,
    dictionary: DICTIONARY,
    maxBytes: 80 << 10,
    run(input) {
      const found = attempt(isLtxError, () => readPageIndex(bytesSource(input)));
      if (!('value' in found)) return;
      const index = found.value;
      const page = new Uint8Array(index.header.pageSize);
      for (let i = 0; i < Math.min(index.count, 100); i++) {
        attempt(isLtxError, () => readPageAt(bytesSource(input), index, index.pgnoAt(i), page));
        mustHold(index.offsetAt(i) + index.sizeAt(i) <= input.length, 'a frame outside of the file');
      }
    },
  }),
};

/** Pages then lie across pieces in ever other ways. */
const pieceSize = (bytes: Uint8Array): number => 1000 + (bytes.length % 5000);

/** In pieces of lengths that the bytes decide. */
function stream(bytes: Uint8Array): LtxSummary {
  const decoder = new LtxStreamDecoder();
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + bytes[at]! * (1 + (at % 7));
    decoder.push(bytes.subarray(at, at + size));
    at += size;
  }
  return decoder.end();
}

function checkIndex(bytes: Uint8Array, pages: readonly LtxPage[]): void {
  const source = bytesSource(bytes);
  const index = readPageIndex(source);
  mustHold(index.count === pages.length, 'the page index has another number of pages');
  const page = Buffer.alloc(index.header.pageSize);
  for (const { pgno, data } of pages) {
    mustHold(readPageAt(source, index, pgno, page), `page ${pgno} is not in the page index`);
    mustHold(page.equals(data), `page ${pgno} is another by the page index`);
  }
}

/** What was read can be written, and compacted, and read again. */
function checkAgain({ header }: LtxSummary, pages: readonly LtxPage[]): void {
  const written = encodeLtx(header, pages);
  const chunks: Buffer[] = [];
  compactLtx([bytesSource(written)], (chunk) => chunks.push(Buffer.from(chunk)));
  for (const bytes of [written, Buffer.concat(chunks)]) {
    const again = readAll(bytes, pieceSize(bytes));
    mustHold(again.pages.length === pages.length, 'another number of pages after writing and reading');
    for (const [i, { pgno, data }] of again.pages.entries()) {
      mustHold(
        pgno === pages[i]!.pgno && Buffer.compare(data, pages[i]!.data) === 0,
        `page ${pgno} was changed by writing`,
      );
    }
  }
}

/** Makes page index and checksums right for the frames that are there, as far as they can be inflated. */
function sealed(input: Buffer): Buffer {
  if (input.length < HEADER_SIZE + FRAME_HEADER_SIZE) return input;
  const pageSize = input.readUInt32BE(8);
  if (pageSize < 512 || pageSize > 65536) return input;
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const page = new Uint8Array(pageSize);
  const crc = new Crc64();
  crc.update(input, 0, HEADER_SIZE);
  const entries: Buffer[] = [];
  let at = HEADER_SIZE;
  try {
    while (input.readUIntBE(at, FRAME_HEADER_SIZE) !== 0) {
      let have = FRAME_HEADER_SIZE;
      for (let need = 0; need !== have; ) {
        need = have;
        have = Math.max(have, frameSize(view, at, need, pageSize));
        if (at + have > input.length) return input;
      }
      const flags = input.readUInt16BE(at + 4);
      inflatePage(input, at, have, flags, page, pageSize);
      crc.update(input, at, at + (flags === FLAG_SIZE ? BLOCK_OFFSET : FRAME_HEADER_SIZE));
      crc.update(page);
      const entry = Buffer.alloc(32);
      entries.push(entry.subarray(0, putIndexEntry(entry, 0, input.readUInt32BE(at), at, have)));
      at += have;
    }
  } catch {
    return input;
  }
  const index = Buffer.concat([...entries, Buffer.alloc(1)]);
  const tail = Buffer.alloc(8 + 16);
  tail.writeBigUInt64BE(BigInt(index.length), 0);
  if (input.readUInt32BE(4) === 0) input.copy(tail, 8, Math.max(0, input.length - 16), Math.max(8, input.length - 8));
  const whole = Buffer.concat([input.subarray(0, at + FRAME_HEADER_SIZE), index, tail]);
  crc.update(whole, at, whole.length - 8);
  whole.writeBigUInt64BE(crc.checksum, whole.length - 8);
  return whole;
}
