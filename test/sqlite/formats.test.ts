import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  companionOf,
  databasePageCount,
  frameCommitSize,
  frameFollows,
  framePageNumber,
  hasDatabaseMagic,
  hasJournalMagic,
  parseDatabaseHeader,
  parseWalHeader,
  superJournalNote,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WAL_MAGIC_BE,
  walChecksum,
} from '../../src/sqlite/index.js';

const test = suite('SQLite’s formats');
const folder = mkdtempSync(join(tmpdir(), 'sluice-formats-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

function withDatabase<T>(pageSize: number, mode: string, work: (db: Database.Database, path: string) => T): T {
  const path = join(folder, `${++files}.db`);
  const db = new Database(path);
  try {
    db.pragma(`page_size = ${pageSize}`);
    db.pragma(`journal_mode = ${mode}`);
    db.exec('CREATE TABLE t (p); INSERT INTO t VALUES (randomblob(3000))');
    return work(db, path);
  } finally {
    db.close();
  }
}

test('the header of a database file, of every page size and both modes', () => {
  for (let pageSize = 512; pageSize <= 65536; pageSize *= 2) {
    for (const [mode, version] of [
      ['DELETE', 1],
      ['WAL', 2],
    ] as const) {
      withDatabase(pageSize, mode, (db, path) => {
        db.pragma('wal_checkpoint(TRUNCATE)');
        const bytes = readFileSync(path);
        const header = parseDatabaseHeader(bytes)!;
        assert.is(header.pageSize, pageSize);
        assert.equal([header.writeVersion, header.readVersion], [version, version]);
        assert.is(databasePageCount(header, 1), db.pragma('page_count', { simple: true }));
        // An old SQLite wrote it last: the size of the file counts.
        const old = { ...header, versionValidFor: header.changeCounter + 1 };
        assert.is(databasePageCount(old, bytes.length), bytes.length / pageSize);
      });
    }
  }
});

test('what is no database header', () => {
  const bytes = withDatabase(4096, 'DELETE', (_, path) => readFileSync(path));
  assert.is(parseDatabaseHeader(bytes.subarray(0, 99)), undefined);
  assert.is(hasDatabaseMagic(bytes.subarray(0, 15)), false);
  assert.is(hasDatabaseMagic(Buffer.concat([Buffer.alloc(3), bytes]), 3), true);
  for (const size of [0, 2, 256, 511, 1000, 32769]) {
    const wrong = Buffer.from(bytes);
    wrong.writeUInt16BE(size, 16);
    assert.is(parseDatabaseHeader(wrong), undefined, `${size}`);
  }
  const other = Buffer.from(bytes);
  other[15] = 1;
  assert.is(parseDatabaseHeader(other), undefined);
});

test('frames of a real WAL follow one another, and no changed byte goes unseen', () => {
  for (const pageSize of [512, 4096, 65536]) {
    withDatabase(pageSize, 'WAL', (db, path) => {
      const wal = readFileSync(`${path}-wal`);
      const header = parseWalHeader(wal)!;
      assert.is(header.pageSize, pageSize);
      const frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
      const sum = { s0: header.s0, s1: header.s1 };
      let commit = 0;
      for (let at = WAL_HEADER_SIZE; at < wal.length; at += frameSize) {
        const before = { ...sum };
        for (const offset of [0, 3, 4, 8, 15, 16, 23, 24, frameSize - 1]) {
          const wrong = Buffer.from(wal.subarray(at, at + frameSize));
          wrong[offset]! ^= 0x10;
          assert.is(frameFollows(header, sum, wrong, 0), false, `byte ${offset}`);
          assert.equal(sum, before, 'and the checksum stays');
        }
        assert.is(frameFollows(header, sum, wal, at), true);
        assert.ok(framePageNumber(wal, at) > 0);
        commit = frameCommitSize(wal, at) || commit;
      }
      assert.is(commit, db.pragma('page_count', { simple: true }));
    });
  }
});

test('what is no WAL header', () => {
  const wal = withDatabase(4096, 'WAL', (_, path) => readFileSync(`${path}-wal`));
  assert.is(parseWalHeader(wal.subarray(0, 31)), undefined);
  for (let at = 0; at < WAL_HEADER_SIZE; at++) {
    const wrong = Buffer.from(wal.subarray(0, WAL_HEADER_SIZE));
    wrong[at]! ^= 4;
    assert.is(parseWalHeader(wrong), undefined, `byte ${at}`);
  }
  assert.is(parseWalHeader(Buffer.concat([Buffer.alloc(5), wal]), 5)?.pageSize, 4096);
});

test('checksums of both byte orders, aligned or not, in one go or in pieces', () => {
  /** As the file format's documentation has it. */
  const plain = (bytes: Buffer, bigEndian: boolean): [number, number] => {
    let [s0, s1] = [0n, 0n];
    for (let i = 0; i < bytes.length; i += 8) {
      const word = (at: number) => BigInt(bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
      s0 = (s0 + word(i) + s1) & 0xffffffffn;
      s1 = (s1 + word(i + 4) + s0) & 0xffffffffn;
    }
    return [Number(s0), Number(s1)];
  };
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 8, maxLength: 400 }),
      fc.boolean(),
      fc.nat(7),
      fc.nat(),
      (array, bigEndian, shift, cut) => {
        const bytes = Buffer.from(array.subarray(0, array.length & ~7));
        const expected = plain(bytes, bigEndian);
        const place = Buffer.concat([Buffer.alloc(shift), bytes]);
        const sum = { s0: 0, s1: 0 };
        const first = (cut % (bytes.length / 8 + 1)) * 8;
        walChecksum(sum, bigEndian, place, shift, first);
        walChecksum(sum, bigEndian, place, shift + first, bytes.length - first);
        assert.equal([sum.s0, sum.s1], expected);
      },
    ),
  );
});

