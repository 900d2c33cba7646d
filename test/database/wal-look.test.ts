import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { TrackedDatabase } from '../../src/database/tracked-database.js';
import { type Seen, WalLook } from '../../src/database/wal-look.js';
import { backfillingFrames, parseWalIndexHeader, WAL_INDEX_PREFIX_SIZE } from '../../src/sqlite/index.js';
import { FakeFile } from './support/fake-file.js';
import { writeUnpublishedCommit } from './support/unpublished-commit.js';

const test = suite('WalLook');
const PAGE = 4096;

/** A file that the kernel reads and writes by itself. */
function passedFile(path: string, folder: string): FakeFile {
  const file = new FakeFile(path, folder);
  file.passed = true;
  return file;
}

/** SQLite writes a database; the test looks at its files, as the worker does that is told of nothing. */
class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-wal-look-'));
  readonly path = join(this.folder, 'a.db');
  readonly sqlite: Database.Database;
  readonly database = new TrackedDatabase(0, 'a.db', `${this.path}-wal`);
  readonly looks: WalLook;
  readonly wal: FakeFile;
  readonly shm: FakeFile | undefined;
  exclusive = false;

  constructor(pragmas: readonly string[] = []) {
    this.sqlite = new Database(this.path);
    for (const pragma of pragmas) this.sqlite.pragma(pragma);
    this.sqlite.pragma('journal_mode=WAL');
    this.sqlite.pragma('wal_autocheckpoint=0');
    this.sqlite.exec('CREATE TABLE t(a)');
    this.wal = passedFile('a.db-wal', this.folder);
    this.database.walNode = this.wal;
    if (pragmas.length === 0) this.shm = passedFile('a.db-shm', this.folder);
    this.database.shmNode = this.shm;
    this.looks = new WalLook(() => this.exclusive);
  }

  look(last = false): Seen {
    return this.looks.look(this.database, last);
  }

  insert(n = 1): void {
    for (let i = 0; i < n; i++) this.sqlite.exec("INSERT INTO t VALUES('row')");
  }

  get frames(): number {
    return this.database.wal.committedFrames;
  }

  /** What a writer leaves that dies between its commit frame and the wal-index. */
  unpublished(): void {
    const page = Buffer.alloc(PAGE, 7);
    writeUnpublishedCommit(`${this.path}-wal`, this.frames, 2, page, 2);
  }

  close(): void {
    this.sqlite.close();
    this.wal.close();
    this.shm?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function withRig(name: string, body: (rig: Rig) => void, pragmas: readonly string[] = []): void {
  test(name, () => {
    const rig = new Rig(pragmas);
    try {
      body(rig);
    } finally {
      rig.close();
    }
  });
}

withRig('takes what the wal-index says is committed, and nothing twice', (rig) => {
  assert.equal(rig.look(), { changed: true, more: false, published: undefined, broken: false });
  const { frames } = rig;
  assert.ok(frames > 0);
  assert.not(rig.look().changed);
  rig.insert(3);
  assert.ok(rig.look().changed);
  assert.is(rig.frames, frames + 3);
});

withRig('leaves out a commit that nobody published, and says that there may be one', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.unpublished();
  assert.equal(rig.look(), { changed: false, more: true, published: undefined, broken: false });
  assert.is(rig.frames, frames);
  rig.insert();
  assert.equal(rig.look(), { changed: true, more: false, published: undefined, broken: false });
  assert.is(rig.frames, frames + 1);
});

withRig('where nobody has the wal-index open, a commit frame that verifies counts', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.unpublished();
  rig.shm!.handles = 0;
  assert.ok(rig.look().changed);
  assert.is(rig.frames, frames + 1);
});

withRig('an inherited wal-index is an old one where somebody holds EXCLUSIVE', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.unpublished();
  rig.shm!.handles = 0;
  rig.shm!.writers = 0;
  rig.shm!.inherited = true;
  assert.not(rig.look().changed);
  rig.exclusive = true;
  assert.ok(rig.look().changed);
  assert.is(rig.frames, frames + 1);
});

withRig('before the WAL may go, what stands behind the wal-index counts where somebody holds EXCLUSIVE', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.unpublished();
  rig.exclusive = true;
  assert.not(rig.look().changed);
  assert.ok(rig.look(true).changed);
  assert.is(rig.frames, frames + 1);
});

withRig('so is one that somebody only reads', (rig) => {
  rig.look();
  rig.unpublished();
  rig.shm!.writers = 0;
  assert.not(rig.look().changed);
  rig.exclusive = true;
  assert.ok(rig.look().changed);
});

withRig('and what the wal-index says counts though nothing verifies behind it', (rig) => {
  rig.look();
  // What was spilled and rolled back stands behind the commit.
  rig.sqlite.exec(`PRAGMA cache_size = 5; BEGIN; SAVEPOINT s;
    WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100)
    INSERT INTO t SELECT randomblob(3000) FROM n;
    ROLLBACK TO s; INSERT INTO t VALUES (1); COMMIT`);
  rig.exclusive = true;
  assert.ok(rig.look(true).changed);
  assert.is(rig.frames, parseWalIndexHeader(readFileSync(`${rig.path}-shm`))!.frames);
});

