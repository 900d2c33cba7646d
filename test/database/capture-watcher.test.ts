import {
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CaptureWatcher } from '../../src/database/capture-watcher.js';
import { NO_SLOT, SharedState } from '../../src/database/shared.js';
import { UnloggedMarks } from '../../src/database/unlogged-marks.js';
import type { FromWorker, ToWorker } from '../../src/database/worker-messages.js';
import { DEFER, PROCEED } from '../../src/fuse/index.js';
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../../src/sqlite/index.js';
import { FakeFile } from './support/fake-file.js';
import { writeUnpublishedCommit } from './support/unpublished-commit.js';

const test = suite('CaptureWatcher');

const ENOENT = 2;
const EACCES = 13;
const PAGE = 512;
const FRAME = WAL_FRAME_HEADER_SIZE + PAGE;
const JOURNAL = Buffer.from('d9d505f920a163d7ffffffff00000000000000010000020000000200', 'hex');

/** A watcher alone: the test is main. */
class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-watcher-'));
  readonly shared: SharedState;
  readonly sent: FromWorker[] = [];
  readonly inbox: ToWorker[] = [];
  watcher: CaptureWatcher;
  private readonly files: FakeFile[] = [];

  constructor(slots?: number) {
    this.shared = new SharedState(slots === undefined ? undefined : { slots });
    this.watcher = this.make([]);
  }

  make(databases: { name: string; slot: number }[]): CaptureWatcher {
    return new CaptureWatcher({
      shared: this.shared,
      backing: this.folder,
      marks: new UnloggedMarks(join(this.folder, 'unlogged')),
      databases,
      send: (message) => this.sent.push(message),
      receive: () => this.inbox.shift(),
    });
  }

  file(path: string, created = true): FakeFile {
    const file = new FakeFile(path, this.folder);
    this.files.push(file);
    this.watcher.added(file, created);
    return file;
  }

  /** The write if it may happen now; its verdict. */
  write(file: FakeFile, position: number, data: Buffer, pid = 1): number {
    const verdict = this.watcher.mayWrite(file, position, data, 0, data.length, pid);
    if (verdict !== PROCEED) return verdict;
    writeSync(file.fd(), data, 0, data.length, position);
    this.watcher.wrote(file, position, data, 0, data.length, pid);
    return verdict;
  }

  resize(file: FakeFile, size: number): number {
    const verdict = this.watcher.mayResize(file, size);
    if (verdict !== PROCEED) return verdict;
    ftruncateSync(file.fd(), size);
    this.watcher.resized(file, size);
    return verdict;
  }

  unlink(file: FakeFile): number {
    const verdict = this.watcher.mayUnlink(file);
    if (verdict !== PROCEED) return verdict;
    unlinkSync(join(this.folder, file.path));
    this.watcher.removed(file);
    return verdict;
  }

  rename(file: FakeFile, to: string, replaced?: FakeFile): number {
    const verdict = this.watcher.mayRename(file.path, to, replaced);
    if (verdict !== PROCEED) return verdict;
    const from = file.path;
    renameSync(join(this.folder, from), join(this.folder, to));
    if (replaced !== undefined) this.watcher.removed(replaced);
    file.path = to;
    this.watcher.renamed(file, from);
    return verdict;
  }

  /** The messages since the last call, but that main is to look for the end of something; see `takeAll`. */
  take(): FromWorker[] {
    return this.takeAll().filter(({ kind }) => kind !== 'unjournaled');
  }

  takeAll(): FromWorker[] {
    return this.sent.splice(0);
  }

  /** Main asks whether what was written without a journal has ended. */
  askEnd(slot = 0): FromWorker[] {
    this.inbox.push({ kind: 'settle', slot });
    this.watcher.woken();
    return this.takeAll();
  }

  /** Main logs all of the WAL. */
  log(slot: number): void {
    const { generation, frames } = this.shared.wal(slot);
    this.shared.publishLogged(slot, generation, frames);
  }

  /** Main has compared the WAL that is about to go with the database file. */
  compared(all: boolean): void {
    const [message, ...more] = this.take();
    assert.equal(more, []);
    if (message?.kind !== 'leaving') throw new Error(`${message?.kind} instead of leaving`);
    assert.is(message.compare, all ? 'all' : 'last');
    this.shared.settle(message.slot, message.sequence);
  }

  close(): void {
    for (const file of this.files) file.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

let rig: Rig;
test.before.each(() => {
  rig = new Rig();
});
test.after.each(() => rig.close());

/** Page 1 of a database of `pages` pages, and the rest. */
function databaseBytes(pages: number): Buffer {
  const path = join(rig.folder, '.make');
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  const db = new Sqlite(path);
  db.pragma(`page_size = ${PAGE}`);
  db.exec('CREATE TABLE t (p)');
  while ((db.pragma('page_count', { simple: true }) as number) < pages)
    db.exec('INSERT INTO t VALUES (randomblob(400))');
  db.close();
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

/** A tracked rollback database with all of it logged. Slot 0. */
function rollbackDatabase(): { main: FakeFile; bytes: Buffer } {
  const main = rig.file('a.db');
  const bytes = databaseBytes(4);
  rig.write(main, 0, bytes);
  main.writers = 0;
  rig.watcher.released(main, true);
  const [found, changed] = rig.take();
  assert.equal(found, { kind: 'found', slot: 0, name: 'a.db' });
  assert.is(changed?.kind, 'changed');
  settle(changed);
  rig.shared.setPosition(0, 1, 1n << 63n, bytes.length / PAGE);
  main.writers = 1;
  return { main, bytes };
}

function settle(message: FromWorker | undefined): void {
  if (message === undefined || !('sequence' in message)) throw new Error('nothing to settle');
  rig.shared.settle(message.slot, message.sequence);
}

const page = (bytes: Buffer, number: number): Buffer => bytes.subarray((number - 1) * PAGE, number * PAGE);

/** The bytes of a WAL with `commits` transactions. */
function walBytes(commits: number): { main: Buffer; wal: Buffer } {
  const path = join(rig.folder, '.make');
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  const db = new Sqlite(path);
  db.pragma(`page_size = ${PAGE}`);
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t (p)');
  db.pragma('wal_checkpoint(TRUNCATE)');
  for (let i = 0; i < commits; i++) db.exec('INSERT INTO t VALUES (1)');
  const bytes = { main: readFileSync(path), wal: readFileSync(`${path}-wal`) };
  db.close();
  return bytes;
}

/** A tracked WAL database of three commits of one frame each. Slot 0. */
function walDatabase(): { main: FakeFile; wal: FakeFile; bytes: Buffer } {
  const made = walBytes(3);
  const main = rig.file('a.db');
  rig.write(main, 0, made.main);
  main.writers = 0;
  rig.watcher.released(main, true);
  settle(rig.take()[1]);
  const wal = rig.file('a.db-wal');
  for (let at = 0; at < made.wal.length; at += at === 0 ? WAL_HEADER_SIZE : FRAME) {
    assert.is(rig.write(wal, at, made.wal.subarray(at, at === 0 ? WAL_HEADER_SIZE : at + FRAME)), PROCEED);
  }
  assert.is(rig.shared.walFrames(0), 3);
  return { main, wal, bytes: made.wal };
}

for (const mode of ['DELETE', 'TRUNCATE', 'PERSIST'] as const) {
  test(`${mode}: the end of a journal waits until main has the transaction`, () => {
    const { main, bytes } = rollbackDatabase();
    const journal = rig.file('a.db-journal');
    const end = (): number => {
      if (mode === 'DELETE') return rig.unlink(journal);
      return mode === 'TRUNCATE' ? rig.resize(journal, 0) : rig.write(journal, 0, Buffer.alloc(28));
    };
    assert.is(rig.write(journal, 0, JOURNAL), PROCEED);
    for (const number of [3, 2]) assert.is(rig.write(main, (number - 1) * PAGE, page(bytes, number)), PROCEED);
    assert.is(end(), DEFER);
    assert.is(end(), DEFER, 'presented again, nothing has happened');
    const messages = rig.take();
    assert.is(messages.length, 1);
    const [changed] = messages;
    assert.equal(changed?.kind === 'changed' && [...changed.pages!], [2, 3]);
    // Nor may another page be written meanwhile.
    assert.is(rig.write(main, 0, page(bytes, 1)), DEFER);
    settle(changed);
    assert.is(end(), PROCEED);
    // A journal that changes nothing is nothing.
    const again = mode === 'DELETE' ? rig.file('a.db-journal') : journal;
    rig.write(again, 0, JOURNAL);
    assert.is(mode === 'DELETE' ? rig.unlink(again) : end(), PROCEED);
    assert.equal(rig.take(), []);
  });
}

test('a cut of the file after the journal has gone is no change; any other is all of it', () => {
  const { main, bytes } = rollbackDatabase();
  const journal = rig.file('a.db-journal');
  rig.write(journal, 0, JOURNAL);
  rig.write(main, PAGE, page(bytes, 2));
  rig.unlink(journal);
  settle(rig.take()[0]);
  rig.unlink(journal);
  rig.shared.setPosition(0, 2, 1n << 63n, 3);
  assert.is(rig.resize(main, 3 * PAGE), PROCEED);
  main.writers = 0;
  rig.watcher.released(main, true);
  assert.equal(rig.take(), []);
  // As `cp` empties a file before it writes it.
  rig.resize(main, 0);
  rig.write(main, 0, page(bytes, 1));
  rig.watcher.released(main, true);
  const [changed] = rig.take();
  assert.is(changed?.kind === 'changed' && changed.pages, undefined);
});

test('a writer without a journal is taken when the last one closes', () => {
  const { main, bytes } = rollbackDatabase();
  rig.write(main, PAGE, page(bytes, 2));
  main.writers = 1;
  rig.watcher.released(main, true);
  assert.equal(rig.take(), [], 'another writer has it open');
  main.writers = 0;
  rig.watcher.released(main, false);
  assert.equal(rig.take(), [], 'that was a reader');
  rig.watcher.released(main, true);
  assert.is(rig.take()[0]?.kind, 'changed');
});

test('a writer without a journal whose close comes too late is taken at the end', () => {
  const { main, bytes } = rollbackDatabase();
  rig.write(main, PAGE, page(bytes, 2));
  rig.watcher.ended();
  assert.is(rig.take()[0]?.kind, 'changed');
});

/** Main has logged what it was last told of. */
function changedPages(message: FromWorker | undefined): unknown {
  if (message?.kind !== 'changed') throw new Error(`${message?.kind} instead of changed`);
  return message.pages === undefined ? undefined : [...message.pages];
}

test('a writer without a journal that stays: a transaction as soon as nobody holds EXCLUSIVE, once for each', () => {
  const { main, bytes } = rollbackDatabase();
  assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: true }], 'the close has said it');
  let locked = true;
  let asked: unknown;
  rig.watcher.serving({
    isWriteLocked: (node, first, last) => {
      asked = [node.path, first, last];
      return locked;
    },
  });
  for (let n = 0; n < 2; n++) {
    locked = true;
    rig.write(main, PAGE, page(bytes, 2));
    rig.write(main, 2 * PAGE, page(bytes, 3));
    assert.equal(rig.takeAll(), [{ kind: 'unjournaled', slot: 0 }], 'told once');
    assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: false }]);
    assert.equal(asked, ['a.db', 0x40000002, 0x400001ff]);
    locked = false;
    const [changed, ended, ...more] = rig.askEnd();
    assert.equal(changedPages(changed), [2, 3]);
    assert.equal([ended, ...more], [{ kind: 'settled', slot: 0, ended: true }]);
    assert.is(rig.write(main, PAGE, page(bytes, 2)), DEFER, 'until it is logged');
    settle(changed);
    assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: true }], 'nothing to take any more');
  }
});