test('a big-endian WAL header', () => {
  const bytes = Buffer.alloc(WAL_HEADER_SIZE);
  for (const [i, word] of [WAL_MAGIC_BE, 3007000, 1024, 7, 0x11111111, 0x22222222].entries())
    bytes.writeUInt32BE(word, 4 * i);
  const sum = { s0: 0, s1: 0 };
  walChecksum(sum, true, bytes, 0, 24);
  bytes.writeUInt32BE(sum.s0, 24);
  bytes.writeUInt32BE(sum.s1, 28);
  const header = parseWalHeader(bytes);
  assert.equal(header, { bigEndian: true, pageSize: 1024, sequence: 7, salt1: 0x11111111, salt2: 0x22222222, ...sum });
});

test('a journal is hot from its header on, and cold once it is zeroed', () => {
  withDatabase(4096, 'PERSIST', (db, path) => {
    assert.is(hasJournalMagic(readFileSync(`${path}-journal`)), false);
    db.pragma('cache_size = 1');
    db.exec('BEGIN; UPDATE t SET p = randomblob(20000); INSERT INTO t SELECT randomblob(4000) FROM t');
    assert.is(hasJournalMagic(readFileSync(`${path}-journal`)), true);
    db.exec('COMMIT');
    assert.is(hasJournalMagic(readFileSync(`${path}-journal`)), false);
    assert.is(hasJournalMagic(Buffer.alloc(7)), false);
  });
});

test('files beside a database, by their names', () => {
  assert.equal(companionOf('a.db-wal'), { database: 'a.db', kind: 'wal' });
  assert.equal(companionOf('sub/a-shm'), { database: 'sub/a', kind: 'shm' });
  assert.equal(companionOf('a-wal-journal'), { database: 'a-wal', kind: 'journal' });
  for (const path of ['a.db', '-wal', 'sub/-journal', 'a-wal2', 'a-WAL', '', 'wal', 'a.db-wal/x']) {
    assert.is(companionOf(path), undefined, path);
  }
});

/** A journal's end, written out by hand. */
function noteOf(name: string, sum: number, length = Buffer.byteLength(name)): Buffer {
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(length, 0);
  numbers.writeUInt32BE(sum >>> 0, 4);
  const magic = Buffer.from('d9d505f920a163d7', 'hex');
  return Buffer.concat([Buffer.from('records 40000001', 'latin1'), Buffer.from(name), numbers, magic]);
}

test('the super-journal that a journal names at its end', () => {
  const sum = (name: string): number => Buffer.from(name).reduce((total, byte) => total + byte, 0);
  const name = '/mnt/a.db-mj1234569AB';
  assert.equal(superJournalNote(noteOf(name, sum(name))), { name, size: 4 + name.length + 16 });
  // C's char: 0xc3 0xa4 are 195 + 164 without a sign, and 512 less with one.
  const odd = '/mnt/ä-mj1234569AB';
  assert.is(superJournalNote(noteOf(odd, sum(odd)))?.name, odd);
  assert.is(superJournalNote(noteOf(odd, sum(odd) - 512))?.name, odd);
  assert.is(superJournalNote(noteOf(name, sum(name) + 1)), undefined, 'a wrong sum');
  assert.is(superJournalNote(noteOf(name, sum(name), 600)), undefined, 'longer than the journal');
  assert.is(superJournalNote(noteOf('', 0)), undefined, 'no name');
  const cut = noteOf(name, sum(name));
  assert.is(superJournalNote(cut.subarray(0, cut.length - 1)), undefined);
  assert.is(superJournalNote(Buffer.alloc(0)), undefined);
});

test.run();
