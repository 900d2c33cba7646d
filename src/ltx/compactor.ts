import { LtxEncoder } from './encoder.js';
import { LtxError } from './errors.js';
import type { LtxHeader } from './header.js';
import { type Checksum, formatTxid } from './position.js';
import { LtxReader } from './reader.js';
import type { ByteSource } from './source.js';
import type { LtxSummary } from './summary.js';
import { decodeTrailer, postApplyOf, TRAILER_SIZE } from './trailer.js';

/** Bytes that all inputs' read buffers take together, each within the limits below. */
const READ_BUFFERS_SIZE = 16 * 1024 * 1024;
const MIN_PIECE_SIZE = 16 * 1024;
const MAX_PIECE_SIZE = 256 * 1024;

interface Input {
  readonly reader: LtxReader;
  readonly page: Uint8Array;
  readonly postApply: Checksum;
}

/**
 * Merges LTX files, given in TXID order, into one: of each page the newest, without those above the last commit. A
 * file may begin inside of the range of those before it, but not after a gap. Reads every byte of every input and
 * checks it; what went to `sink` counts only when this has returned. Pieces given to `sink` are valid during the call.
 *
 * Memory: a read buffer and a page for each input, and an encoder.
 * Throws `LTX_GAP`, `LTX_PAGE_SIZE`, `LTX_CHAIN` if the inputs do not follow each other, and `LTX_*` for a bad one.
 */
export function compactLtx(inputs: readonly ByteSource[], sink: (chunk: Uint8Array) => void): LtxSummary {
  if (inputs.length === 0) throw new LtxError('LTX_STATE', 'no LTX file to compact');
  const share = Math.floor(READ_BUFFERS_SIZE / inputs.length);
  const pieceSize = Math.min(MAX_PIECE_SIZE, Math.max(MIN_PIECE_SIZE, share));
  const opened = inputs.map((source) => openInput(source, pieceSize));
  for (let i = 1; i < opened.length; i++) checkFollows(opened[i - 1]!, opened[i]!);
  const encoder = new LtxEncoder(sink, mergedHeader(opened));
  mergePages(opened, encoder);
  for (const input of opened) input.reader.finish();
  return encoder.finish();
}

function openInput(source: ByteSource, pieceSize: number): Input {
  const reader = new LtxReader(source, pieceSize);
  const { header } = reader;
  const trailer = Buffer.alloc(TRAILER_SIZE);
  const at = Math.max(0, source.size - TRAILER_SIZE);
  if (source.read(trailer, 0, TRAILER_SIZE, at) !== TRAILER_SIZE) {
    throw new LtxError('LTX_TRUNCATED', 'LTX file is cut');
  }
  const view = new DataView(trailer.buffer, trailer.byteOffset, TRAILER_SIZE);
  return { reader, page: new Uint8Array(header.pageSize), postApply: postApplyOf(header, decodeTrailer(view, 0)) };
}

function checkFollows(before: Input, after: Input): void {
  const a = before.reader.header;
  const b = after.reader.header;
  if (a.pageSize !== b.pageSize) {
    throw new LtxError('LTX_PAGE_SIZE', `LTX files have different page sizes: ${a.pageSize} and ${b.pageSize}`);
  }
  if (b.minTxid > a.maxTxid + 1 || b.maxTxid <= a.maxTxid) {
    throw new LtxError('LTX_GAP', `LTX files do not follow each other: ${rangeOf(a)}, then ${rangeOf(b)}`);
  }
  const adjacent = b.minTxid === a.maxTxid + 1;
  if (adjacent && before.postApply !== 0n && b.preApply !== 0n && before.postApply !== b.preApply) {
    throw new LtxError(
      'LTX_CHAIN',
      `LTX files do not fit each other: ${rangeOf(a)} and ${rangeOf(b)} disagree on the database`,
    );
  }
}

function mergedHeader(inputs: readonly Input[]): LtxHeader {
  const first = inputs[0]!.reader.header;
  const last = inputs[inputs.length - 1]!;
  const { pageSize, commit, maxTxid, timestampMs } = last.reader.header;
  const { minTxid, preApply } = first;
  return { pageSize, commit, minTxid, maxTxid, timestampMs, preApply, postApply: last.postApply };
}

/** K-way merge; a scan of the inputs' page numbers for each page, which is fast enough for hundreds of inputs. */
function mergePages(inputs: readonly Input[], encoder: LtxEncoder): void {
  const { commit } = inputs[inputs.length - 1]!.reader.header;
  const current = Float64Array.from(inputs, nextPage); // Infinity: no page left
  for (;;) {
    let newest = 0;
    for (let i = 1; i < current.length; i++) if (current[i]! <= current[newest]!) newest = i;
    const pgno = current[newest]!;
    if (pgno === Number.POSITIVE_INFINITY) return;
    if (pgno <= commit) encoder.writePage(pgno, inputs[newest]!.page);
    for (let i = 0; i < current.length; i++) if (current[i] === pgno) current[i] = nextPage(inputs[i]!);
  }
}

function nextPage(input: Input): number {
  const pgno = input.reader.nextPage(input.page);
  return pgno === 0 ? Number.POSITIVE_INFINITY : pgno;
}

function rangeOf(header: LtxHeader): string {
  return `${formatTxid(header.minTxid)}-${formatTxid(header.maxTxid)}`;
}