test('a writer without a journal whose locks cannot be seen is taken when it syncs or closes, not before', () => {
  const { main, bytes } = rollbackDatabase();
  rig.watcher.serving({ isWriteLocked: () => false });
  rig.write(main, PAGE, page(bytes, 2), 0);
  rig.takeAll();
  assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: false }]);
  rig.watcher.alsoSync(main);
  const [changed] = rig.takeAll();
  assert.equal(changedPages(changed), [2]);
  settle(changed);
  rig.write(main, PAGE, page(bytes, 2));
  rig.takeAll();
  assert.is(rig.askEnd()[0]?.kind, 'changed', 'the next one may be seen');
});

test('a sync is the end of a transaction only where no journal and no WAL says it', () => {
  const { main, bytes } = rollbackDatabase();
  const journal = rig.file('a.db-journal');
  rig.write(journal, 0, JOURNAL);
  rig.write(main, PAGE, page(bytes, 2));
  rig.watcher.alsoSync(main);
  assert.equal(rig.takeAll(), []);
  assert.is(rig.unlink(journal), DEFER);
  const [changed] = rig.takeAll();
  settle(changed);
  assert.is(rig.unlink(journal), PROCEED);
  rig.watcher.alsoSync(main);
  assert.equal(rig.takeAll(), [], 'nothing has changed since');
});

