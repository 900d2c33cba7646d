import { encodeWalIndexHeader, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../../../../src/sqlite/index.js';
import { walSealed } from './sqlite-files.js';

/** Two pages of a database, the first with a header. */
export function sampleDatabase(pageSize: number): Buffer {
  const bytes = Buffer.alloc(2 * pageSize, 0x2a);
  bytes.write('SQLite format 3\0', 0, 'latin1');
  bytes.writeUInt16BE(pageSize === 65536 ? 1 : pageSize, 16);
  bytes.fill(0, 18, 100);
  bytes.writeUInt16BE(0x0202, 18);
  bytes.writeUInt32BE(7, 24);
  bytes.writeUInt32BE(2, 28);
  bytes.writeUInt32BE(7, 92);
  return bytes;
}

/** A WAL with a frame for each of `pgnos`, the last of which commits `commit` pages. */
export function makeWal(pageSize: number, pgnos: readonly number[], commit: number): Buffer {
  const size = WAL_FRAME_HEADER_SIZE + pageSize;
  const bytes = Buffer.alloc(WAL_HEADER_SIZE + pgnos.length * size);
  bytes.writeUInt32BE(0x377f0682 + (pgnos.length % 2), 0);
  bytes.writeUInt32BE(3007000, 4);
  bytes.writeUInt32BE(pageSize, 8);
  bytes.writeUInt32BE(3, 12);
  bytes.writeUInt32BE(0x0102_0304, 16);
  bytes.writeUInt32BE(0xf5f6_f7f8, 20);
  for (const [i, pgno] of pgnos.entries()) {
    const at = WAL_HEADER_SIZE + i * size;
    bytes.writeUInt32BE(pgno, at);
    bytes.writeUInt32BE(i === pgnos.length - 1 ? commit : 0, at + 4);
    bytes.fill(pgno, at + WAL_FRAME_HEADER_SIZE, at + size);
  }
  return walSealed(bytes);
}

/** Both copies of the header of a wal-index, and what is behind them. */
export function walIndexPrefix(frames: number): Buffer {
  const bytes = Buffer.alloc(136);
  const fields = { change: 5, initialised: true, bigEndian: false, pageSize: 65536, frames, pageCount: 9 };
  encodeWalIndexHeader({ ...fields, s0: 1, s1: 2, salt1: 3, salt2: 4 }, bytes);
  bytes.copy(bytes, 48, 0, 48);
  return bytes;
}
