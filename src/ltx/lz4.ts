import { createRequire } from 'node:module';

/*
 * LZ4 blocks, after the format's description (lz4_Block_format.md): sequences of
 *
 *   token (4 bits literals, 4 bits match length - 4; 15: more bytes follow, the last one below 255, and are added)
 *   literals
 *   u16 offset back from here, little-endian; the last sequence ends before it
 *
 * Pages are compressed here and not by lz4-napi, which makes an external buffer for each result: one a page, and the
 * garbage collector takes more time than the compression, and at other moments. For inflating it is three times faster
 * than what can be done here, and its buffers are soon gone.
 */

/** Not by `import`: for that each thread would load a parser of CommonJS, which takes 9 MB. */
const lz4 = createRequire(import.meta.url)('lz4-napi') as typeof import('lz4-napi');

const MIN_MATCH = 4;
/** The last match begins at least this far from the end. */
const LAST_MATCH = 12;
/** The last bytes are literals. */
const LAST_LITERALS = 5;
const HASH_BITS = 12;
const HASH_SHIFT = 32 - HASH_BITS;
const HASH_FACTOR = 0x9e3779b1 | 0;
/** After 2^SKIP_BITS places without a match the search begins to skip some. */
const SKIP_BITS = 4;
/** With `fast`, an input whose first part shrinks by less than this share is given up: it will not be worth the time. */
const FAST_PART = 4;
const FAST_SHARE = 16;
/** With `fast`, shorter matches are taken, but do not end the skipping: where there are no others it is not worth the time. */
const FAST_MATCH = 12;
/** No input is longer, so that an offset of 16 bits reaches every place. */
const INPUT_MAX = 65536;
/** lz4-napi wants the inflated size before a block, little-endian. */
const SIZE_PREFIX = 4;

/** Most bytes that a block of `size` bytes can take, also when it does not compress. */
export function blockBound(size: number): number {
  return size + Math.floor(size / 255) + 16;
}

/**
 * `fast`: a quarter of the time on pages that hardly compress (the leaves of an index: 6 instead of 24 µs), which then
 * take 96 instead of 75 % of their size; no difference on others. For what a commit waits for.
 */
export type Effort = 'fast' | 'thorough';

/** Compresses one page after the other; the table that finds matches is made once. */
export class BlockCompressor {
  private readonly fast: boolean;
  private readonly shortest: number;
  /** The last place where a hash was seen, plus `base`: what an earlier input left is below `base`. */
  private readonly table = new Int32Array(1 << HASH_BITS);
  private base = 0;

  constructor(effort: Effort) {
    this.fast = effort === 'fast';
    this.shortest = effort === 'fast' ? FAST_MATCH : MIN_MATCH;
  }

  /** Compresses `size` (up to 65536) bytes to `targetOffset`, where `blockBound(size)` must fit; returns the block's length. */
  compress(source: Uint8Array, start: number, size: number, target: Uint8Array, targetOffset: number): number {
    this.nextInput();
    const { table, base, shortest } = this;
    const from = new DataView(source.buffer, source.byteOffset + start, size);
    const to = new DataView(target.buffer, target.byteOffset, target.byteLength);
    const lastMatch = size - LAST_MATCH;
    let at = targetOffset;
    let anchor = 0; // where the literals begin
    let place = 0;
    let attempts = 1 << SKIP_BITS;
    let look = this.fast ? Math.floor(size / FAST_PART) : size;
    while (place <= lastMatch) {
      if (place >= look) {
        if (anchor - (at - targetOffset) < place / FAST_SHARE) break;
        look = size;
      }
      const four = from.getInt32(place, true);
      const hash = Math.imul(four, HASH_FACTOR) >>> HASH_SHIFT;
      let match = table[hash]! - base;
      table[hash] = base + place;
      if (match < 0 || from.getInt32(match, true) !== four) {
        place += attempts++ >> SKIP_BITS;
        continue;
      }
      const offset = place - match;
      while (place > anchor && match > 0 && from.getUint8(place - 1) === from.getUint8(match - 1)) {
        place--;
        match--;
      }
      const end = endOfMatch(from, place + MIN_MATCH, offset, size - LAST_LITERALS);
      at = putSequence(from, anchor, place - anchor, offset, end - place, to, at);
      if (end - place >= shortest) attempts = 1 << SKIP_BITS;
      anchor = end;
      place = end;
      table[Math.imul(from.getInt32(end - 2, true), HASH_FACTOR) >>> HASH_SHIFT] = base + end - 2;
    }
    return putLiterals(from, anchor, size - anchor, to, at, 0) - targetOffset;
  }