test('a copy that is under way is no transaction, though it is synced, or pauses, without a lock', () => {
  rig.watcher.serving({ isWriteLocked: () => false });
  const bytes = databaseBytes(8);
  const main = rig.file('copied.db');
  rig.write(main, 0, bytes.subarray(0, 4 * PAGE));
  rig.takeAll();
  rig.watcher.alsoSync(main);
  assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: false }]);
  rig.write(main, 4 * PAGE, bytes.subarray(4 * PAGE));
  const [changed, ended] = rig.askEnd();
  assert.is(changedPages(changed), undefined);
  assert.equal(ended, { kind: 'settled', slot: 0, ended: true });
});

test('before the mount answers, and of a database that is gone, nothing is taken', () => {
  const { main, bytes } = rollbackDatabase();
  rig.write(main, PAGE, page(bytes, 2));
  rig.takeAll();
  assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: false }]);
  assert.equal(rig.askEnd(7), [{ kind: 'settled', slot: 7, ended: true }]);
});

test('a WAL may start afresh, be cut or removed only when all of it is logged', () => {
  const { wal, bytes } = walDatabase();
  const header = Buffer.from(bytes.subarray(0, WAL_HEADER_SIZE));
  assert.is(rig.write(wal, 0, header), DEFER);
  assert.is(rig.resize(wal, 0), DEFER);
  assert.is(rig.resize(wal, WAL_HEADER_SIZE + FRAME), DEFER);
  assert.is(rig.unlink(wal), DEFER);
  const { generation } = rig.shared.wal(0);
  rig.shared.publishLogged(0, generation, 2);
  assert.is(rig.unlink(wal), DEFER, 'two of three');
  rig.log(0);
  assert.is(rig.write(wal, 0, header), DEFER, 'the database file may not have its last commit');
  assert.is(rig.write(wal, 0, header), DEFER);
  rig.compared(false);
  assert.is(rig.write(wal, 0, header), PROCEED);
  assert.equal(rig.shared.wal(0), { generation: generation + 1, frames: 0 });
  // The frames behind are another WAL's now, whatever their salts.
  assert.is(rig.write(wal, WAL_HEADER_SIZE, bytes.subarray(WAL_HEADER_SIZE, WAL_HEADER_SIZE + FRAME)), PROCEED);
  assert.is(rig.shared.walFrames(0), 1);
  assert.is(rig.resize(wal, 0), DEFER);
  rig.log(0);
  assert.is(rig.resize(wal, 0), DEFER);
  rig.compared(true);
  assert.is(rig.resize(wal, 0), PROCEED);
  assert.is(rig.unlink(wal), PROCEED);
  assert.equal(rig.take(), []);
});

