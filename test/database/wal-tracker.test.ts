import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WalTracker } from '../../src/database/wal-tracker.js';
import {
  frameCommitSize,
  parseWalHeader,
  parseWalIndexHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
} from '../../src/sqlite/index.js';
import { Random } from './support/random.js';
import { MemoryFile } from './support/recorder.js';

const test = suite('WalTracker');
const folder = mkdtempSync(join(tmpdir(), 'sluice-wal-tracker-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A real database in a plain folder, whose WAL's changes are presented to a tracker as the kernel would. */
class Rig {
  private static count = 0;
  private readonly path = join(folder, `${++Rig.count}.db`);
  readonly db: Sqlite.Database;
  readonly file = new MemoryFile();
  readonly tracker = new WalTracker(this.file.read);
  /** Generation and frames of each commit that the tracker said it saw. */
  readonly commits: string[] = [];
  private seen = Buffer.alloc(0);

  constructor(
    private readonly random: Random,
    pageSize: number,
  ) {
    this.db = new Sqlite(this.path);
    this.db.pragma(`page_size = ${pageSize}`);
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('wal_autocheckpoint = 0');
    this.db.pragma('cache_size = 5');
    this.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, p BLOB)');
    this.present();
  }

  /** What SQLite takes for committed, from its wal-index; undefined while the WAL is to start afresh. */
  committedBySqlite(): number | undefined {
    const index = parseWalIndexHeader(readFileSync(`${this.path}-shm`));
    const header = parseWalHeader(readFileSync(`${this.path}-wal`));
    if (index === undefined || header === undefined) return undefined;
    return index.salt1 === header.salt1 && index.salt2 === header.salt2 ? index.frames : undefined;
  }

  /** Presents what changed in the WAL since the last time. */
  present(): void {
    const now = readFileSync(`${this.path}-wal`);
    if (now.length < this.seen.length) {
      this.file.bytes = Buffer.from(now);
      this.tracker.clear();
      this.seen = Buffer.alloc(0);
    }
    const headerChanged = !now.subarray(0, WAL_HEADER_SIZE).equals(this.seen.subarray(0, WAL_HEADER_SIZE));
    if (now.length > 0 && headerChanged) this.write(now, 0, WAL_HEADER_SIZE);
    const frameSize = WAL_FRAME_HEADER_SIZE + (this.tracker.header?.pageSize ?? now.length);
    const frames = Math.floor((now.length - WAL_HEADER_SIZE) / frameSize);
    const at = (frame: number) => WAL_HEADER_SIZE + frame * frameSize;
    const changed: number[] = [];
    for (let i = 0; i < frames; i++) {
      if (!now.subarray(at(i), at(i + 1)).equals(this.seen.subarray(at(i), at(i + 1)))) changed.push(i);
    }
    const old = changed.filter((frame) => at(frame + 1) <= this.seen.length);
    const commitsLast = changed.length > 0 && frameCommitSize(now, at(changed.at(-1)!)) !== 0;
    if (commitsLast && old.length > 0 && old.length < changed.length && !headerChanged) {
      this.presentRewritten(now, changed, at);
    } else {
      for (const frame of changed) this.write(now, at(frame), at(frame + 1));
    }
    this.seen = now;
  }

  /** SQLite overwrites spilled pages in place, appends frames whose checksums are wrong, then rewrites the frames' headers. */
  private presentRewritten(now: Buffer, changed: number[], at: (frame: number) => number): void {
    const draft = Buffer.from(now);
    for (const frame of changed) {
      for (let i = 16; i < 24; i++) draft[at(frame) + i]! ^= 0x5a;
      if (at(frame + 1) <= this.seen.length) this.write(draft, at(frame) + WAL_FRAME_HEADER_SIZE, at(frame + 1));
    }
    for (const frame of changed) if (at(frame + 1) > this.seen.length) this.write(draft, at(frame), at(frame + 1));
    for (const frame of changed) this.write(now, at(frame), at(frame) + WAL_FRAME_HEADER_SIZE);
  }

  /** As writes that are split where the kernel may split them: anywhere a page of the file ends, header from page. */
  private write(from: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const boundary = (Math.floor(at / 4096) + 1) * 4096;
      const stops = [end, Math.min(end, boundary)];
      if (at === start && end - start > WAL_FRAME_HEADER_SIZE && start >= WAL_HEADER_SIZE) {
        stops.push(start + WAL_FRAME_HEADER_SIZE);
      }
      const stop = start < WAL_HEADER_SIZE ? end : this.random.pick(stops);
      const piece = from.subarray(at, stop);
      // Told before the write what it will be told after it, and none the wiser.
      const tried = this.tracker.tries(at, from, at, stop - at);
      assert.is(this.tracker.tries(at, from, at, stop - at), tried);
      this.file.write(at, piece);
      if (this.tracker.wrote(at, from, at, stop - at)) {
        this.commits.push(`${this.tracker.generation}:${this.tracker.committedFrames}`);
        assert.is(tried, this.tracker.committedFrames);
      } else if (at >= WAL_HEADER_SIZE) assert.is(tried, 0);
      at = stop;
    }
  }

  close(): void {
    this.db.close();
  }
}

