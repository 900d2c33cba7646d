import { Crc64 } from './crc64.js';

/** Two unsigned 32-bit halves; of a page's checksum, bit 31 of `high` (63 of the whole) is set. Made once, reused. */
export interface ChecksumHalves {
  high: number;
  low: number;
}

const crc = new Crc64();

/** The last steps of MurmurHash3 for 32 bits: multiplications, which are not linear over XOR. */
function scramble(bits: number): number {
  let x = bits ^ (bits >>> 16);
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Checksum of a page's bytes alone, from which `pageChecksumFrom` and `encodeLtx` go on without reading them again. */
export function pageCrc(data: Uint8Array, start: number, pageSize: number, out: ChecksumHalves): void {
  crc.reset();
  crc.update(data, start, start + pageSize);
  out.high = crc.high;
  out.low = crc.low;
}

/** `pageChecksum` of a page whose `pageCrc` is known. May write to the same object. */
export function pageChecksumFrom(pgno: number, pageSize: number, known: ChecksumHalves, out: ChecksumHalves): void {
  combine(pgno, pageSize, known);
  mix(out);
}

/** What the LTX format calls the checksum of a page whose `pageCrc` is known: only for files with its checksums. */
export function standardPageChecksumFrom(
  pgno: number,
  pageSize: number,
  known: ChecksumHalves,
  out: ChecksumHalves,
): void {
  combine(pgno, pageSize, known);
  out.high = (crc.high | 0x80000000) >>> 0;
  out.low = crc.low;
}

/**
 * Checksum of one page: CRC-64 of (u32 page number, page), mixed. Writes to `out`, allocates nothing.
 *
 * Not the CRC alone, as the LTX format has it. A CRC is linear: the same change at the same place in two pages changes
 * both CRCs by the same bits, and in the XOR of all pages the two cancel out. An UPDATE that does the same to all rows of
 * an even number of pages would lead to the checksum that it came from.
 */
export function pageChecksum(
  pgno: number,
  data: Uint8Array,
  start: number,
  pageSize: number,
  out: ChecksumHalves,
): void {
  crc.reset();
  crc.updateU32(pgno);
  crc.update(data, start, start + pageSize);
  mix(out);
}

/** Brings `crc` to the CRC-64 of (u32 page number, page). */
function combine(pgno: number, pageSize: number, known: ChecksumHalves): void {
  crc.reset();
  crc.updateU32(pgno);
  crc.append(known.high, known.low, pageSize);
}

/** The state of `crc`, each bit of it in each bit of `out`: a Feistel network of four rounds. Bit 63 is the flag. */
function mix(out: ChecksumHalves): void {
  let { high, low } = crc;
  low ^= scramble(high);
  high ^= scramble(low);
  low ^= scramble(high);
  high ^= scramble(low);
  out.high = (high | 0x80000000) >>> 0;
  out.low = low >>> 0;
}