  private nextInput(): void {
    this.base += INPUT_MAX;
    if (this.base <= 0x7fffffff - INPUT_MAX) return;
    this.base = INPUT_MAX;
    this.table.fill(0);
  }
}

/** How far what is at `place` goes on as `offset` bytes before. */
function endOfMatch(from: DataView, place: number, offset: number, limit: number): number {
  let end = place;
  while (end + 4 <= limit && from.getInt32(end, true) === from.getInt32(end - offset, true)) end += 4;
  while (end < limit && from.getUint8(end) === from.getUint8(end - offset)) end++;
  return end;
}

function putSequence(
  from: DataView,
  start: number,
  literals: number,
  offset: number,
  matchLength: number,
  to: DataView,
  targetOffset: number,
): number {
  const more = matchLength - MIN_MATCH;
  const at = putLiterals(from, start, literals, to, targetOffset, Math.min(more, 15));
  to.setUint16(at, offset, true);
  return more < 15 ? at + 2 : putLength(to, at + 2, more - 15);
}

/** Token and literals. */
function putLiterals(
  from: DataView,
  start: number,
  literals: number,
  to: DataView,
  targetOffset: number,
  token: number,
): number {
  let at = targetOffset + 1;
  to.setUint8(targetOffset, (Math.min(literals, 15) << 4) | token);
  if (literals >= 15) at = putLength(to, at, literals - 15);
  let i = 0;
  for (const last = literals - 4; i <= last; i += 4) to.setInt32(at + i, from.getInt32(start + i, true), true);
  for (; i < literals; i++) to.setUint8(at + i, from.getUint8(start + i));
  return at + literals;
}

function putLength(to: DataView, targetOffset: number, length: number): number {
  let rest = length;
  let at = targetOffset;
  for (; rest >= 255; rest -= 255) to.setUint8(at++, 255);
  to.setUint8(at++, rest);
  return at;
}

/** A block behind its size, as lz4-napi wants it; used again for each. */
let prefixed = Buffer.allocUnsafeSlow(SIZE_PREFIX + blockBound(INPUT_MAX));

/** Inflates the block from `start` to `end` to the start of `target`; throws if it does not make exactly `size` bytes. */
export function inflateBlock(block: Uint8Array, start: number, end: number, target: Uint8Array, size: number): void {
  const length = SIZE_PREFIX + end - start;
  if (length > prefixed.length) prefixed = Buffer.allocUnsafeSlow(length);
  prefixed.writeUInt32LE(size, 0);
  prefixed.set(block.subarray(start, end), SIZE_PREFIX);
  take(lz4.uncompressSync(prefixed.subarray(0, length)), target, size);
}

/** The same for a whole LZ4 frame. Measure its blocks before: memory goes up to 255 times its length. */
export function inflateFrame(frame: Uint8Array, start: number, end: number, target: Uint8Array, size: number): void {
  take(lz4.decompressFrameSync(Buffer.from(frame.buffer, frame.byteOffset + start, end - start)), target, size);
}

function take(page: Uint8Array, target: Uint8Array, size: number): void {
  if (page.length !== size) throw new RangeError(`LZ4 data of ${page.length} bytes`);
  target.set(page);
}
