import { fstatSync } from 'node:fs';
import { closeSync, openSync, readSync } from '../disk/index.js';
import { DatabaseSums, pageChecksum } from '../ltx/index.js';
import { checkPageCount } from './page-numbers.js';
import { nextTurn, type WalFile } from './wal-file.js';

const PIECE_BYTES = 1024 * 1024;

/**
 * Reads a whole database, its file with the WAL's newest frames over it, and makes its page checksums. In slices: other
 * work gets its turn. Bounded memory but for the table itself (8 bytes a page). Throws `DATABASE_SIZE`.
 */
export async function readWhole(
  path: string,
  pageSize: number,
  pageCount: number,
  overlay?: { readonly file: WalFile; readonly newest: ReadonlyMap<number, number> },
): Promise<DatabaseSums> {
  const sums = new DatabaseSums(pageSize);
  const perPiece = Math.max(1, Math.floor(PIECE_BYTES / pageSize));
  const piece = Buffer.allocUnsafeSlow(perPiece * pageSize);
  const sum = { high: 0, low: 0 };
  const fd = openSync(path, 'r');
  try {
    const filePages = Math.ceil(fstatSync(fd).size / pageSize);
    checkPageCount(pageCount, filePages + (overlay?.newest.size ?? 0));
    for (let first = 1; first <= pageCount; first += perPiece) {
      const count = Math.min(perPiece, pageCount - first + 1);
      const wanted = count * pageSize;
      const read = first > filePages ? 0 : readSync(fd, piece, 0, wanted, (first - 1) * pageSize);
      if (read < wanted) piece.fill(0, read, wanted);
      for (let i = 0; i < count; i++) {
        const frame = overlay?.newest.get(first + i);
        if (frame !== undefined) overlay!.file.readPage(piece, i * pageSize, frame);
        pageChecksum(first + i, piece, i * pageSize, pageSize, sum);
        sums.set(first + i, sum.high, sum.low);
      }
      await nextTurn();
    }
  } finally {
    closeSync(fd);
  }
  return sums;
}
