import { LtxError } from './errors.js';
import { decodeHeader, HEADER_SIZE, type LtxHeader } from './header.js';
import { INDEX_ENTRY_MAX, INDEX_LENGTH_SIZE } from './index-section.js';
import { badPage, FRAME_HEADER_SIZE, frameBound, frameSize, inflatePage } from './page-frame.js';
import type { ByteSource } from './source.js';
import { TRAILER_SIZE } from './trailer.js';
import { UvarintReader } from './uvarint.js';

/** Bytes of the index read at a time. */
const PIECE_SIZE = 64 * 1024;
const FIRST_ENTRIES = 64;

/**
 * Where each page's frame is in an LTX file, for reading single pages. The file checksum is not looked at: use it with
 * files that were verified, or where a later check finds out. 12 bytes a page.
 */
export class PageIndex {
  /** Pages in the file. */
  count = 0;
  private pgnos = new Uint32Array(FIRST_ENTRIES);
  private offsets = new Float64Array(FIRST_ENTRIES);

  constructor(
    readonly header: LtxHeader,
    private readonly framesEnd: number,
  ) {}

  /** The `i`th page's number, ascending. */
  pgnoAt(i: number): number {
    return this.pgnos[i]!;
  }

  /** Where the frame of the `i`th page begins. */
  offsetAt(i: number): number {
    return this.offsets[i]!;
  }

  /** Bytes of the frame of the `i`th page. */
  sizeAt(i: number): number {
    return (i + 1 < this.count ? this.offsets[i + 1]! : this.framesEnd) - this.offsets[i]!;
  }

  /** Which place a page has; -1 if it is not in the file. */
  find(pgno: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.pgnos[middle]!;
      if (found === pgno) return middle;
      if (found < pgno) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Entries come in page order, each frame right after the one before. */
  add(pgno: number, offset: number): void {
    if (this.count === this.pgnos.length) {
      const pgnos = new Uint32Array(2 * this.count);
      const offsets = new Float64Array(2 * this.count);
      pgnos.set(this.pgnos);
      offsets.set(this.offsets);
      this.pgnos = pgnos;
      this.offsets = offsets;
    }
    this.pgnos[this.count] = pgno;
    this.offsets[this.count] = offset;
    this.count++;
  }
}

/** Reads header and page index of a file. Throws `LTX_*`. */
export function readPageIndex(source: ByteSource): PageIndex {
  const head = Buffer.alloc(HEADER_SIZE);
  const header = decodeHeader(head.subarray(0, source.read(head, 0, HEADER_SIZE, 0)));
  const tailSize = INDEX_LENGTH_SIZE + TRAILER_SIZE;
  const entriesEnd = source.size - tailSize;
  const tail = Buffer.alloc(INDEX_LENGTH_SIZE);
  if (entriesEnd < HEADER_SIZE + FRAME_HEADER_SIZE + 1) throw new LtxError('LTX_TRUNCATED', 'LTX file is cut');
  readFully(source, tail, tail.length, entriesEnd);
  const size = Number(tail.readBigUInt64BE(0));
  const framesEnd = entriesEnd - size - FRAME_HEADER_SIZE;
  if (size < 1 || framesEnd < HEADER_SIZE) throw badIndex('says that it is longer than the file');
  const index = new PageIndex(header, framesEnd);
  readEntries(source, entriesEnd - size, entriesEnd, index, framesEnd);
  return index;
}

function readEntries(source: ByteSource, start: number, end: number, index: PageIndex, framesEnd: number): void {
  const { commit, pageSize } = index.header;
  const piece = Buffer.allocUnsafe(Math.min(PIECE_SIZE, end - start));
  const entries = new UvarintReader();
  entries.bytes = piece;
  let position = start;
  let last = 0;
  let frame = HEADER_SIZE;
  for (;;) {
    if (entries.end - entries.offset < INDEX_ENTRY_MAX && position < end) {
      const kept = piece.copy(piece, 0, entries.offset, entries.end);
      const size = Math.min(piece.length - kept, end - position);
      readFully(source, piece.subarray(kept), size, position);
      position += size;
      entries.offset = 0;
      entries.end = kept + size;
    }
    const pgno = entries.next();
    if (pgno === 0) break;
    const offset = entries.next();
    const size = entries.next();
    if (!(pgno > last && pgno <= commit)) throw badIndex(`has page ${pgno} after ${last}`);
    if (!(offset === frame && size > FRAME_HEADER_SIZE && size <= frameBound(pageSize))) {
      throw badIndex(`has page ${pgno} at ${offset}+${size}`);
    }
    index.add(pgno, offset);
    last = pgno;
    frame = offset + size;
  }
  if (frame !== framesEnd || position !== end || entries.offset !== entries.end) throw badIndex('ends elsewhere');
}

/**
 * Reads one page to the start of `target`; false if the file does not have it. Throws `LTX_PAGE`, `LTX_TRUNCATED`.
 * Checks the frame, but no checksum.
 */
export function readPageAt(source: ByteSource, index: PageIndex, pgno: number, target: Uint8Array): boolean {
  const i = index.find(pgno);
  if (i < 0) return false;
  const { pageSize } = index.header;
  if (target.length < pageSize) throw new LtxError('LTX_STATE', `${target.length} bytes are no room for a page`);
  const size = index.sizeAt(i);
  const frame = Buffer.allocUnsafe(size);
  readFully(source, frame, size, index.offsetAt(i));
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.readUInt32BE(0) !== pgno) throw badPage(pgno, 'is not where the index says');
  let have = FRAME_HEADER_SIZE;
  for (let need = 0; ; have = need) {
    need = frameSize(view, 0, have, pageSize);
    if (need > size) throw badPage(pgno, 'is longer than the index says');
    if (need <= have) break;
  }
  if (have !== size) throw badPage(pgno, 'is shorter than the index says');
  inflatePage(frame, 0, size, frame.readUInt16BE(4), target, pageSize);
  return true;
}

function readFully(source: ByteSource, target: Uint8Array, size: number, position: number): void {
  if (source.read(target, 0, size, position) !== size) throw new LtxError('LTX_TRUNCATED', 'LTX file is cut');
}

function badIndex(what: string): LtxError {
  return new LtxError('LTX_INDEX', `bad LTX page index: it ${what}`);
}
