import { ftruncateSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CaptureWatcher } from '../../src/database/capture-watcher.js';
import { SharedState } from '../../src/database/shared.js';
import { UnloggedMarks } from '../../src/database/unlogged-marks.js';
import type { FromWorker, ToWorker } from '../../src/database/worker-messages.js';
import { DEFER, PROCEED } from '../../src/fuse/index.js';
import { parseWalIndexHeader } from '../../src/sqlite/index.js';
import { FakeFile } from './support/fake-file.js';
import { writeUnpublishedCommit } from './support/unpublished-commit.js';

const test = suite('CaptureWatcher, where the kernel writes the WAL');
const PAGE = 4096;
const EBUSY = 16;

/** SQLite writes behind the watcher's back; the test is main, and asks what it may do with the database file. */
class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-passed-wal-'));
  readonly shared = new SharedState();
  readonly sent: FromWorker[] = [];
  readonly inbox: ToWorker[] = [];
  readonly sqlite: Sqlite.Database;
  readonly watcher: CaptureWatcher;
  readonly main: FakeFile;
  readonly wal: FakeFile;
  readonly shm: FakeFile;

  constructor() {
    this.sqlite = new Sqlite(join(this.folder, 'a.db'));
    this.sqlite.pragma('journal_mode=WAL');
    this.sqlite.pragma('wal_autocheckpoint=0');
    this.sqlite.exec('CREATE TABLE t(a)');
    this.watcher = new CaptureWatcher({
      shared: this.shared,
      backing: this.folder,
      marks: new UnloggedMarks(join(this.folder, 'unlogged')),
      databases: [{ name: 'a.db', slot: 0 }],
      passthrough: true,
      send: (message) => this.sent.push(message),
      receive: () => this.inbox.shift(),
    });
    this.main = this.add('a.db');
    this.wal = this.add('a.db-wal');
    this.shm = this.add('a.db-shm');
    this.log();
  }

  private add(path: string): FakeFile {
    const file = new FakeFile(path, this.folder);
    this.watcher.added(file, false);
    file.passed = this.watcher.mayPass(file);
    return file;
  }

  insert(n = 1): void {
    for (let i = 0; i < n; i++) this.sqlite.exec("INSERT INTO t VALUES('row')");
  }

  get index() {
    return parseWalIndexHeader(readFileSync(join(this.folder, 'a.db-shm')))!;
  }

  /** A checkpoint is about to write a page. */
  checkpoint(): number {
    return this.watcher.mayWrite(this.main, 0, Buffer.alloc(PAGE), 0, PAGE, 1);
  }

  /** A checkpoint that is complete sets the file's size. */
  truncate(): number {
    const bytes = this.index.pageCount * PAGE;
    // Its writes have made the file as long as that.
    ftruncateSync(this.main.fd(), bytes);
    return this.watcher.mayResize(this.main, bytes);
  }

  /** Main logs all that it knows to be committed. */
  log(txid = 1): void {
    const { generation, frames } = this.shared.wal(0);
    const { salt1, salt2, pageCount } = this.index;
    this.shared.setPosition(0, txid, 1n << 63n, pageCount, { walFrames: frames, walSalt1: salt1, walSalt2: salt2 });
    this.shared.publishLogged(0, generation, frames);
  }

  take(kind: FromWorker['kind']): FromWorker[] {
    return this.sent.splice(0).filter((message) => message.kind === kind);
  }

  look(): FromWorker | undefined {
    this.inbox.push({ kind: 'look', slot: 0 });
    this.watcher.woken();
    return this.take('looked')[0];
  }

  pin(pin: number): FromWorker | undefined {
    this.inbox.push({ kind: 'pin', slot: 0, pin, path: join(this.folder, `.pin-${pin}`) });
    this.watcher.woken();
    return this.take('pinned')[0];
  }

  close(): void {
    this.sqlite.close();
    for (const file of [this.main, this.wal, this.shm]) file.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function withRig(name: string, body: (rig: Rig) => void): void {
  test(name, () => {
    const rig = new Rig();
    try {
      body(rig);
    } finally {
      rig.close();
    }
  });
}

withRig('only the WAL and the wal-index are passed on, and main is told which file to watch', (rig) => {
  assert.equal([rig.main.passed, rig.wal.passed, rig.shm.passed], [false, true, true]);
  assert.equal(rig.take('watch-wal'), [{ kind: 'watch-wal', slot: 0, path: join(rig.folder, 'a.db-wal') }]);
  rig.watcher.removed(rig.wal);
  assert.equal(rig.take('watch-wal'), [{ kind: 'watch-wal', slot: 0, path: undefined }]);
});

withRig('a WAL or wal-index that others have open is removed by nobody but who holds EXCLUSIVE', (rig) => {
  let isExclusive = false;
  // By a SQLite that has its lock bytes elsewhere, as its own tests do.
  const byte = 0x10002;
  rig.watcher.serving({ isWriteLocked: (_node, first, last) => isExclusive && first <= byte && byte <= last });
  const refused = (): boolean[] => [rig.wal, rig.shm].map((file) => rig.watcher.mayUnlink(file) === EBUSY);
  assert.equal(refused(), [true, true], 'who outlived an earlier mount closes its own');
  assert.is(rig.watcher.mayRename('other', 'a.db-wal', rig.wal), EBUSY);
  isExclusive = true;
  assert.equal(refused(), [false, false]);
  isExclusive = false;
  rig.wal.writers = 0;
  assert.equal(refused(), [false, true], 'left behind, or only read');
  rig.watcher.removed(rig.main);
  assert.equal(refused(), [false, false], 'of no database any more');
});

withRig('a WAL whose wal-index is not passed on is not either, nor opened without one that could be', (rig) => {
  assert.is(rig.watcher.mustPass(rig.shm), true);
  assert.is(rig.watcher.mustPass(rig.wal), false);
  rig.shm.passed = false;
  assert.is(rig.watcher.mayPass(rig.wal), false);
  rig.shm.handles = 0;
  assert.is(rig.watcher.mayPass(rig.wal), true);
  rig.shm.inherited = true;
  assert.is(rig.watcher.mayPass(rig.wal), false);
  rig.wal.passed = false;
  assert.is(rig.watcher.mustPass(rig.shm), false);
});

withRig('what was seen of a wal-index long ago does not tell that it is in use', (rig) => {
  let asked = 0;
  let isExclusive = false;
  rig.watcher.serving({ isWriteLocked: () => ++asked > 0 && isExclusive });
  rig.look();
  rig.insert();
  // Main took that by itself; then the application is killed, and the handles that it had are closed.
  rig.shm.handles = 0;
  rig.shm.writers = 0;
  rig.shm.inherited = true;
  rig.watcher.released(rig.shm, true);
  rig.look();
  isExclusive = true;
  asked = 0;
  rig.look();
  assert.ok(asked > 0, 'whether somebody holds EXCLUSIVE, and so uses none');
});

withRig('a look tells what was committed, and what the wal-index says', (rig) => {
  const { frames } = rig.index;
  rig.insert(2);
  assert.equal(rig.look(), {
    kind: 'looked',
    slot: 0,
    looked: { frames: 2, more: false, published: frames + 2 },
  });
  assert.is(rig.shared.walFrames(0), frames + 2);
});

withRig('a checkpoint writes nothing that is not logged', (rig) => {
  assert.is(rig.checkpoint(), PROCEED);
  rig.insert();
  assert.is(rig.checkpoint(), DEFER);
  assert.ok(rig.shared.takeWaiting(0), 'main is to wake the worker');
  assert.is(rig.shared.walFrames(0), rig.index.frames);
  rig.log();
  assert.is(rig.checkpoint(), PROCEED);
});

withRig('a checkpoint is not complete before all is logged', (rig) => {
  rig.insert();
  assert.is(rig.truncate(), DEFER);
  rig.log();
  assert.is(rig.truncate(), PROCEED);
});

withRig('what makes the file longer, at the beginning of a checkpoint, is not its end', (rig) => {
  rig.insert();
  assert.is(rig.watcher.mayResize(rig.main, 100 * PAGE), DEFER, 'it may be, where the last pages are in no frame');
  rig.log();
  assert.is(rig.watcher.mayResize(rig.main, 100 * PAGE), PROCEED);
  const pinned = rig.pin(1);
  assert.is(pinned?.kind === 'pinned' && pinned.frames, rig.index.frames);
});

withRig('what others commit while the end of a checkpoint waits makes no cut of it', (rig) => {
  rig.insert();
  assert.is(rig.truncate(), DEFER);
  const size = rig.index.pageCount * PAGE;
  rig.log();
  assert.is(rig.truncate(), PROCEED);
  // Main has logged more pages than the file is to have.
  const { frames, salt1, salt2, pageCount } = rig.index;
  const wal = { walFrames: frames, walSalt1: salt1, walSalt2: salt2 };
  rig.shared.setPosition(0, 2, 1n << 63n, pageCount + 50, wal);
  assert.is(rig.watcher.mayResize(rig.main, size), PROCEED);
  rig.inbox.push({ kind: 'settle', slot: 0 });
  rig.watcher.woken();
  assert.equal(rig.take('changed'), []);
});

withRig('and before main has copied the WAL for who reads it', (rig) => {
  rig.insert();
  rig.look();
  rig.log();
  const pinned = rig.pin(1);
  assert.is(pinned?.kind === 'pinned' && pinned.frames, rig.index.frames);
  assert.is(rig.truncate(), DEFER);
  const [leaving] = rig.take('leaving');
  if (leaving?.kind !== 'leaving') throw new Error('it is not asked');
  assert.is(leaving.compare, 'none');
  rig.shared.settle(0, leaving.sequence);
  assert.is(rig.truncate(), PROCEED);
  // Main had not heard of the pin: the worker has copied it.
  assert.equal(readFileSync(join(rig.folder, '.pin-1-wal')), readFileSync(join(rig.folder, 'a.db-wal')));
});

withRig('what a complete checkpoint has brought to the file is not read in the WAL', (rig) => {
  rig.insert();
  assert.is(rig.truncate(), DEFER);
  rig.log();
  assert.is(rig.truncate(), PROCEED);
  let pinned = rig.pin(1);
  assert.is(pinned?.kind === 'pinned' && pinned.frames, 0);
  // What main logged since, without the worker, is.
  rig.insert();
  const { frames, salt1, salt2, pageCount } = rig.index;
  rig.shared.setPosition(0, 2, 1n << 63n, pageCount, { walFrames: frames, walSalt1: salt1, walSalt2: salt2 });
  rig.shared.publishLogged(0, rig.shared.walGeneration(0), frames);
  pinned = rig.pin(2);
  assert.equal(pinned?.kind === 'pinned' && [pinned.frames, pinned.txid], [frames, 2]);
});

withRig('an unpublished commit that was logged is undone before the WAL may begin afresh', (rig) => {
  const { frames, pageCount } = rig.index;
  writeUnpublishedCommit(join(rig.folder, 'a.db-wal'), frames, 2, Buffer.alloc(PAGE, 7), pageCount);
  // As after a takeover: nobody could tell.
  rig.shm.handles = 0;
  rig.look();
  assert.is(rig.shared.walFrames(0), frames + 1);
  rig.log();
  rig.shm.handles = 1;
  assert.is(rig.truncate(), DEFER);
  const [undo] = rig.take('undo');
  assert.is(undo?.kind === 'undo' && undo.frames, frames);
});

withRig('one that was overwritten has main read all of the database', (rig) => {
  const { frames, pageCount } = rig.index;
  writeUnpublishedCommit(join(rig.folder, 'a.db-wal'), frames, 2, Buffer.alloc(PAGE, 7), pageCount);
  rig.shm.handles = 0;
  rig.look();
  rig.log();
  rig.shm.handles = 1;
  rig.insert();
  rig.inbox.push({ kind: 'look', slot: 0 });
  rig.watcher.woken();
  const [changed] = rig.take('changed');
  assert.is(changed?.kind === 'changed' && changed.pages, undefined);
});

test.run();
