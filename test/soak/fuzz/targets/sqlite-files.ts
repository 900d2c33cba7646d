import {
  companionOf,
  databasePageCount,
  frameCommitSize,
  frameFollows,
  hasDatabaseMagic,
  hasJournalMagic,
  JOURNAL_MAGIC,
  parseDatabaseHeader,
  parseWalHeader,
  SUPER_NOTE_MAX,
  superJournalNote,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalHeader,
  walChecksum,
} from '../../../../src/sqlite/index.js';
import { mustHold, type Target, type TargetOpener } from '../target.js';
import { makeWal, sampleDatabase } from './samples.js';

/** The first bytes of a database file. */
export const databaseHeader: TargetOpener = {
  open: (): Target => ({
    seeds: [
      sampleDatabase(4096).subarray(0, 100),
      sampleDatabase(65536).subarray(0, 100),
      sampleDatabase(512).subarray(0, 200),
    ],
    dictionary: [Buffer.from('SQLite format 3\0'), Buffer.from([0, 1]), Buffer.from([2, 2])],
    maxBytes: 300,
    run(input) {
      for (const start of [0, 1, input.length, input.length + 1]) hasDatabaseMagic(input, start);
      const header = parseDatabaseHeader(input);
      if (header === undefined) return;
      mustHold(hasDatabaseMagic(input), 'a header without its magic');
      mustHold(
        header.pageSize >= 512 && header.pageSize <= 65536 && Number.isInteger(Math.log2(header.pageSize)),
        'page size',
      );
      const pages = databasePageCount(header, input.length);
      mustHold(Number.isInteger(pages) && pages >= 0 && pages <= 0xffff_ffff, 'page count');
    },
  }),
};

/** The end of a rollback journal. */
export const journal: TargetOpener = {
  open: (): Target => ({
    seeds: [journalNote('/mnt/app.db-mj12345678'), journalNote('x'.repeat(512)), Buffer.alloc(28)],
    dictionary: [Buffer.from(JOURNAL_MAGIC)],
    maxBytes: 2 * SUPER_NOTE_MAX,
    repair(input) {
      const end = input.length - 16;
      if (end < 0) return input;
      const length = Math.min(input.readUInt32BE(end), end);
      let sum = 0;
      for (const byte of input.subarray(end - length, end)) sum += byte < 128 ? byte : byte - 256;
      input.writeUInt32BE(sum >>> 0, end + 4);
      Buffer.from(JOURNAL_MAGIC).copy(input, end + 8);
      return input;
    },
    run(input) {
      for (const start of [0, 1, input.length]) hasJournalMagic(input, start);
      const note = superJournalNote(input);
      if (note === undefined) return;
      mustHold(note.size <= input.length, 'a note longer than the journal');
      mustHold(note.name.length > 0 && note.name.length <= 512, 'the name of a super-journal');
      companionOf(note.name);
    },
  }),
};

export function journalNote(name: string): Buffer {
  const bytes = Buffer.from(name);
  const head = Buffer.from([0, 0x40, 0, 1]);
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(bytes.length, 0);
  tail.writeUInt32BE(bytes.reduce((sum, byte) => sum + byte, 0) >>> 0, 4);
  return Buffer.concat([head, bytes, tail, Buffer.from(JOURNAL_MAGIC)]);
}

/** A whole WAL: its header, and how far its frames follow one another. */
export const wal: TargetOpener = {
  open: (): Target => ({
    seeds: [makeWal(512, [1, 2], 2), makeWal(512, [3, 1, 4, 1, 5], 9), makeWal(1024, [7], 7), makeWal(65536, [1], 1)],
    dictionary: ['377f0682', '377f0683', '002de218', '00000200', '00010000'].map((hex) => Buffer.from(hex, 'hex')),
    maxBytes: 70 << 10,
    repair: (input) => walSealed(input),
    run(input) {
      const header = parseWalHeader(input);
      if (header === undefined) return;
      const size = WAL_FRAME_HEADER_SIZE + header.pageSize;
      const sum = { s0: header.s0, s1: header.s1 };
      // Also where words of the checksum are not aligned in memory.
      const shifted = Buffer.concat([Buffer.alloc(1), input]).subarray(1);
      const shiftedSum = { ...sum };
      for (let at = WAL_HEADER_SIZE; at + size <= input.length; at += size) {
        const follows = frameFollows(header, sum, input, at);
        mustHold(follows === frameFollows(header, shiftedSum, shifted, at), 'alignment changes a checksum');
        if (!follows) return;
        frameCommitSize(input, at);
      }
    },
  }),
};

/** Puts the checksums of header and frames right, and the salts. */
export function walSealed(input: Buffer): Buffer {
  if (input.length < WAL_HEADER_SIZE) return input;
  const sum = { s0: 0, s1: 0 };
  const bigEndian = input.readUInt32BE(0) === 0x377f0683;
  walChecksum(sum, bigEndian, input, 0, 24);
  input.writeUInt32BE(sum.s0, 24);
  input.writeUInt32BE(sum.s1, 28);
  const header: WalHeader | undefined = parseWalHeader(input);
  if (header === undefined) return input;
  const size = WAL_FRAME_HEADER_SIZE + header.pageSize;
  for (let at = WAL_HEADER_SIZE; at + size <= input.length; at += size) {
    input.copy(input, at + 8, 16, 24);
    walChecksum(sum, bigEndian, input, at, 8);
    walChecksum(sum, bigEndian, input, at + WAL_FRAME_HEADER_SIZE, header.pageSize);
    input.writeUInt32BE(sum.s0, at + 16);
    input.writeUInt32BE(sum.s1, at + 20);
  }
  return input;
}
