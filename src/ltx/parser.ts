import { Crc64, joinChecksum } from './crc64.js';
import { LtxError } from './errors.js';
import { decodeHeader, FLAG_NO_CHECKSUM, HEADER_SIZE, isSnapshot, type LtxHeader, lockPage } from './header.js';
import { INDEX_ENTRY_MAX, INDEX_LENGTH_SIZE, putIndexEntry } from './index-section.js';
import { type ChecksumHalves, pageChecksumFrom, pageCrc, standardPageChecksumFrom } from './page-checksum.js';
import { BLOCK_OFFSET, FLAG_SIZE, FRAME_HEADER_SIZE, frameSize, inflatePage, PageOrder } from './page-frame.js';
import type { LtxSummary } from './summary.js';
import { decodeTrailer, standardPostApply, TRAILER_CHECKED_SIZE, TRAILER_SIZE } from './trailer.js';

/** So that a file that comes in small chunks does not make the buffer grow byte by byte. */
const MIN_PENDING_SIZE = 8 * 1024;

type State = 'header' | 'pages' | 'index' | 'index-length' | 'trailer' | 'end';

/**
 * Reads an LTX file from bytes that come in chunks of any size, and checks all of it on the way. It holds one cut frame
 * at most, and of the index only how long it must be and its CRC, made from the frames.
 */
export class LtxParser {
  /** Where the next page goes: one page or more. Set it once the header is there. */
  target: Uint8Array = new Uint8Array(0);
  /** True after a `feed` that came to the end of a page; `pgno` says which. */
  pageReady = false;
  pgno = 0;
  /** `pageCrc` of that page. */
  readonly pageCrc: ChecksumHalves = { high: 0, low: 0 };

  private state: State = 'header';
  private need = HEADER_SIZE; // bytes that the next step wants to see at once
  private pending = Buffer.alloc(HEADER_SIZE);
  private pendingBytes = 0;
  private offset = 0; // of the file, bytes consumed
  private readonly crc = new Crc64();
  private readonly indexWanted = new Crc64();
  private readonly indexFound = new Crc64();
  private readonly entry = Buffer.alloc(INDEX_ENTRY_MAX);
  private indexSize = 0;
  private indexLeft = 0; // bytes of it that must still come
  private sumsPages = false;
  private failed = false;
  private readonly pageSum: ChecksumHalves = { high: 0, low: 0 };
  private sumHigh = 0;
  private sumLow = 0;
  private order = new PageOrder(0, 0, false);
  private headerFound: LtxHeader | undefined;
  private summaryFound: LtxSummary | undefined;

  /** Undefined until it was read. */
  get header(): LtxHeader | undefined {
    return this.headerFound;
  }

  /** True when all pages were read. */
  get pagesDone(): boolean {
    return this.state !== 'header' && this.state !== 'pages';
  }

  /** Consumes bytes from `start` until `end`, but stops after the header and after a page; returns where. */
  feed(chunk: Uint8Array, start: number, end: number): number {
    this.checkUsable();
    this.failed = true; // until this call is through
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const inHeader = this.state === 'header';
    let at = start;
    this.pageReady = false;
    while (at < end && !this.pageReady && (this.state === 'header') === inHeader) {
      if (this.state === 'index') at += this.readIndex(chunk, at, end);
      else if (this.pendingBytes === 0 && end - at >= this.need) at += this.step(chunk, view, at);
      else at += this.gather(chunk, at, end);
    }
    this.failed = false;
    return at;
  }

  /** Throws `LTX_TRUNCATED` unless the end of the file was read. */
  end(): LtxSummary {
    this.checkUsable();
    if (this.summaryFound === undefined) {
      throw new LtxError('LTX_TRUNCATED', `LTX file is cut: it ends at byte ${this.offset + this.pendingBytes}`);
    }
    return this.summaryFound;
  }

  private checkUsable(): void {
    if (this.failed) throw new LtxError('LTX_STATE', 'this LTX file was already found to be bad');
  }

  /** Takes the unit of `need` bytes at `at`, and returns how many it consumed: 0 if it has to see more of them first. */
  private step(bytes: Uint8Array, view: DataView, at: number): number {
    switch (this.state) {
      case 'header':
        return this.readHeader(bytes, at);
      case 'pages':
        return view.getUint32(at) === 0 && view.getUint16(at + 4) === 0
          ? this.endPages(bytes, at)
          : this.readPage(bytes, view, at);
      case 'index-length':
        return this.readIndexLength(bytes, view, at);
      case 'trailer':
        return this.readTrailer(bytes, view, at);
      default:
        throw new LtxError('LTX_TRAILER', `bad LTX file: bytes after its end at ${this.offset}`);
    }
  }