function step(db: Sqlite.Database, random: Random): void {
  const insert = (rows: number, bytes: number): void => {
    for (let i = 0; i < rows; i++)
      db.prepare('INSERT INTO t (v, p) VALUES (?, randomblob(?))').run(i, random.below(bytes));
  };
  switch (random.below(8)) {
    case 0:
    case 1:
      insert(1, 900);
      return;
    case 2:
      if (!db.inTransaction) db.exec('BEGIN');
      insert(30, 900);
      return;
    case 3:
      db.prepare('UPDATE t SET v = v + 1, p = randomblob(600) WHERE id % 3 = ?').run(random.below(3));
      return;
    case 4:
      if (db.inTransaction) db.exec(random.chance(0.7) ? 'COMMIT' : 'ROLLBACK');
      return;
    case 5:
      db.exec('SAVEPOINT s');
      insert(20, 900);
      db.exec(random.chance(0.5) ? 'ROLLBACK TO s; RELEASE s' : 'RELEASE s');
      return;
    case 6:
      if (!db.inTransaction) db.pragma(`wal_checkpoint(${random.pick(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])})`);
      return;
    default:
      db.exec('DELETE FROM t WHERE id % 4 = 1');
  }
}

test('recognises the commits that SQLite does, whatever the writes, and no others', () => {
  let compared = 0;
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom(512, 1024, 4096, 8192), (seed, pageSize) => {
      const random = new Random(seed);
      const rig = new Rig(random, pageSize);
      try {
        for (let i = 0; i < 40; i++) {
          step(rig.db, random);
          rig.present();
          const expected = rig.committedBySqlite();
          if (expected === undefined) continue;
          compared++;
          assert.is(rig.tracker.committedFrames, expected, `step ${i}`);
        }
        // A tracker that starts in the middle sees the same.
        const late = new WalTracker(rig.file.read);
        late.load();
        assert.is(late.committedFrames, rig.tracker.committedFrames);
      } finally {
        rig.close();
      }
    }),
    { numRuns: 25 },
  );
  assert.ok(compared > 300);
});

/** A WAL of three commits of one frame each. */
function threeCommits(): { bytes: Buffer; frameSize: number } {
  const path = join(folder, 'three.db');
  rmSync(path, { force: true });
  const db = new Sqlite(path);
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t (a)');
  db.pragma('wal_checkpoint(TRUNCATE)');
  for (let i = 0; i < 3; i++) db.exec(`INSERT INTO t VALUES (${i})`);
  const bytes = readFileSync(`${path}-wal`);
  db.close();
  return { bytes, frameSize: WAL_FRAME_HEADER_SIZE + 4096 };
}

test('stops before a frame that does not belong, and goes on when it does', () => {
  const { bytes, frameSize } = threeCommits();
  for (const offset of [
    WAL_HEADER_SIZE + frameSize + 9,
    WAL_HEADER_SIZE + frameSize + 17,
    WAL_HEADER_SIZE + frameSize + 2000,
  ]) {
    const file = new MemoryFile();
    file.write(0, bytes);
    file.bytes[offset]! ^= 1;
    const tracker = new WalTracker(file.read);
    tracker.load();
    assert.is(tracker.committedFrames, 1, `byte ${offset}`);
    file.write(
      WAL_HEADER_SIZE + frameSize,
      bytes.subarray(WAL_HEADER_SIZE + frameSize, WAL_HEADER_SIZE + 2 * frameSize),
    );
    assert.ok(tracker.wrote(WAL_HEADER_SIZE + frameSize, bytes, WAL_HEADER_SIZE + frameSize, frameSize));
    // What stands behind it already is taken with the next look: SQLite itself ends with the commit frame.
    assert.is(tracker.committedFrames, 2);
    assert.ok(tracker.verify());
    assert.is(tracker.committedFrames, 3);
  }
});

test('takes commits back to the one before a position', () => {
  const { bytes, frameSize } = threeCommits();
  const file = new MemoryFile();
  file.write(0, bytes);
  const tracker = new WalTracker(file.read);
  tracker.load();
  assert.is(tracker.committedFrames, 3);
  assert.is(tracker.overwritesCommitted(WAL_HEADER_SIZE + 3 * frameSize), false);
  assert.is(tracker.overwritesCommitted(WAL_HEADER_SIZE + 3 * frameSize - 1), true);
  assert.is(tracker.framesBefore(WAL_HEADER_SIZE + 2 * frameSize + 24), 2);
  assert.is(tracker.framesBefore(WAL_HEADER_SIZE), 0);
  tracker.takeBack(1);
  assert.is(tracker.committedFrames, 1);
  assert.is(tracker.committedEnd, WAL_HEADER_SIZE + frameSize);
  // The second frame comes again.
  assert.ok(tracker.wrote(tracker.committedEnd, bytes, tracker.committedEnd, frameSize));
  assert.is(tracker.committedFrames, 2);
  tracker.takeBack(0);
  assert.ok(tracker.wrote(WAL_HEADER_SIZE, bytes, WAL_HEADER_SIZE, 3 * frameSize));
  assert.is(tracker.committedFrames, 3);
});

test('a header that is cut or wrong is no WAL', () => {
  const { bytes } = threeCommits();
  const file = new MemoryFile();
  file.write(0, bytes.subarray(0, 31));
  const tracker = new WalTracker(file.read);
  tracker.load();
  assert.is(tracker.header, undefined);
  file.write(0, bytes);
  file.bytes[13]! ^= 1;
  tracker.load();
  assert.is(tracker.header, undefined);
  assert.is(tracker.wrote(WAL_HEADER_SIZE, bytes, WAL_HEADER_SIZE, 100), false);
  assert.is(frameCommitSize(bytes, WAL_HEADER_SIZE) > 0, true);
});

test.run();
