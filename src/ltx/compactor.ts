import { LtxEncoder } from './encoder.js';
import { LtxError } from './errors.js';
import { mergedHeader, newestOfLowest } from './merge.js';
import { LtxReader } from './reader.js';
import type { ByteSource } from './source.js';
import type { LtxSummary } from './summary.js';

/** Bytes that all inputs' read buffers take together, each within the limits below. */
const READ_BUFFERS_SIZE = 16 * 1024 * 1024;
const MIN_PIECE_SIZE = 16 * 1024;
const MAX_PIECE_SIZE = 256 * 1024;

interface Input {
  readonly reader: LtxReader;
  readonly page: Uint8Array;
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
  const encoder = new LtxEncoder(sink, mergedHeader(opened.map(({ reader }) => reader.header)));
  mergePages(opened, encoder);
  for (const input of opened) input.reader.finish();
  return encoder.finish();
}

function openInput(source: ByteSource, pieceSize: number): Input {
  const reader = new LtxReader(source, pieceSize);
  return { reader, page: new Uint8Array(reader.header.pageSize) };
}

function mergePages(inputs: readonly Input[], encoder: LtxEncoder): void {
  const { commit } = inputs[inputs.length - 1]!.reader.header;
  const current = Float64Array.from(inputs, nextPage); // Infinity: no page left
  for (;;) {
    const newest = newestOfLowest(current);
    if (newest < 0) return;
    const pgno = current[newest]!;
    if (pgno <= commit) encoder.writePage(pgno, inputs[newest]!.page);
    for (let i = 0; i < current.length; i++) if (current[i] === pgno) current[i] = nextPage(inputs[i]!);
  }
}

function nextPage(input: Input): number {
  const pgno = input.reader.nextPage(input.page);
  return pgno === 0 ? Number.POSITIVE_INFINITY : pgno;
}