test('writes that are presented again are what the file has, and pass', () => {
  const { wal, bytes } = walDatabase();
  const last = WAL_HEADER_SIZE + 2 * FRAME;
  assert.is(rig.write(wal, last, bytes.subarray(last)), PROCEED);
  assert.is(rig.write(wal, last + WAL_FRAME_HEADER_SIZE, bytes.subarray(last + WAL_FRAME_HEADER_SIZE)), PROCEED);
  assert.is(rig.shared.walFrames(0), 3);
  assert.equal(rig.take(), []);
});

test('commits that were never published are taken back before they are overwritten', () => {
  const { wal, bytes } = walDatabase();
  writeUnpublishedCommit(join(rig.folder, 'a.db-wal'), 3, 2, Buffer.alloc(PAGE, 9), 2);
  const dead = readFileSync(join(rig.folder, 'a.db-wal')).subarray(bytes.length);
  rig.watcher.wrote(wal, bytes.length, dead, 0, dead.length, 1);
  assert.is(rig.shared.walFrames(0), 4);
  writeUnpublishedCommit(join(rig.folder, 'a.db-wal'), 3, 2, Buffer.alloc(PAGE, 7), 2);
  const next = Buffer.from(readFileSync(join(rig.folder, 'a.db-wal')).subarray(bytes.length));
  // The file is as the dead writer left it.
  writeSync(wal.fd(), dead, 0, dead.length, bytes.length);
  const write = (): number => rig.write(wal, bytes.length, next);
  assert.is(write(), DEFER, 'it is not logged yet');
  rig.log(0);
  assert.is(write(), DEFER, 'it is not undone yet');
  const [undo] = rig.take();
  assert.equal(undo, {
    kind: 'undo',
    slot: 0,
    sequence: (undo as { sequence: number }).sequence,
    generation: rig.shared.wal(0).generation,
    frames: 3,
  });
  assert.is(write(), DEFER);
  assert.equal(rig.take(), []);
  settle(undo);
  assert.is(write(), PROCEED);
  assert.is(rig.shared.walFrames(0), 4);
  assert.is(rig.shared.isLogged(0, rig.shared.wal(0).generation, 4), true, 'main has published less by itself');
});

