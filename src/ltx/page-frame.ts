import { LtxError } from './errors.js';
import { blockBound, inflateBlock, inflateFrame } from './lz4.js';

/*
 * A page frame:
 *
 *   0 u32 page number   4 u16 flags = 1   6 u32 bytes of the block   10 LZ4 block
 *   0 u32 page number   4 u16 flags = 0   6 LZ4 frame                              (older files)
 *
 * Six zero bytes stand where the next frame would be after the last.
 */

/** Bytes of a page frame's number and flags, and of the end mark of the page frames. */
export const FRAME_HEADER_SIZE = 6;
/** Bytes before the block. */
export const BLOCK_OFFSET = 10;
export const FLAG_SIZE = 1;

const LZ4_MAGIC = 0x184d2204;
const LZ4_UNCOMPRESSED = 0x80000000;
const LZ4_BLOCKS_MAX = 16; // a page is 64 KiB at most, and so is the smallest block that writers use
const LZ4_OVERHEAD_MAX = 19 + 8 * LZ4_BLOCKS_MAX + 8;

/** Most bytes of a frame that holds a page of this size. */
export function frameBound(pageSize: number): number {
  return BLOCK_OFFSET + blockBound(pageSize) + LZ4_OVERHEAD_MAX;
}

/**
 * Bytes of the frame at `start`, as far as can be told from its first `have` bytes (at least 6): the answer is either
 * at most `have`, then that is its length, or more, then ask again with so many. Never more than `frameBound`.
 * Throws `LTX_PAGE`.
 */
export function frameSize(view: DataView, start: number, have: number, pageSize: number): number {
  const pgno = view.getUint32(start);
  const flags = view.getUint16(start + 4);
  if (flags === 0) return lz4FrameSize(view, start, have, pageSize, pgno);
  if (flags !== FLAG_SIZE) throw badPage(pgno, `has unknown flags 0x${flags.toString(16)}`);
  if (have < BLOCK_OFFSET) return BLOCK_OFFSET;
  const size = view.getUint32(start + 6);
  if (size === 0 || size > blockBound(pageSize)) throw badPage(pgno, `says that it has ${size} compressed bytes`);
  return BLOCK_OFFSET + size;
}

/** The same where an LZ4 frame has to be walked through to find its end. */
function lz4FrameSize(view: DataView, start: number, have: number, pageSize: number, pgno: number): number {
  let size = FRAME_HEADER_SIZE + 7; // magic, two bytes of descriptor, header checksum
  if (have < size) return size;
  if (view.getUint32(start + 6, true) !== LZ4_MAGIC) throw badPage(pgno, 'has no LZ4 frame');
  const descriptor = view.getUint8(start + 10);
  if (descriptor >> 6 !== 1) throw badPage(pgno, 'has an unknown LZ4 frame version');
  if ((descriptor & 0x01) !== 0) throw badPage(pgno, 'needs an LZ4 dictionary');
  if ((descriptor & 0x08) !== 0) size += 8; // content size
  const blockChecksum = (descriptor & 0x10) !== 0 ? 4 : 0;
  const contentChecksum = (descriptor & 0x04) !== 0 ? 4 : 0;
  for (let blocks = 0; ; blocks++) {
    if (have < size + 4) return size + 4;
    const word = view.getUint32(start + size, true);
    size += 4;
    if (word === 0) return size + contentChecksum;
    size += (word & ~LZ4_UNCOMPRESSED) >>> 0;
    size += blockChecksum;
    if (blocks === LZ4_BLOCKS_MAX || size > frameBound(pageSize) - 8) throw badPage(pgno, 'has too long an LZ4 frame');
  }
}

/** Inflates the page of a whole frame to the start of `target`. Throws `LTX_PAGE` if that is not exactly one page. */
export function inflatePage(
  frame: Uint8Array,
  start: number,
  size: number,
  flags: number,
  target: Uint8Array,
  pageSize: number,
): void {
  try {
    if (flags === FLAG_SIZE) inflateBlock(frame, start + BLOCK_OFFSET, start + size, target, pageSize);
    else inflateFrame(frame, start + FRAME_HEADER_SIZE, start + size, target, pageSize);
  } catch (cause) {
    const pgno = new DataView(frame.buffer, frame.byteOffset).getUint32(start);
    throw new LtxError('LTX_PAGE', `bad LTX page ${pgno}: cannot be inflated to ${pageSize} bytes`, { cause });
  }
}

export function badPage(pgno: number, what: string): LtxError {
  return new LtxError('LTX_PAGE', `bad LTX page ${pgno}: ${what}`);
}

/** Checks that pages come in the order that LTX asks for. One for the reading and one for the writing side. */
export class PageOrder {
  /** The last page taken; 0 before the first. */
  last = 0;
  /** Pages taken. */
  count = 0;

  constructor(
    private readonly commit: number,
    private readonly lock: number,
    private readonly snapshot: boolean,
  ) {}

  /** Throws `LTX_PAGE` if this page may not come next. */
  take(pgno: number): void {
    const { last, lock } = this;
    if (!Number.isInteger(pgno) || pgno <= last) throw badPage(pgno, `comes after page ${last}`);
    if (pgno > this.commit) throw badPage(pgno, `is above the commit of ${this.commit} pages`);
    if (pgno === lock) throw badPage(pgno, 'is the lock page');
    if (this.snapshot && pgno !== last + 1 && !(pgno === lock + 1 && last === lock - 1)) {
      throw badPage(pgno, `comes after page ${last} in a snapshot`);
    }
    this.last = pgno;
    this.count++;
  }

  /** Throws `LTX_PAGE` if pages are missing at the end of a snapshot. */
  end(): void {
    const { commit, lock, last } = this;
    if (!this.snapshot || last === commit || (commit === lock && last === lock - 1)) return;
    throw badPage(last + 1, `is missing in a snapshot of ${commit} pages`);
  }
}
