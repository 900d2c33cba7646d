import { Crc64 } from './crc64.js';

/** Two unsigned 32-bit halves; of a page's checksum, bit 31 of `high` (63 of the whole) is set. Made once, reused. */
export interface ChecksumHalves {
  high: number;
  low: number;
}

const crc = new Crc64();

/** Checksum of a page's bytes alone, from which `pageChecksumFrom` and `encodeLtx` go on without reading them again. */
export function pageCrc(data: Uint8Array, start: number, pageSize: number, out: ChecksumHalves): void {
  crc.reset();
  crc.update(data, start, start + pageSize);
  out.high = crc.high;
  out.low = crc.low;
}

/** `pageChecksum` of a page whose `pageCrc` is known. May write to the same object. */
export function pageChecksumFrom(pgno: number, pageSize: number, known: ChecksumHalves, out: ChecksumHalves): void {
  crc.reset();
  crc.updateU32(pgno);
  crc.append(known.high, known.low, pageSize);
  out.high = (crc.high | 0x80000000) >>> 0;
  out.low = crc.low;
}

/** Checksum of one page: CRC-64 of (u32 page number, page). Writes to `out`, allocates nothing. */
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
  out.high = (crc.high | 0x80000000) >>> 0;
  out.low = crc.low;
}