test('checkpoints are no transactions, and wait while main reads all of the file', () => {
  const { main } = walDatabase();
  const bytes = readFileSync(join(rig.folder, 'a.db'));
  assert.is(rig.write(main, PAGE, bytes.subarray(PAGE, 2 * PAGE)), PROCEED);
  const writes = rig.shared.fileWrites(0);
  rig.shared.hold(0, true);
  assert.is(rig.write(main, PAGE, bytes.subarray(PAGE, 2 * PAGE)), DEFER);
  assert.is(rig.resize(main, PAGE), DEFER);
  assert.is(rig.shared.takeWaiting(0), true);
  assert.is(rig.shared.fileWrites(0), writes);
  rig.shared.hold(0, false);
  assert.is(rig.write(main, PAGE, bytes.subarray(PAGE, 2 * PAGE)), PROCEED);
  assert.is(rig.shared.fileWrites(0), writes + 1);
  main.writers = 0;
  rig.watcher.released(main, true);
  assert.equal(rig.take(), []);
});

test('a file that is no database is nobody, until it is one', () => {
  const file = rig.file('notes.txt');
  rig.write(file, 0, Buffer.from('not a database'));
  file.writers = 0;
  rig.watcher.released(file, true);
  assert.equal(rig.take(), []);
  const bytes = databaseBytes(2);
  for (let at = 0; at < bytes.length; at += 64) rig.write(file, at, bytes.subarray(at, at + 64));
  assert.equal(rig.take(), []);
  rig.watcher.released(file, true);
  assert.equal(
    rig.take().map(({ kind }) => kind),
    ['found', 'changed'],
  );
});

test('removed and made again: the drop first, then the new one, in order', () => {
  const { main, bytes } = rollbackDatabase();
  assert.ok(rig.watcher.virtual('a.db-pos') !== undefined);
  assert.is(rig.unlink(main), PROCEED);
  assert.is(rig.watcher.virtual('a.db-pos'), undefined, 'at once');
  const [dropped] = rig.take();
  assert.is(dropped?.kind, 'dropped');
  const again = rig.file('a.db');
  assert.is(rig.write(again, 0, bytes), DEFER, 'until main has taken note');
  settle(dropped);
  assert.is(rig.write(again, 0, bytes), PROCEED);
  again.writers = 0;
  rig.watcher.released(again, true);
  assert.equal(
    rig.take().map(({ kind }) => kind),
    ['found', 'changed'],
  );
});

for (const again of [false, true]) {
  test(`a file copied ${again ? 'over a dropped one’s name' : 'to a new name'} after its WAL is taken whole when it is there`, () => {
    if (again) {
      rig.unlink(rollbackDatabase().main);
      settle(rig.take()[0]);
    }
    const made = walBytes(2);
    const wal = rig.file('a.db-wal');
    rig.write(wal, 0, made.wal);
    const main = rig.file('a.db');
    const marks = new UnloggedMarks(join(rig.folder, 'unlogged'));
    for (let at = 0; at < made.main.length; at += PAGE) {
      assert.is(rig.write(main, at, made.main.subarray(at, at + PAGE)), PROCEED);
      assert.is(marks.has('a.db'), true, 'the WAL does not tell of it');
    }
    main.writers = 0;
    rig.watcher.released(main, true);
    const [found, changed, ...more] = rig.take();
    assert.is(found?.kind, 'found');
    if (changed?.kind !== 'changed') throw new Error('nothing to log');
    assert.is(changed.pages, undefined);
    assert.is(changed.marked, true);
    assert.equal(more, []);
  });
}

test('renamed away, to, and over another', () => {
  const { main, bytes } = rollbackDatabase();
  const other = rig.file('incoming');
  rig.write(other, 0, bytes);
  other.writers = 0;
  rig.watcher.released(other, true);
  const [found, changed] = rig.take();
  assert.is(found?.kind, 'found');
  settle(changed);
  assert.is(rig.rename(other, 'a.db', main), PROCEED);
  assert.equal(
    rig.take().map((message) => [message.kind, (message as { slot: number }).slot]),
    [
      ['dropped', 0],
      ['dropped', 1],
      ['found', 0],
      ['changed', 0],
    ],
  );
  assert.is(rig.rename(other, 'sub.db'), PROCEED);
  assert.equal(
    rig.take().map((message) => [message.kind, (message as { slot: number }).slot]),
    [
      ['dropped', 0],
      ['found', 2],
      ['changed', 2],
    ],
  );
});

