import { mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CommitGate } from '../../src/database/commit-gate.js';
import { CommitState } from '../../src/database/commit-state.js';
import { MainLink } from '../../src/database/main-link.js';
import { SharedState } from '../../src/database/shared.js';
import { TrackedDatabase } from '../../src/database/tracked-database.js';
import type { FromWorker } from '../../src/database/worker-messages.js';
import { DEFER, PROCEED } from '../../src/fuse/index.js';
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../../src/sqlite/index.js';
import { FakeFile } from './support/fake-file.js';

const test = suite('CommitGate');

const EIO = 5;
const SLOT = 1;
const PAGE = 512;
const FRAME = WAL_FRAME_HEADER_SIZE + PAGE;

/** The worker's half of one database whose commits may have to wait: the test is the application, and main. */
class Rig {
  readonly shared: SharedState;
  readonly state: CommitState;
  readonly sent: FromWorker[] = [];
  reserved = true;
  readonly file: FakeFile;
  database: TrackedDatabase;
  gate: CommitGate;
  link: MainLink;

  constructor(
    readonly folder: string,
    readonly wal: Buffer,
  ) {
    this.shared = new SharedState({ slots: 4 });
    this.state = new CommitState({ slots: 4 });
    this.file = new FakeFile('a.db-wal', folder);
    [this.link, this.gate, this.database] = this.begin();
  }

  /** What a new process makes of the files and the memory that main has. */
  restart(): void {
    this.state.setAwaiting(SLOT, 0);
    [this.link, this.gate, this.database] = this.begin();
    this.database.wal.load();
    this.link.beginWal(this.database);
    this.link.publishWal(this.database);
  }

  private begin(): [MainLink, CommitGate, TrackedDatabase] {
    const link = new MainLink(
      this.shared,
      (message) => this.sent.push(message),
      () => undefined,
    );
    const parts = { state: this.state, isAwaited: (name: string) => name === 'a.db' };
    const database = new TrackedDatabase(SLOT, 'a.db', join(this.folder, 'a.db-wal'));
    database.walNode = this.file;
    return [link, new CommitGate(parts, this.shared, link, () => this.reserved), database];
  }

  /** A write to the WAL that is made; what is answered. */
  write(position: number, length: number): number {
    const refused = this.gate.mayWrite(this.database, position, length);
    if (refused !== PROCEED) return refused;
    writeSync(this.file.fd(), this.wal, position, length, position);
    const { wal } = this.database;
    const isBegun = position === 0;
    const isCommit = wal.wrote(position, this.wal, position, length);
    if (isBegun) this.link.beginWal(this.database);
    if (isCommit) this.link.publishWal(this.database);
    return this.answer(position, length);
  }

  answer(position: number, length: number): number {
    return this.gate.mayAnswer(this.database, this.file, position, length);
  }

  /** SQLite's two writes of frame `n`, from 1: what the second is answered. */
  frame(n: number): number {
    const at = frameAt(n);
    assert.is(this.write(at, WAL_FRAME_HEADER_SIZE), PROCEED);
    return this.write(at + WAL_FRAME_HEADER_SIZE, PAGE);
  }

  /** The same once more, when the worker was woken. */
  again(n: number): number {
    return this.answer(frameAt(n) + WAL_FRAME_HEADER_SIZE, PAGE);
  }

  /** Main has logged what is committed, and that is transaction `txid`. */
  log(txid: number): void {
    const { generation, frames } = this.shared.wal(SLOT);
    this.move(txid);
    this.shared.publishLogged(SLOT, generation, frames);
  }

  move(txid: number): void {
    this.shared.setPosition(SLOT, txid, 1n << 63n, 2);
  }

  /** The number of the commit that waits. */
  get awaiting(): number {
    return this.state.awaiting(SLOT);
  }

  /** Frames that are found by who reads the file from its beginning. */
  get framesInFile(): number {
    const reader = new TrackedDatabase(SLOT, 'a.db', join(this.folder, 'a.db-wal'));
    reader.wal.load();
    return reader.wal.committedFrames;
  }

  takeAttention(): number[] {
    const slots: number[] = [];
    for (let slot = this.shared.takeAttention(); slot >= 0; slot = this.shared.takeAttention()) slots.push(slot);
    return slots;
  }

