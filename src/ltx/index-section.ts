import { putUvarint, UVARINT_MAX } from './uvarint.js';

/*
 * The page index, between the end mark of the page frames and the trailer:
 *
 *   for each page: uvarint page number, uvarint offset of its frame in the file, uvarint frame size
 *   uvarint 0
 *   u64 bytes of the part above
 */

/** Most bytes of one entry. */
export const INDEX_ENTRY_MAX = 3 * UVARINT_MAX;
/** Bytes of the length after the entries. */
export const INDEX_LENGTH_SIZE = 8;

/** Writes one entry; returns the offset after it. */
export function putIndexEntry(target: Uint8Array, at: number, pgno: number, offset: number, size: number): number {
  return putUvarint(target, putUvarint(target, putUvarint(target, at, pgno), offset), size);
}
