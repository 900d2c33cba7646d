import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { WalFile } from '../../../src/database/wal-file.js';
import {
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WAL_MAGIC_LE,
  WAL_VERSION,
  walChecksum,
} from '../../../src/sqlite/index.js';

/**
 * Writes the header of a WAL that begins afresh, as the writer of its first transaction does before the frames: with
 * the salts that the wal-index has already.
 */
export function writeWalHeader(walPath: string, pageSize: number, salt1: number, salt2: number): void {
  const header = Buffer.alloc(WAL_HEADER_SIZE);
  for (const [i, word] of [WAL_MAGIC_LE, WAL_VERSION, pageSize, 1, salt1, salt2].entries())
    header.writeUInt32BE(word, i * 4);
  const sum = { s0: 0, s1: 0 };
  walChecksum(sum, false, header, 0, 24);
  header.writeUInt32BE(sum.s0, 24);
  header.writeUInt32BE(sum.s1, 28);
  const fd = openSync(walPath, 'r+');
  writeSync(fd, header, 0, header.length, 0);
  closeSync(fd);
}

/**
 * Writes a commit of one page behind frame `frames` of a WAL as SQLite would, and then dies, so to speak: the wal-index
 * knows nothing of it, and the next writer overwrites it.
 */
export function writeUnpublishedCommit(
  walPath: string,
  frames: number,
  pageNumber: number,
  page: Buffer,
  commit: number,
): void {
  const wal = WalFile.open(walPath);
  if (wal === undefined) throw new Error(`${walPath} is no WAL`);
  const { header, frameSize } = wal;
  const sum = { s0: header.s0, s1: header.s1 };
  const before = Buffer.alloc(WAL_FRAME_HEADER_SIZE);
  if (frames > 0) {
    readSync(wal.fd, before, 0, before.length, wal.offsetOf(frames - 1));
    sum.s0 = before.readUInt32BE(16);
    sum.s1 = before.readUInt32BE(20);
  }
  const frame = Buffer.alloc(frameSize);
  frame.writeUInt32BE(pageNumber, 0);
  frame.writeUInt32BE(commit, 4);
  frame.writeUInt32BE(header.salt1, 8);
  frame.writeUInt32BE(header.salt2, 12);
  page.copy(frame, WAL_FRAME_HEADER_SIZE);
  walChecksum(sum, header.bigEndian, frame, 0, 8);
  walChecksum(sum, header.bigEndian, frame, WAL_FRAME_HEADER_SIZE, header.pageSize);
  frame.writeUInt32BE(sum.s0, 16);
  frame.writeUInt32BE(sum.s1, 20);
  const fd = openSync(walPath, 'r+');
  writeSync(fd, frame, 0, WAL_FRAME_HEADER_SIZE, wal.offsetOf(frames));
  writeSync(fd, frame, WAL_FRAME_HEADER_SIZE, header.pageSize, wal.offsetOf(frames) + WAL_FRAME_HEADER_SIZE);
  closeSync(fd);
  wal.close();
}
