/** The write-ahead log's format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log */

import { isPageSize } from './header.js';

export const WAL_HEADER_SIZE = 32;
export const WAL_FRAME_HEADER_SIZE = 24;
export const WAL_MAGIC_LE = 0x377f0682;
export const WAL_MAGIC_BE = 0x377f0683;
export const WAL_VERSION = 3007000;

/** The cumulative checksum of a WAL, kept as two running words. */
export interface WalChecksum {
  s0: number;
  s1: number;
}

/** Adds `length` bytes (a multiple of 8) at `start`, read as big- or little-endian words. */
export function walChecksum(
  sum: WalChecksum,
  bigEndian: boolean,
  bytes: Uint8Array,
  start: number,
  length: number,
): void {
  let { s0, s1 } = sum;
  const end = start + length;
  if (bigEndian) {
    for (let i = start; i < end; i += 8) {
      const x = (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!;
      const y = (bytes[i + 4]! << 24) | (bytes[i + 5]! << 16) | (bytes[i + 6]! << 8) | bytes[i + 7]!;
      s0 = (s0 + x + s1) | 0;
      s1 = (s1 + y + s0) | 0;
    }
  } else if (((bytes.byteOffset + start) & 3) === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, length >> 2);
    for (let i = 0; i < words.length; i += 2) {
      s0 = (s0 + words[i]! + s1) | 0;
      s1 = (s1 + words[i + 1]! + s0) | 0;
    }
  } else {
    for (let i = start; i < end; i += 8) {
      const x = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      const y = bytes[i + 4]! | (bytes[i + 5]! << 8) | (bytes[i + 6]! << 16) | (bytes[i + 7]! << 24);
      s0 = (s0 + x + s1) | 0;
      s1 = (s1 + y + s0) | 0;
    }
  }
  sum.s0 = s0 >>> 0;
  sum.s1 = s1 >>> 0;
}

export interface WalHeader {
  readonly bigEndian: boolean;
  readonly pageSize: number;
  readonly sequence: number;
  readonly salt1: number;
  readonly salt2: number;
  /** The header's own checksum, from which the first frame's goes on. */
  readonly s0: number;
  readonly s1: number;
}

/** The header of a WAL file, or undefined if it is not whole or its checksum is wrong. */
export function parseWalHeader(bytes: Uint8Array, start = 0): WalHeader | undefined {
  if (bytes.length - start < WAL_HEADER_SIZE) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, WAL_HEADER_SIZE);
  const magic = view.getUint32(0);
  if (magic !== WAL_MAGIC_LE && magic !== WAL_MAGIC_BE) return undefined;
  const pageSize = view.getUint32(8);
  if (view.getUint32(4) !== WAL_VERSION || !isPageSize(pageSize)) return undefined;
  const sum = { s0: 0, s1: 0 };
  walChecksum(sum, magic === WAL_MAGIC_BE, bytes, start, 24);
  if (sum.s0 !== view.getUint32(24) || sum.s1 !== view.getUint32(28)) return undefined;
  return {
    bigEndian: magic === WAL_MAGIC_BE,
    pageSize,
    sequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    s0: sum.s0,
    s1: sum.s1,
  };
}

/** Fields of the frame header at `start`; a big-endian word each. */
export function framePageNumber(bytes: Uint8Array, start: number): number {
  return readWord(bytes, start);
}

/** Database size in pages for a commit frame, else 0. */
export function frameCommitSize(bytes: Uint8Array, start: number): number {
  return readWord(bytes, start + 4);
}

/** Whether the frame's header, at `start`, has the WAL's salts. */
export function frameIsOf(header: WalHeader, bytes: Uint8Array, start: number): boolean {
  return readWord(bytes, start + 8) === header.salt1 && readWord(bytes, start + 12) === header.salt2;
}

/**
 * Whether the frame (header and page) at `start` belongs after what `sum` covers: right salts, a page number, and the
 * right checksum. If so `sum` goes on to cover it, else it is unchanged.
 */
export function frameFollows(header: WalHeader, sum: WalChecksum, bytes: Uint8Array, start: number): boolean {
  if (!frameIsOf(header, bytes, start) || framePageNumber(bytes, start) === 0) return false;
  const { s0, s1 } = sum;
  walChecksum(sum, header.bigEndian, bytes, start, 8);
  walChecksum(sum, header.bigEndian, bytes, start + WAL_FRAME_HEADER_SIZE, header.pageSize);
  if (sum.s0 === readWord(bytes, start + 16) && sum.s1 === readWord(bytes, start + 20)) return true;
  sum.s0 = s0;
  sum.s1 = s1;
  return false;
}

function readWord(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
