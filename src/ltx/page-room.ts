import { LtxError } from './errors.js';
import { type LtxHeader, lockPage } from './header.js';
import { BLOCK_OFFSET } from './page-frame.js';

/** The smallest page frame: its head and one byte of a block. */
const MIN_FRAME_SIZE = BLOCK_OFFSET + 1;

/**
 * Throws `LTX_HEADER` if a file of so many bytes cannot hold an image of each page by which the database grows from
 * `pagesBefore` to its commit. So whoever makes room for these pages makes room for what is there, not for what a
 * damaged or hostile header says. Sluice writes an image of each new page but the lock page; other writers may not.
 */
export function checkPageRoom({ pageSize, commit }: LtxHeader, sizeBytes: number, pagesBefore: number): void {
  const lock = lockPage(pageSize);
  const grown = commit - pagesBefore - (pagesBefore < lock && lock <= commit ? 1 : 0);
  if (grown <= sizeBytes / MIN_FRAME_SIZE) return;
  throw new LtxError('LTX_HEADER', `bad LTX header: ${grown} new pages do not fit ${sizeBytes} bytes`);
}