  /** Adds to the bytes of a unit that is cut between chunks, and takes it when it is whole. */
  private gather(chunk: Uint8Array, at: number, end: number): number {
    const size = Math.min(this.need - this.pendingBytes, end - at);
    if (this.need > this.pending.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.need, MIN_PENDING_SIZE));
      this.pending.copy(larger, 0, 0, this.pendingBytes);
      this.pending = larger;
    }
    this.pending.set(chunk.subarray(at, at + size), this.pendingBytes);
    this.pendingBytes += size;
    if (this.pendingBytes === this.need) {
      const view = new DataView(this.pending.buffer, this.pending.byteOffset, this.pending.byteLength);
      if (this.step(this.pending, view, 0) > 0) this.pendingBytes = 0;
    }
    return size;
  }

  private readHeader(bytes: Uint8Array, at: number): number {
    const header = decodeHeader(bytes.subarray(at, at + HEADER_SIZE));
    this.order = new PageOrder(header.commit, lockPage(header.pageSize), isSnapshot(header));
    this.sumsPages = isSnapshot(header) && (header.flags !== FLAG_NO_CHECKSUM || header.postApply !== 0n);
    this.headerFound = header;
    this.cover(bytes, at, HEADER_SIZE);
    this.expect('pages', FRAME_HEADER_SIZE);
    return HEADER_SIZE;
  }

  private readPage(bytes: Uint8Array, view: DataView, at: number): number {
    const { pageSize } = this.headerFound!;
    const size = frameSize(view, at, this.need, pageSize);
    if (size > this.need) {
      this.need = size;
      return 0;
    }
    const pgno = view.getUint32(at);
    const flags = view.getUint16(at + 4);
    this.order.take(pgno);
    inflatePage(bytes, at, size, flags, this.target, pageSize);
    this.crc.update(bytes, at, at + (flags === FLAG_SIZE ? BLOCK_OFFSET : FRAME_HEADER_SIZE));
    pageCrc(this.target, 0, pageSize, this.pageCrc);
    this.crc.append(this.pageCrc.high, this.pageCrc.low, pageSize);
    if (this.sumsPages) this.addPageSum(pgno, pageSize);
    const entrySize = putIndexEntry(this.entry, 0, pgno, this.offset, size);
    this.indexWanted.update(this.entry, 0, entrySize);
    this.indexLeft += entrySize;
    this.offset += size;
    this.need = FRAME_HEADER_SIZE;
    this.pgno = pgno;
    this.pageReady = true;
    return size;
  }

  private addPageSum(pgno: number, pageSize: number): void {
    if (this.headerFound!.flags === FLAG_NO_CHECKSUM) pageChecksumFrom(pgno, pageSize, this.pageCrc, this.pageSum);
    else standardPageChecksumFrom(pgno, pageSize, this.pageCrc, this.pageSum);
    this.sumHigh ^= this.pageSum.high;
    this.sumLow ^= this.pageSum.low;
  }

  private endPages(bytes: Uint8Array, at: number): number {
    this.order.end();
    this.cover(bytes, at, FRAME_HEADER_SIZE);
    this.entry[0] = 0;
    this.indexWanted.update(this.entry, 0, 1);
    this.indexLeft++;
    this.indexSize = this.indexLeft;
    this.state = 'index';
    return FRAME_HEADER_SIZE;
  }

  private readIndex(bytes: Uint8Array, at: number, end: number): number {
    const size = Math.min(end - at, this.indexLeft);
    this.indexFound.update(bytes, at, at + size);
    this.cover(bytes, at, size);
    this.indexLeft -= size;
    if (this.indexLeft === 0) {
      const { indexWanted, indexFound } = this;
      if (indexWanted.high !== indexFound.high || indexWanted.low !== indexFound.low) throw badIndex();
      this.expect('index-length', INDEX_LENGTH_SIZE);
    }
    return size;
  }

  private readIndexLength(bytes: Uint8Array, view: DataView, at: number): number {
    if (view.getBigUint64(at) !== BigInt(this.indexSize)) throw badIndex();
    this.cover(bytes, at, INDEX_LENGTH_SIZE);
    this.expect('trailer', TRAILER_SIZE);
    return INDEX_LENGTH_SIZE;
  }

  private readTrailer(bytes: Uint8Array, view: DataView, at: number): number {
    const header = this.headerFound!;
    const trailer = decodeTrailer(view, at);
    this.cover(bytes, at, TRAILER_CHECKED_SIZE);
    if (trailer.fileChecksum !== this.crc.checksum) {
      throw new LtxError('LTX_CHECKSUM', 'LTX file checksum differs: the file is damaged');
    }
    const { postApply } = header;
    const standard = standardPostApply(header, trailer);
    if (this.sumsPages && (standard ?? postApply) !== joinChecksum(this.sumHigh, this.sumLow)) {
      throw new LtxError('LTX_DATABASE_CHECKSUM', 'the pages of the LTX snapshot do not add up to its checksum');
    }
    this.offset += TRAILER_SIZE - TRAILER_CHECKED_SIZE;
    this.summaryFound = {
      header,
      pages: this.order.count,
      sizeBytes: this.offset,
      fileChecksum: trailer.fileChecksum,
      postApply,
      ...(standard === undefined ? {} : { standardPostApply: standard }),
    };
    this.expect('end', 1);
    return TRAILER_SIZE;
  }

  /** Takes bytes into the file checksum. */
  private cover(bytes: Uint8Array, at: number, size: number): void {
    this.crc.update(bytes, at, at + size);
    this.offset += size;
  }

  private expect(state: State, need: number): void {
    this.state = state;
    this.need = need;
  }
}

function badIndex(): LtxError {
  return new LtxError('LTX_INDEX', 'bad LTX file: its page index does not describe its pages');
}