test('a slot is another database’s when its own is gone, main says so, and nothing of it is left', () => {
  rig.close();
  rig = new Rig(2);
  const { main, wal } = walDatabase();
  const made = walBytes(3);
  const found = (): unknown[] => rig.take().map((message) => [message.kind, (message as { slot: number }).slot]);
  rig.write(rig.file('b.db'), 0, made.main);
  assert.equal(found(), [['found', 1]]);
  const third = rig.file('c.db');
  rig.write(third, 0, made.main);
  rig.write(third, 0, made.main);
  assert.equal(found(), [['found', NO_SLOT]], 'main hears of it once');

  rig.log(0);
  rig.unlink(main);
  const [dropped] = rig.take();
  assert.is(dropped?.kind, 'dropped');
  rig.write(third, 0, made.main);
  assert.equal(rig.take(), [], 'main is not done with it');
  settle(dropped);
  rig.write(third, 0, made.main);
  assert.equal(rig.take(), [], 'a file beside it still is');
  assert.is(rig.unlink(wal), DEFER);
  rig.compared(true);
  assert.is(rig.unlink(wal), PROCEED);
  rig.write(third, 0, made.main);
  assert.equal(found(), [['found', 0]]);

  // What main had published of the old one's WAL says nothing of the new one's.
  const newWal = rig.file('c.db-wal');
  rig.write(newWal, 0, made.wal.subarray(0, WAL_HEADER_SIZE));
  rig.write(newWal, WAL_HEADER_SIZE, made.wal.subarray(WAL_HEADER_SIZE));
  assert.is(rig.shared.walFrames(0), 3);
  assert.is(rig.shared.isLogged(0, rig.shared.walGeneration(0), 3), false);

  // The old name comes back: it is a new database, for which there is no slot now.
  rig.write(rig.file('a.db'), 0, made.main);
  assert.equal(found(), [['found', NO_SLOT]]);
});

test('a WAL that comes under its name before its database does is taken with it', () => {
  const made = walBytes(2);
  const wal = rig.file('x');
  rig.write(wal, 0, made.wal);
  const main = rig.file('y');
  rig.write(main, 0, made.main);
  rig.take();
  rig.rename(wal, 'b.db-wal');
  rig.rename(main, 'b.db');
  const found = rig.take().find((message) => message.kind === 'found');
  assert.is(found?.kind === 'found' && found.name, 'b.db');
  const slot = (found as { slot: number }).slot;
  assert.is(rig.shared.walFrames(slot), 2);
  // And what is written to it from now on.
  writeUnpublishedCommit(join(rig.folder, 'b.db-wal'), 2, 2, Buffer.alloc(PAGE, 9), 2);
  const frame = readFileSync(join(rig.folder, 'b.db-wal')).subarray(made.wal.length);
  rig.write(wal, made.wal.length, Buffer.from(frame));
  assert.is(rig.shared.walFrames(slot), 3);
});

test('a pin is granted between transactions, when all is logged, and saves what is overwritten after that', () => {
  const { main, wal } = walDatabase();
  rig.shared.setPosition(0, 4, 5n, 2);
  const path = join(rig.folder, '.pin');
  rig.inbox.push({ kind: 'pin', slot: 0, pin: 7, path });
  rig.watcher.woken();
  assert.equal(rig.take(), [], 'not all is logged');
  const frame = Buffer.alloc(WAL_FRAME_HEADER_SIZE);
  assert.is(rig.write(wal, WAL_HEADER_SIZE + 3 * FRAME, frame), DEFER, 'the next writer waits for it');
  rig.log(0);
  rig.watcher.woken();
  const [pinned] = rig.take();
  assert.is(pinned?.kind, 'pinned');
  if (pinned?.kind !== 'pinned') return;
  assert.equal(
    [pinned.pin, pinned.frames, pinned.txid, pinned.checksum, pinned.pageSize, pinned.pageCount],
    [7, 3, 4, 5n, PAGE, 2],
  );
  const before = readFileSync(join(rig.folder, 'a.db'));
  rig.write(main, PAGE, Buffer.alloc(PAGE, 3));
  rig.write(main, PAGE, Buffer.alloc(PAGE, 4));
  assert.equal(readFileSync(path), Buffer.concat([Buffer.from([0, 0, 0, 2]), before.subarray(PAGE, 2 * PAGE)]));
  const walBefore = readFileSync(join(rig.folder, 'a.db-wal'));
  rig.resize(wal, 0);
  rig.compared(true);
  assert.is(rig.resize(wal, 0), PROCEED);
  assert.equal(readFileSync(`${path}-wal`), walBefore);
  rig.inbox.push({ kind: 'unpin', slot: 0, pin: 7 });
  rig.watcher.woken();
  rig.write(main, 0, Buffer.alloc(PAGE, 4));
  assert.is(readFileSync(path).length, 4 + PAGE);
  rig.inbox.push({ kind: 'pin', slot: 99, pin: 8, path });
  rig.watcher.woken();
  assert.is(rig.take()[0]?.kind, 'pin-failed');
});

