import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import {
  backfilledFrames,
  encodeWalIndexHeader,
  framePageNumber,
  parseWalHeader,
  parseWalIndexHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WAL_INDEX_BLOCK_SIZE,
  WAL_INDEX_HEADER_SIZE,
  WAL_INDEX_PREFIX_SIZE,
  WalIndexBlock,
  walIndexBlockOf,
} from '../../src/sqlite/index.js';

/** The -wal of `commits` transactions of about `rows` pages each, and the -shm that SQLite has for it. */
function makeWal(pageSize: number, commits: number, rows: number): { wal: Buffer; shm: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-wal-index-'));
  try {
    const path = join(folder, 'a.db');
    const db = new Database(path);
    db.pragma(`page_size=${pageSize}`);
    db.pragma('journal_mode=wal');
    db.pragma('wal_autocheckpoint=0');
    db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, pad)');
    const insert = db.prepare('INSERT INTO t(pad) VALUES (zeroblob(?))');
    for (let i = 0; i < commits; i++) {
      db.transaction(() => {
        for (let row = 0; row < rows; row++) insert.run(pageSize - 100);
      })();
    }
    copyFileSync(path, `${path}2`);
    copyFileSync(`${path}-wal`, `${path}2-wal`);
    db.close();
    // A copy without its -shm: SQLite builds the wal-index afresh from the WAL.
    const copy = new Database(`${path}2`);
    copy.pragma('schema_version');
    const result = { wal: readFileSync(`${path}2-wal`), shm: readFileSync(`${path}2-shm`) };
    copy.close();
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function pageNumbers(wal: Buffer, pageSize: number, frames: number): number[] {
  const frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
  return Array.from({ length: frames }, (_, i) => framePageNumber(wal, WAL_HEADER_SIZE + i * frameSize));
}

/** Adds the frames to `shm` in groups, as an applier does, growing it where needed. */
function addFrames(shm: Buffer, pgnos: readonly number[], groups: readonly number[]): Buffer {
  const block = new WalIndexBlock();
  let bytes = shm;
  let frame = 1;
  let group = 0;
  while (frame <= pgnos.length) {
    const end = Math.min(pgnos.length, frame + groups[group++ % groups.length]! - 1);
    while (frame <= end) {
      const number = walIndexBlockOf(frame);
      const offset = number * WAL_INDEX_BLOCK_SIZE;
      block.bytes.fill(0);
      bytes.copy(block.bytes, 0, offset);
      block.load(number, frame);
      for (; frame <= Math.min(end, block.lastFrame); frame++) block.add(pgnos[frame - 1]!);
      block.changes((from, to) => {
        if (bytes.length < offset + to) bytes = Buffer.concat([bytes], offset + WAL_INDEX_BLOCK_SIZE);
        block.bytes.copy(bytes, offset + from, from, to);
      });
    }
  }
  return bytes;
}

for (const [pageSize, commits, rows] of [
  [512, 1, 1],
  [512, 30, 300],
  [1024, 200, 70],
  [4096, 50, 20],
  [65536, 5, 3],
] as const) {
  test(`${commits} transactions of ${rows} rows, page size ${pageSize}: the same bytes as SQLite's`, () => {
    const { wal, shm } = makeWal(pageSize, commits, rows);
    const header = parseWalIndexHeader(shm)!;
    const pgnos = pageNumbers(wal, pageSize, header.frames);
    const garbage = Buffer.alloc(WAL_INDEX_BLOCK_SIZE, 0x5a);
    for (const groups of [[1], [1, 2, 3, 500], [10_000], [4061, 1, 1]]) {
      const mine = addFrames(garbage, pgnos, groups);
      assert.is(mine.length, shm.length);
      assert.ok(mine.subarray(WAL_INDEX_PREFIX_SIZE).equals(shm.subarray(WAL_INDEX_PREFIX_SIZE)), `groups ${groups}`);
      assert.ok(mine.subarray(0, WAL_INDEX_PREFIX_SIZE).equals(garbage.subarray(0, WAL_INDEX_PREFIX_SIZE)));
    }
  });
}

test('the header is what SQLite wrote, field by field', () => {
  for (const pageSize of [512, 4096, 32768, 65536]) {
    const { wal, shm } = makeWal(pageSize, 3, 2);
    const header = parseWalIndexHeader(shm)!;
    const walHeader = parseWalHeader(wal)!;
    const frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
    const last = WAL_HEADER_SIZE + (header.frames - 1) * frameSize;
    assert.is(header.frames, (wal.length - WAL_HEADER_SIZE) / frameSize);
    assert.is(header.pageCount, wal.readUInt32BE(last + 4));
    assert.is(header.pageSize, pageSize);
    assert.equal([header.salt1, header.salt2], [walHeader.salt1, walHeader.salt2]);
    assert.equal([header.s0, header.s1], [wal.readUInt32BE(last + 16), wal.readUInt32BE(last + 20)]);
    assert.is(header.bigEndian, walHeader.bigEndian);
    assert.is(header.initialised, true);
    assert.is(backfilledFrames(shm), 0);
    const again = Buffer.alloc(WAL_INDEX_HEADER_SIZE, 0xff);
    encodeWalIndexHeader(header, again);
    assert.ok(again.equals(shm.subarray(0, WAL_INDEX_HEADER_SIZE)));
  }
});

test('a header whose copies differ, or with a wrong checksum, is none', () => {
  const { shm } = makeWal(512, 1, 1);
  for (let i = 0; i < 2 * WAL_INDEX_HEADER_SIZE; i++) {
    const bad = Buffer.from(shm);
    bad[i]! ^= 4;
    assert.is(parseWalIndexHeader(bad), undefined, `byte ${i}`);
  }
  const both = Buffer.from(shm);
  both[16]! ^= 4;
  both[16 + WAL_INDEX_HEADER_SIZE]! ^= 4;
  assert.is(parseWalIndexHeader(both), undefined);
});

test('blocks hold 4062 frames, then 4096', () => {
  assert.equal([1, 4062, 4063, 8158, 8159, 12254, 12255].map(walIndexBlockOf), [0, 0, 1, 1, 2, 2, 3]);
});

test('what a writer that died left behind is gone with the next transaction, and never found', () => {
  const page = fc.integer({ min: 1, max: 0xffffffff });
  fc.assert(
    fc.property(
      fc.array(page, { minLength: 1, maxLength: 3000 }),
      fc.array(page, { minLength: 1, maxLength: 1000 }),
      fc.array(page, { minLength: 1, maxLength: 50 }),
      (committed, lost, next) => {
        const clean = addFrames(Buffer.alloc(0), [...committed, ...next], [committed.length, next.length]);
        const died = addFrames(Buffer.alloc(0), [...committed, ...lost], [committed.length, lost.length]);
        const block = new WalIndexBlock();
        died.copy(block.bytes);
        block.load(0, committed.length + 1);
        for (const pgno of next) block.add(pgno);
        block.changes((from, to) => block.bytes.copy(died, from, from, to));
        assert.ok(died.subarray(WAL_INDEX_PREFIX_SIZE).equals(clean.subarray(WAL_INDEX_PREFIX_SIZE)));
        const all = [...committed, ...next];
        for (const pgno of [...next, lost[0]!]) assert.is(block.find(pgno, all.length), all.lastIndexOf(pgno) + 1);
        for (const pgno of next) {
          assert.is(block.find(pgno, committed.length), committed.lastIndexOf(pgno) + 1);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('a hash table without a free slot, which any process may write, is refused and does not hang', () => {
  const block = new WalIndexBlock();
  for (const [frame, used] of [
    [2, 8192],
    [4062, 8192],
    [5, 300],
  ] as const) {
    block.bytes.fill(0);
    // Slots of places before the frame, more than there are frames, so that SQLite too would find it damaged.
    for (let slot = 0; slot < used; slot++) block.bytes.writeUInt16LE(1, 16384 + 2 * ((slot + 383) % 8192));
    block.load(0, frame);
    assert.throws(
      () => block.add(1),
      (error: unknown) => error instanceof SluiceError && error.code === 'WAL_INDEX',
    );
  }
  block.bytes.fill(0xff);
  block.load(0, 5000);
  assert.is(block.find(7, 0xffff_ffff), 0);
});

test.run();