  close(): void {
    this.file.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const frameAt = (n: number): number => WAL_HEADER_SIZE + (n - 1) * FRAME;

/** The WAL of commits of one frame each, but the third, which has several. */
function makeWal(folder: string): Buffer {
  const path = join(folder, 'make.db');
  const db = new Sqlite(path);
  db.pragma(`page_size = ${PAGE}`);
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t (p)');
  db.pragma('wal_checkpoint(TRUNCATE)');
  for (let i = 0; i < 2; i++) db.exec('INSERT INTO t VALUES (1)');
  db.exec('INSERT INTO t VALUES (zeroblob(2000))');
  const bytes = readFileSync(`${path}-wal`);
  db.close();
  return bytes;
}

let rig: Rig;
test.before.each(() => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-gate-'));
  rig = new Rig(folder, makeWal(folder));
});
test.after.each(() => rig.close());

/** The first transaction has begun the WAL, is logged, and nobody waited for it. */
function begun(): void {
  assert.is(rig.write(0, WAL_HEADER_SIZE), PROCEED);
  assert.is(rig.frame(1), DEFER);
  rig.log(1);
  rig.state.setStored(SLOT, 1);
  assert.is(rig.again(1), PROCEED);
}

function refuse(): void {
  rig.state.refuse(SLOT, rig.awaiting);
}

/** What main was asked to take back, which it does. */
function takeBack(): number {
  const message = rig.sent.pop();
  if (message?.kind !== 'undo') throw new Error(`${message?.kind} instead of undo`);
  rig.shared.settle(SLOT, message.sequence);
  return message.frames;
}

test('whether commits may have to wait is asked once for a database', () => {
  assert.ok(rig.gate.isAwaited(rig.database));
  assert.not(rig.gate.isAwaited(new TrackedDatabase(2, 'other.db', '')));
  let asked = 0;
  const isAwaited = () => {
    asked++;
    return true;
  };
  const gate = new CommitGate({ state: rig.state, isAwaited }, rig.shared, rig.link, () => true);
  const database = new TrackedDatabase(2, 'b.db', '');
  assert.ok(gate.isAwaited(database) && gate.isAwaited(database));
  assert.is(asked, 1);
  assert.not(new CommitGate(undefined, rig.shared, rig.link, () => true).isAwaited(database));
});

test('WAL: the answer of a commit waits until it is logged and stored; main is told, and of the end', () => {
  begun();
  rig.takeAttention();
  assert.is(rig.frame(2), DEFER);
  const number = rig.awaiting;
  assert.ok(number > 0 && rig.state.isAwaited);
  assert.equal(rig.takeAttention(), [SLOT]);
  assert.is(rig.framesInFile, 2, 'it is made');
  // What is stored is what was there before.
  assert.is(rig.again(2), DEFER);
  assert.is(rig.awaiting, number, 'one number for one commit');
  rig.log(2);
  assert.is(rig.again(2), DEFER, 'logged, and not stored');
  rig.state.setStored(SLOT, 2);
  assert.is(rig.again(2), PROCEED);
  assert.equal([rig.awaiting, rig.state.isAwaited], [0, false]);
});

test('WAL: stored up to the position is not enough while the commit is not among what is logged', () => {
  begun();
  rig.state.setStored(SLOT, 99);
  assert.is(rig.frame(2), DEFER);
  rig.log(2);
  assert.is(rig.again(2), PROCEED);
});

test('WAL: only the write that completes a commit waits', () => {
  begun();
  rig.log(1);
  rig.state.setStored(SLOT, 2);
  rig.frame(2);
  rig.log(2);
  assert.is(rig.again(2), PROCEED);
  const last = (rig.wal.length - WAL_HEADER_SIZE) / FRAME;
  assert.ok(last > 4, 'the third transaction has several frames');
  for (let n = 3; n < last; n++) assert.is(rig.frame(n), PROCEED, `frame ${n}`);
  assert.is(rig.awaiting, 0);
  assert.is(rig.frame(last), DEFER);
});

test('WAL: while the database is open nothing waits, nor what is let go; what was said of an earlier commit is not', () => {
  begun();
  assert.is(rig.frame(2), DEFER);
  const first = rig.awaiting;
  rig.state.letGo(SLOT, first);
  assert.is(rig.again(2), PROCEED);
  rig.state.refuse(SLOT, first);
  const last = (rig.wal.length - WAL_HEADER_SIZE) / FRAME;
  for (let n = 3; n < last; n++) rig.frame(n);
  assert.is(rig.frame(last), DEFER, 'neither let go nor refused');
  assert.is.not(rig.awaiting, first);
  rig.state.setOpen(SLOT, true);
  assert.is(rig.again(last), PROCEED);
  assert.equal(rig.sent, []);
});

test('WAL: where a capture failed, what is stored says nothing of the commit', () => {
  begun();
  rig.frame(2);
  rig.log(2);
  rig.state.setStored(SLOT, 2);
  rig.state.setLost(SLOT, true);
  assert.is(rig.again(2), DEFER);
  rig.state.setLost(SLOT, false);
  assert.is(rig.again(2), PROCEED);
});

test('WAL: a refused commit is taken back by main, made void in the file, and fails; the next one waits by itself', () => {
  begun();
  rig.frame(2);
  rig.log(2);
  refuse();
  assert.is(rig.again(2), DEFER);
  assert.is(rig.sent.length, 1);
  assert.is(rig.again(2), DEFER, 'presented again while main is at it');
  assert.is(rig.sent.length, 1, 'asked once');
  assert.is(takeBack(), 1);
  rig.move(3);
  assert.is(rig.again(2), EIO);
  assert.equal([rig.awaiting, rig.database.undoing, rig.database.wal.committedFrames], [0, false, 1]);
  assert.is(rig.framesInFile, 1);
  assert.is(rig.shared.walFrames(SLOT), 1);
  // SQLite writes the frame once more.
  assert.is(rig.frame(2), DEFER);
  rig.log(4);
  rig.state.setStored(SLOT, 4);
  assert.is(rig.again(2), PROCEED);
  assert.is(rig.framesInFile, 2);
});

test('WAL: nothing is taken back that is not logged, or while main reads the database', () => {
  begun();
  rig.frame(2);
  refuse();
  assert.is(rig.again(2), DEFER);
  assert.equal(rig.sent, []);
  rig.log(2);
  rig.shared.hold(SLOT, true);
  assert.is(rig.again(2), DEFER);
  assert.equal(rig.sent, []);
  rig.shared.hold(SLOT, false);
  assert.is(rig.again(2), DEFER);
  assert.is(takeBack(), 1);
  assert.is(rig.again(2), EIO);
});

test('WAL: a refused commit of the first frame leaves none', () => {
  rig.write(0, WAL_HEADER_SIZE);
  rig.frame(1);
  rig.log(1);
  refuse();
  rig.again(1);
  assert.is(takeBack(), 0);
  assert.is(rig.again(1), EIO);
  assert.is(rig.framesInFile, 0);
});

test('WAL: what the kernel had split fails once more when SQLite tries the rest, and only that', () => {
  begun();
  rig.frame(2);
  rig.log(2);
  refuse();
  rig.again(2);
  takeBack();
  rig.again(2);
  const at = frameAt(2) + WAL_FRAME_HEADER_SIZE;
  assert.is(rig.gate.mayWrite(rig.database, at, PAGE), EIO);
  assert.is(rig.gate.mayWrite(rig.database, at, PAGE), PROCEED, 'once');
  rig.database.refusedWrite = { position: at, length: PAGE };
  assert.is(rig.gate.mayWrite(rig.database, at, PAGE - 1), PROCEED, 'another write');
  assert.is(rig.gate.mayWrite(rig.database, at, PAGE), PROCEED, 'which ends it');
});

test('WAL: a commit whose frame came in one write, and was refused, may be written again at once', () => {
  begun();
  assert.is(rig.write(frameAt(2), FRAME), DEFER);
  rig.log(2);
  refuse();
  assert.is(rig.answer(frameAt(2), FRAME), DEFER);
  takeBack();
  assert.is(rig.answer(frameAt(2), FRAME), EIO);
  assert.is(rig.framesInFile, 1);
  assert.is(rig.gate.mayWrite(rig.database, frameAt(2), FRAME), PROCEED);
});

test('WAL: a write that an earlier process had made and not answered waits as well', () => {
  begun();
  rig.frame(2);
  rig.restart();
  assert.is(rig.database.wal.committedFrames, 2);
  assert.is(rig.answer(0, WAL_HEADER_SIZE), PROCEED, 'the header is no commit');
  assert.is(rig.again(2), DEFER);
  assert.ok(rig.awaiting > 0);
  rig.log(2);
  assert.is(rig.again(2), DEFER);
  rig.state.setStored(SLOT, 2);
  assert.is(rig.again(2), PROCEED);
});

// --- rollback journals ------------------------------------------------------------------------------------------

/** A transaction of a rollback journal has changed pages, and main has logged it as `txid`. */
function journaled(txid: number): void {
  rig.move(txid - 1);
  rig.database.dirty.add(2);
  rig.gate.settling(rig.database);
  rig.database.clearChanges();
  rig.move(txid);
}

const end = (journal?: FakeFile): number => rig.gate.mayEndJournal(rig.database, journal);

test('journal: its end waits until the transaction is stored', () => {
  rig.state.setStored(SLOT, 4);
  journaled(5);
  assert.is(end(), DEFER);
  assert.ok(rig.awaiting > 0);
  assert.equal(rig.takeAttention(), [SLOT]);
  rig.state.setStored(SLOT, 5);
  assert.is(end(), PROCEED);
  assert.is(rig.awaiting, 0);
});

test('journal: one whose transaction changed nothing, or that is no transaction, waits for nobody', () => {
  assert.is(end(), PROCEED);
  rig.gate.settling(rig.database);
  assert.is(rig.database.journalFrom, undefined, 'no page was written');
  journaled(5);
  rig.move(4);
  assert.is(end(), PROCEED, 'the pages are what they were');
  assert.is(rig.awaiting, 0);
});

test('journal: where it is not known what changed, as after a new start, it waits in any case', () => {
  rig.move(5);
  rig.database.dirtyUnknown = true;
  rig.gate.settling(rig.database);
  rig.database.clearChanges();
  assert.is(rig.database.journalFrom, -1);
  assert.is(end(), DEFER);
  rig.state.setStored(SLOT, 5);
  assert.is(end(), PROCEED);
});

test('journal: a capture that failed is no transaction that changed nothing', () => {
  journaled(5);
  rig.move(4);
  rig.state.setLost(SLOT, true);
  rig.state.setStored(SLOT, 4);
  assert.is(end(), DEFER);
});

test('journal: a refused end fails, and the next is that of its playback, which waits for nobody', () => {
  journaled(5);
  assert.is(end(), DEFER);
  refuse();
  assert.is(end(), EIO);
  assert.equal([rig.awaiting, rig.database.playback], [0, true]);
  assert.is(end(), PROCEED);
  assert.is(rig.awaiting, 0);
});

test('journal: a playback by who has no RESERVED lock, after a crash, waits for nobody; one that waits already goes on', () => {
  journaled(5);
  rig.reserved = false;
  assert.is(end(), PROCEED);
  rig.reserved = true;
  assert.is(end(), DEFER);
  rig.reserved = false;
  assert.is(end(), DEFER, 'its locks may have gone with its process: main decides');
});

test('journal: one of several databases is not refused: with the super-journal all of them are committed', () => {
  const journal = new FakeFile('a.db-journal', rig.folder);
  try {
    writeFileSync(join(rig.folder, 'a.db-journal'), superNote('/data/x-mj1'));
    journaled(5);
    assert.is(end(journal), DEFER);
    refuse();
    assert.is(end(journal), PROCEED);
    assert.equal([rig.awaiting, rig.database.playback], [0, false]);
  } finally {
    journal.close();
  }
});

/** The end of a journal that names a super-journal: lock page, name, its length, the sum of its bytes, the magic. */
function superNote(name: string): Buffer {
  const bytes = Buffer.from(name);
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(bytes.length, 0);
  numbers.writeUInt32BE(
    bytes.reduce((sum, byte) => sum + byte, 0),
    4,
  );
  return Buffer.concat([Buffer.alloc(600), bytes, numbers, Buffer.from('d9d505f920a163d7', 'hex')]);
}

test.run();