test('a watcher that starts on files in use knows their WALs and journals', () => {
  const made = walBytes(3);
  writeFileSync(join(rig.folder, 'w.db'), made.main);
  writeFileSync(join(rig.folder, 'w.db-wal'), made.wal);
  writeFileSync(join(rig.folder, 'r.db'), databaseBytes(3));
  writeFileSync(join(rig.folder, 'r.db-journal'), JOURNAL);
  rig.watcher = rig.make([
    { name: 'w.db', slot: 0 },
    { name: 'r.db', slot: 1 },
  ]);
  assert.is(rig.shared.walFrames(0), 3);
  const main = rig.file('r.db', false);
  const journal = rig.file('r.db-journal', false);
  main.writers = 0;
  rig.watcher.released(main, true);
  assert.equal(rig.take(), [], 'its transaction is under way');
  assert.is(rig.unlink(journal), DEFER);
  const [changed] = rig.take();
  assert.is(changed?.kind === 'changed' && changed.pages, undefined, 'what it wrote before is not known');
});

test('a file without a name is no database, whatever its last user writes', () => {
  const main = rig.file('gone.db');
  rig.watcher.removed(main);
  main.orphan = true;
  const other = rig.file('gone.db');
  assert.is(rig.write(main, 0, databaseBytes(1)), PROCEED);
  assert.equal(rig.take(), []);
  rig.write(other, 0, databaseBytes(1));
  assert.is(rig.take()[0]?.kind, 'found');
});

test('what is written without a journal or a WAL leaves a mark until it is logged', () => {
  const marks = new UnloggedMarks(join(rig.folder, 'unlogged'));
  writeFileSync(join(rig.folder, 'a.db'), databaseBytes(3));
  rig.watcher = rig.make([{ name: 'a.db', slot: 0 }]);
  const main = rig.file('a.db', false);
  const journal = rig.file('a.db-journal');
  rig.write(journal, 0, JOURNAL);
  rig.write(main, PAGE, Buffer.alloc(PAGE, 1));
  assert.is(marks.has('a.db'), false, 'the journal tells of it');
  assert.is(rig.unlink(journal), DEFER);
  const [logged] = rig.take();
  if (logged?.kind !== 'changed') throw new Error('nothing to log');
  assert.is(logged.marked, false);
  rig.shared.settle(0, logged.sequence);
  assert.is(rig.unlink(journal), PROCEED);
  rig.watcher.removed(journal);
  rig.write(main, PAGE, Buffer.alloc(PAGE, 2));
  assert.is(marks.has('a.db'), true);
  assert.equal(rig.takeAll(), [{ kind: 'unjournaled', slot: 0 }]);
  // The process dies; the next one does not know which pages were written before it.
  rig.watcher = rig.make([{ name: 'a.db', slot: 0 }]);
  assert.equal(rig.takeAll(), [{ kind: 'unjournaled', slot: 0 }], 'and whether it is the end of a transaction');
  assert.equal(rig.askEnd(), [{ kind: 'settled', slot: 0, ended: false }], 'before locks are seen');
  rig.watcher.serving({ isWriteLocked: () => false });
  const [changed] = rig.askEnd();
  if (changed?.kind !== 'changed') throw new Error('nothing to log');
  assert.is(changed.pages, undefined);
  assert.is(changed.marked, true);
});

