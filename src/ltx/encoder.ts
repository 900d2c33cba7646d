import { Crc64 } from './crc64.js';
import { LtxError } from './errors.js';
import { FrameList } from './frame-list.js';
import { encodeHeader, HEADER_SIZE, isSnapshot, type LtxHeader, lockPage } from './header.js';
import { INDEX_ENTRY_MAX, INDEX_LENGTH_SIZE, putIndexEntry } from './index-section.js';
import { BlockCompressor, blockBound, type Effort } from './lz4.js';
import type { ChecksumHalves } from './page-checksum.js';
import { BLOCK_OFFSET, badPage, FLAG_SIZE, FRAME_HEADER_SIZE, PageOrder } from './page-frame.js';
import type { LtxSummary } from './summary.js';
import { TRAILER_CHECKED_SIZE, TRAILER_SIZE } from './trailer.js';

/** Bytes that an encoder gathers before it gives them to its sink. */
const PIECE_SIZE = 256 * 1024;

/** Bytes that stay allocated between two calls of `encodeLtx`; a larger transaction's buffer is let go. */
const KEPT_SIZE = 4 * 1024 * 1024;

/** One page of a transaction. */
export interface LtxPage {
  readonly pgno: number;
  /** Exactly one page. */
  readonly data: Uint8Array;
  /** Its `pageCrc`, if that is known. */
  readonly crc?: ChecksumHalves;
}

/**
 * Writes an LTX file piece by piece: `writePage` for each page in ascending order, then `finish`. Memory is a piece and
 * about 3 bytes a page. A piece that `sink` gets is valid during the call only.
 * Throws `LTX_HEADER`, `LTX_PAGE` (pages out of order, above the commit, the lock page, a snapshot that is not whole).
 */
export class LtxEncoder {
  private readonly file: FileWriter;

  constructor(sink: (chunk: Uint8Array) => void, header: LtxHeader) {
    this.file = new FileWriter(sink, 'thorough');
    this.file.begin(header);
  }

  /** `start`: where the page begins in `data`. */
  writePage(pgno: number, data: Uint8Array, start = 0): void {
    this.file.writePage(pgno, data, start);
  }

  finish(): LtxSummary {
    return this.file.finish();
  }
}

let scratch: FileWriter | undefined;

/**
 * One transaction as an LTX file in memory, pages in ascending order. For transactions that fit memory: the only thing
 * allocated is the result, and speed goes before size. Throws as LtxEncoder does.
 */
export function encodeLtx(header: LtxHeader, pages: readonly LtxPage[]): Uint8Array {
  const file = scratch ?? new FileWriter(undefined, 'fast');
  scratch = undefined; // a throw below leaves it behind
  file.begin(header);
  for (const page of pages) {
    if (page.data.length !== header.pageSize) throw badPage(page.pgno, `has ${page.data.length} bytes`);
    file.writePage(page.pgno, page.data, 0, page.crc);
  }
  file.finish();
  const result = file.take();
  if (file.bufferSize <= KEPT_SIZE) scratch = file;
  return result;
}

/** The file being written. With a sink the buffer is handed on when it is full, without one it grows. */
class FileWriter {
  private bytes = Buffer.allocUnsafeSlow(PIECE_SIZE);
  private view = viewOf(this.bytes);
  private used = 0;
  private flushed = 0;
  private readonly crc = new Crc64();
  private readonly compressor: BlockCompressor;
  private readonly frames = new FrameList();
  private header: LtxHeader | undefined;
  private order = new PageOrder(0, 0, false);

  constructor(
    private readonly sink: ((chunk: Uint8Array) => void) | undefined,
    effort: Effort,
  ) {
    this.compressor = new BlockCompressor(effort);
  }

  get bufferSize(): number {
    return this.bytes.length;
  }

  begin(header: LtxHeader): void {
    this.used = 0;
    this.flushed = 0;
    this.frames.clear();
    this.crc.reset();
    encodeHeader(header, this.view);
    this.header = header;
    this.order = new PageOrder(header.commit, lockPage(header.pageSize), isSnapshot(header));
    this.cover(HEADER_SIZE);
  }

  writePage(pgno: number, data: Uint8Array, start: number, crc?: ChecksumHalves): void {
    const { pageSize } = this.open();
    if (start < 0 || start + pageSize > data.length)
      throw badPage(pgno, `needs ${pageSize} bytes at ${start} of ${data.length}`);
    this.order.take(pgno);
    this.reserve(BLOCK_OFFSET + blockBound(pageSize));
    const size = this.compressor.compress(data, start, pageSize, this.bytes, this.used + BLOCK_OFFSET);
    this.view.setUint32(this.used, pgno);
    this.view.setUint16(this.used + 4, FLAG_SIZE);
    this.view.setUint32(this.used + FRAME_HEADER_SIZE, size);
    this.cover(BLOCK_OFFSET);
    if (crc === undefined) this.crc.update(data, start, start + pageSize);
    else this.crc.append(crc.high, crc.low, pageSize);
    this.used += size;
    this.frames.add(pgno, BLOCK_OFFSET + size);
  }

  finish(): LtxSummary {
    const header = this.open();
    this.order.end();
    this.reserve(FRAME_HEADER_SIZE);
    this.bytes.fill(0, this.used, this.used + FRAME_HEADER_SIZE);
    this.cover(FRAME_HEADER_SIZE);
    this.writeIndex();
    this.reserve(TRAILER_SIZE);
    this.view.setBigUint64(this.used, 0n);
    this.cover(TRAILER_CHECKED_SIZE);
    const fileChecksum = this.crc.checksum;
    this.view.setBigUint64(this.used, fileChecksum);
    this.used += TRAILER_SIZE - TRAILER_CHECKED_SIZE;
    const sizeBytes = this.flushed + this.used;
    this.flush();
    this.header = undefined;
    return { header, pages: this.order.count, sizeBytes, fileChecksum, postApply: header.postApply };
  }

  /** A copy of what was written; only without a sink. */
  take(): Uint8Array {
    const result = Buffer.allocUnsafeSlow(this.used);
    this.bytes.copy(result, 0, 0, this.used);
    return result;
  }

  private writeIndex(): void {
    const begin = this.flushed + this.used;
    this.frames.forEach(HEADER_SIZE, (pgno, offset, size) => {
      this.reserve(INDEX_ENTRY_MAX);
      this.cover(putIndexEntry(this.bytes, this.used, pgno, offset, size) - this.used);
    });
    this.reserve(1 + INDEX_LENGTH_SIZE);
    this.bytes[this.used] = 0;
    this.view.setBigUint64(this.used + 1, BigInt(this.flushed + this.used + 1 - begin));
    this.cover(1 + INDEX_LENGTH_SIZE);
  }

  /** Takes the next bytes, already written, into the file and its checksum. */
  private cover(size: number): void {
    this.crc.update(this.bytes, this.used, this.used + size);
    this.used += size;
  }

  /** Makes room for the next bytes. */
  private reserve(size: number): void {
    if (this.used + size <= this.bytes.length) return;
    this.flush();
    if (this.used + size <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * this.bytes.length);
    this.bytes.copy(larger, 0, 0, this.used);
    this.bytes = larger;
    this.view = viewOf(larger);
  }

  private flush(): void {
    if (this.sink === undefined || this.used === 0) return;
    this.sink(this.bytes.subarray(0, this.used));
    this.flushed += this.used;
    this.used = 0;
  }

  private open(): LtxHeader {
    if (this.header === undefined) throw new LtxError('LTX_STATE', 'this LTX file is already finished');
    return this.header;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