withRig('sees a WAL that began afresh', (rig) => {
  rig.insert(5);
  rig.look();
  const { generation } = rig.database.wal;
  rig.sqlite.pragma('wal_checkpoint(RESTART)');
  // The wal-index is of the next WAL already, the file still of this one.
  rig.look();
  assert.is(rig.database.wal.generation, generation);
  rig.insert();
  assert.ok(rig.look().changed);
  assert.is(rig.frames, 1);
  assert.is(rig.database.wal.generation, generation + 1);
});

withRig('says that fewer frames are published than were taken for committed', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.unpublished();
  rig.database.wal.verify();
  assert.is(rig.frames, frames + 1);
  assert.equal(rig.look(), { changed: false, more: false, published: frames, broken: false });
});

withRig('says that what was taken for committed was overwritten', (rig) => {
  rig.look();
  rig.unpublished();
  rig.database.wal.verify();
  rig.insert();
  assert.ok(rig.look().broken);
  rig.insert();
  assert.ok(rig.look().broken);
});

withRig('says so too when the WAL began afresh instead', (rig) => {
  rig.look();
  rig.unpublished();
  rig.database.wal.verify();
  rig.look();
  rig.sqlite.pragma('wal_checkpoint(RESTART)');
  rig.insert();
  assert.ok(rig.look().broken);
});

withRig('waits for a wal-index that is being written', (rig) => {
  rig.look();
  const { frames } = rig;
  rig.insert();
  const bytes = readFileSync(`${rig.path}-shm`);
  const torn = Buffer.from(bytes);
  torn[16] = torn[16]! + 1;
  writeFileSync(`${rig.path}-shm`, torn, { flag: 'r+' });
  assert.equal(rig.look(), { changed: false, more: true, published: undefined, broken: false });
  assert.is(rig.frames, frames);
  writeFileSync(`${rig.path}-shm`, bytes, { flag: 'r+' });
  assert.ok(rig.look().changed);
  assert.is(rig.frames, frames + 1);
});

withRig(
  'without a wal-index each commit counts, also in a WAL that began afresh',
  (rig) => {
    rig.insert(3);
    assert.ok(rig.look().changed);
    const { frames } = rig;
    rig.insert();
    assert.ok(rig.look().changed);
    assert.is(rig.frames, frames + 1);
    rig.sqlite.pragma('wal_checkpoint(RESTART)');
    rig.insert(2);
    assert.ok(rig.look().changed);
    assert.is(rig.frames, 2);
  },
  ['locking_mode=EXCLUSIVE'],
);

withRig(
  'frames of a transaction that were seen, rolled back, and written again by a shorter one',
  (rig) => {
    rig.sqlite.pragma('cache_size=5');
    rig.insert(3);
    rig.look();
    rig.sqlite.exec('BEGIN; CREATE TABLE u(p)');
    for (let i = 0; i < 100; i++) rig.sqlite.exec('INSERT INTO u VALUES (randomblob(900))');
    assert.not(rig.look().changed);
    rig.sqlite.exec('UPDATE u SET p = randomblob(800)');
    assert.not(rig.look().changed);
    rig.sqlite.exec('ROLLBACK');
    const { frames } = rig;
    rig.insert();
    assert.ok(rig.look().changed);
    assert.is(rig.frames, frames + 1);
    // Spilled frames that are overwritten in place, and their checksums anew.
    rig.sqlite.exec('BEGIN; CREATE TABLE u(p)');
    for (let i = 0; i < 100; i++) rig.sqlite.exec('INSERT INTO u VALUES (randomblob(900))');
    assert.not(rig.look().changed);
    rig.sqlite.exec('UPDATE u SET p = randomblob(800); COMMIT');
    assert.ok(rig.look().changed);
    rig.insert();
    const before = rig.frames;
    assert.ok(rig.look().changed);
    assert.is(rig.frames, before + 1);
  },
  ['locking_mode=EXCLUSIVE'],
);

withRig('knows from the wal-index how far a checkpoint under way may go', (rig) => {
  rig.insert(3);
  rig.look();
  const { frames } = rig;
  const logged = (limit: number) => rig.looks.isLogged(rig.database, (wanted) => wanted <= limit);
  assert.not(logged(frames - 1));
  assert.ok(logged(frames));
  const reader = new Database(rig.path, { readonly: true });
  try {
    // It keeps the WAL from beginning afresh, and the checkpoint from going further.
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM t').get();
    rig.insert(2);
    rig.sqlite.pragma('wal_checkpoint(PASSIVE)');
    // The last one went to where the reader is; the next one may take all.
    assert.not(logged(frames + 1));
    assert.ok(logged(frames + 2));
  } finally {
    reader.close();
  }
});

test('of a checkpoint under way it is the frames that it attempts', () => {
  const prefix = Buffer.alloc(WAL_INDEX_PREFIX_SIZE);
  prefix.writeUInt32LE(7, 96);
  prefix.writeUInt32LE(9, 128);
  assert.is(backfillingFrames(prefix, 20), 9);
  prefix.writeUInt32LE(9, 96);
  assert.is(backfillingFrames(prefix, 20), 20);
});

test.run();