test('a file takes the place of a database only when that is marked', () => {
  writeFileSync(join(rig.folder, 'a.db'), databaseBytes(3));
  writeFileSync(join(rig.folder, 'new'), databaseBytes(4));
  rig.watcher = rig.make([{ name: 'a.db', slot: 0 }]);
  const [old, other, plain] = [rig.file('a.db', false), rig.file('new', false), rig.file('plain')];
  const unlogged = join(rig.folder, 'unlogged');
  rmSync(unlogged, { recursive: true });
  assert.is(rig.rename(other, 'a.db', old), ENOENT, 'there is no room for a mark');
  assert.is(rig.rename(other, 'plain', plain), PROCEED, 'nothing is known of that one');
  const marks = new UnloggedMarks(unlogged);
  assert.is(rig.rename(other, 'a.db', old), PROCEED);
  assert.is(marks.has('a.db'), true);
});

test('the name of a database becomes free only when that is marked, whether it or its folder goes', () => {
  mkdirSync(join(rig.folder, 'sub'));
  for (const name of ['a.db', 'b.db', 'sub/c.db']) writeFileSync(join(rig.folder, name), databaseBytes(3));
  const names = ['a.db', 'b.db', 'sub/c.db'].map((name, slot) => ({ name, slot }));
  rig.watcher = rig.make(names);
  const [a, b] = names.map(({ name }) => rig.file(name, false)) as [FakeFile, FakeFile, FakeFile];
  const unlogged = join(rig.folder, 'unlogged');
  rmSync(unlogged, { recursive: true });
  assert.is(rig.unlink(a), ENOENT, 'there is no room for a mark');
  assert.is(rig.watcher.mayRename('sub', 'moved', undefined), ENOENT);
  const marks = new UnloggedMarks(unlogged);
  assert.is(rig.unlink(a), PROCEED);
  assert.is(rig.rename(b, 'away', undefined), PROCEED);
  assert.is(rig.watcher.mayRename('sub', 'moved', undefined), PROCEED);
  for (const { name } of names) assert.is(marks.has(name), true, name);
});

test('a checkpoint cuts the file to the last commit; what cuts it further is not one', () => {
  const { main } = walDatabase();
  rig.shared.setPosition(0, 4, 5n, 2);
  assert.is(rig.resize(main, PAGE), DEFER, 'a commit that is not logged may have made it smaller');
  rig.log(0);
  assert.is(rig.resize(main, 2 * PAGE), PROCEED);
  main.writers = 0;
  rig.watcher.released(main, true);
  assert.equal(rig.take(), []);
  assert.is(rig.resize(main, PAGE), PROCEED);
  rig.watcher.released(main, true);
  const [changed] = rig.take();
  assert.is(changed?.kind === 'changed' && changed.pages, undefined);
});

test('what a restore is making is no database, and can be seen; under its own name it is one', () => {
  const name = 'sub/.sluice-restore-0a1b2c3d.tmp';
  mkdirSync(join(rig.folder, 'sub'));
  for (const suffix of ['', '-wal', '-shm']) {
    assert.is(rig.watcher.mayCreate(name + suffix), PROCEED);
    assert.not.ok(rig.watcher.hidden(name.slice(4) + suffix));
  }
  const bytes = databaseBytes(2);
  const file = rig.file(name);
  rig.write(file, 0, bytes);
  file.writers = 0;
  rig.watcher.released(file, true);
  rig.unlink(rig.file(`${name}-wal`));
  assert.equal(rig.take(), []);
  assert.is(rig.rename(file, 'sub/new.db'), PROCEED);
  assert.equal(
    rig.take().map((message) => (message.kind === 'found' ? message.name : message.kind)),
    ['sub/new.db', 'changed'],
  );
});

test('names that are not an application’s', () => {
  for (const path of [
    '.primary',
    '.lag',
    '.sluice-x',
    'sub/.sluice-x',
    '.sluice-restore-x.tmp',
    '.sluice-restore-0a1b2c3d.tmp/x/.sluice-a',
  ]) {
    assert.is(rig.watcher.mayCreate(path), EACCES, path);
    assert.is(rig.watcher.mayRename('a', path, undefined), EACCES, path);
  }
  assert.is(rig.watcher.mayCreate('sub/.primary'), PROCEED);
  assert.is(rig.watcher.virtual('.primary'), undefined);
  rig.inbox.push({ kind: 'primary', address: 'ws://here' });
  assert.is(rig.watcher.virtual('.primary')?.toString(), 'ws://here\n');
  const { main } = rollbackDatabase();
  assert.is(rig.watcher.virtual('a.db-pos')?.toString(), '0000000000000001/8000000000000000\n');
  rig.unlink(main);
  rig.shared.setPosition(0, 1, 1n << 63n, 0);
  assert.is(rig.watcher.virtual('a.db-pos'), undefined);
  assert.is(rig.watcher.virtual('b.db-pos'), undefined);
});

test.run();
