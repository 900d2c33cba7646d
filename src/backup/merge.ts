import type { LogEntry } from '../database/types.js';
import {
  type ByteSource,
  bytesSource,
  decodeHeader,
  HEADER_SIZE,
  LtxEncoder,
  type LtxHeader,
  LtxReader,
  type PageIndex,
  readPageAt,
  readPageIndex,
} from '../ltx/index.js';
import { Slices } from './slices.js';

/** Pieces in which a large transaction is read. */
const READ_BYTES = 1024 * 1024;

/** One LTX file in memory. */
export interface MergedFile {
  readonly bytes: Uint8Array;
  readonly timestampMs: number;
}

/**
 * Merges transactions that follow each other into one LTX file: of each page the newest image. Only those are
 * decompressed, so a page that changes in every transaction costs no more than one that changed once. Works in slices,
 * because it shares its thread with live streams.
 */
export async function mergeEntries(entries: readonly LogEntry[]): Promise<MergedFile> {
  const slices = new Slices();
  const inputs: Input[] = [];
  const newest = new Map<number, Input>();
  for (const entry of entries) {
    const source = bytesSource(entry.bytes());
    const input = { source, index: readPageIndex(source) };
    inputs.push(input);
    for (let i = 0; i < input.index.count; i++) newest.set(input.index.pgnoAt(i), input);
    if (slices.over()) await slices.pause();
  }
  const header = mergedHeader(entries, readHeader(inputs.at(-1)!.source));
  const chunks: Uint8Array[] = [];
  const encoder = new LtxEncoder((chunk) => chunks.push(Uint8Array.from(chunk)), header);
  const page = new Uint8Array(header.pageSize);
  // Pages that a later shrink cut off are left out; a growth after it has all of its pages again.
  const pgnos = Uint32Array.from(newest.keys()).sort();
  for (const pgno of pgnos) {
    if (pgno > header.commit) break;
    const { source, index } = newest.get(pgno)!;
    readPageAt(source, index, pgno, page);
    encoder.writePage(pgno, page);
    if (slices.over()) await slices.pause();
  }
  encoder.finish();
  const bytes = Buffer.concat(chunks);
  await readBack(bytes, page, slices);
  return { bytes, timestampMs: header.timestampMs };
}

/** Nothing goes to a store that could not be read back from it. Throws `LTX_*`. */
async function readBack(bytes: Uint8Array, page: Uint8Array, slices: Slices): Promise<void> {
  const reader = new LtxReader(bytesSource(bytes));
  while (reader.nextPage(page) !== 0) if (slices.over()) await slices.pause();
  reader.finish();
}

/** The header of a transaction in the log. */
export function readEntryHeader(entry: LogEntry): LtxHeader {
  const opened = entry.open();
  try {
    return readHeader(opened.source);
  } finally {
    opened.close();
  }
}

/** A transaction's bytes as they are, in pieces of at most 1 MiB, each valid until the next is asked for. */
export async function* readEntry(entry: LogEntry): AsyncGenerator<Uint8Array, void, undefined> {
  const { source, close } = entry.open();
  try {
    const piece = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, source.size));
    for (let at = 0; at < source.size; at += READ_BYTES) {
      yield piece.subarray(0, source.read(piece, 0, Math.min(READ_BYTES, source.size - at), at));
    }
  } finally {
    close();
  }
}

interface Input {
  readonly source: ByteSource;
  readonly index: PageIndex;
}

function readHeader(source: ByteSource): LtxHeader {
  const bytes = new Uint8Array(HEADER_SIZE);
  source.read(bytes, 0, HEADER_SIZE, 0);
  return decodeHeader(bytes);
}

function mergedHeader(entries: readonly LogEntry[], last: LtxHeader): LtxHeader {
  return {
    pageSize: last.pageSize,
    commit: last.commit,
    minTxid: entries[0]!.txid,
    maxTxid: last.maxTxid,
    timestampMs: last.timestampMs,
    preApply: entries[0]!.before.checksum,
    postApply: entries.at(-1)!.after.checksum,
  };
}
