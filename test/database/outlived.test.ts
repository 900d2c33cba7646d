import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Outlived } from '../../src/database/outlived.js';
import { SystemCalls } from '../../src/fuse/index.js';

const probe = mkdtempSync(join(tmpdir(), 'sluice-outlived-'));
const isPossible = new Outlived(probe, probe).prepare();
rmSync(probe, { recursive: true });
if (!isPossible) {
  console.log('SKIP applications that outlive their mount: no immutable files where temporary files are');
  process.exit(0);
}

const test = suite('applications that outlive their mount');
const open: Sqlite.Database[] = [];
let root = '';
let files = '';
let wal = '';

test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'sluice-outlived-'));
  files = join(root, 'files');
  mkdirSync(join(files, 'sub'), { recursive: true });
  mkdirSync(join(root, 'run'));
  wal = join(files, 'sub/a.db-wal');
});

test.after.each(() => {
  for (const db of open.splice(0)) db.close();
  rmSync(root, { recursive: true, force: true });
});

function database(...pragmas: string[]): Sqlite.Database {
  const db = new Sqlite(join(files, 'sub/a.db'), { timeout: 0 });
  open.push(db);
  for (const pragma of ['journal_mode = WAL', ...pragmas]) db.pragma(pragma);
  db.exec('CREATE TABLE IF NOT EXISTS t (a)');
  return db;
}

function outlived(calls = SystemCalls.load()): Outlived {
  const made = new Outlived(files, join(root, 'run'), calls);
  assert.is(made.prepare(), true);
  return made;
}

const rows = (db: Sqlite.Database): unknown => db.prepare('SELECT count(*) FROM t').pluck().get();

/** In this process SQLite would go on with the -shm that it has. */
function byAnother(sql: string): string {
  return execFileSync('sqlite3', [join(files, 'sub/a.db'), sql], { encoding: 'utf8', timeout: 10_000 });
}

function fails(work: () => unknown, code: RegExp): void {
  try {
    work();
  } catch (error) {
    assert.match((error as { code: string }).code, code);
    return;
  }
  throw new Error('it went on');
}

/** The flag of immutable files can be set so often. */
class LimitedCalls extends SystemCalls {
  left = 0;
  onCleared: () => void = () => undefined;
  private readonly real = SystemCalls.load()!;

  constructor() {
    super(
      () => -1,
      () => -1,
    );
  }

  override isUnwritten(fd: number): boolean {
    return this.real.isUnwritten(fd);
  }

  override isImmutable(fd: number): boolean {
    return this.real.isImmutable(fd);
  }

  override setImmutable(fd: number, on: boolean): boolean {
    if (this.left-- <= 0) return false;
    const done = this.real.setImmutable(fd, on);
    if (!on) this.onCleared();
    return done;
  }
}

test('can do no more to a database, and its next user has what they had committed', () => {
  const old = database();
  old.exec('INSERT INTO t VALUES (1), (2)');
  old.exec('BEGIN; INSERT INTO t VALUES (3)');
  assert.equal(outlived().cutOff(), ['sub/a.db']);
  fails(() => old.exec('COMMIT'), /^SQLITE_IOERR/);
  if (old.inTransaction) old.exec('ROLLBACK');
  fails(() => rows(old), /^SQLITE_CANTOPEN/);
  fails(() => old.exec('INSERT INTO t VALUES (4)'), /^SQLITE_CANTOPEN/);
  assert.is(byAnother('SELECT count(*) FROM t; INSERT INTO t VALUES (5); SELECT count(*) FROM t'), '2\n3\n');
  assert.is(byAnother('PRAGMA integrity_check'), 'ok\n');
});

test('also without a wal-index', () => {
  const old = database('locking_mode = EXCLUSIVE');
  old.exec('INSERT INTO t VALUES (1)');
  rmSync(join(files, 'sub/a.db-shm'), { force: true });
  assert.equal(outlived().cutOff(), ['sub/a.db']);
  fails(() => old.exec('INSERT INTO t VALUES (2)'), /^SQLITE_IOERR/);
});

test('the -wal keeps its owner and mode; nothing is left behind', () => {
  const old = database();
  old.exec('INSERT INTO t VALUES (1)');
  const before = statSync(wal);
  outlived().cutOff();
  const after = statSync(wal);
  assert.is.not(after.ino, before.ino);
  assert.equal([after.mode, after.uid, after.gid, after.size], [before.mode, before.uid, before.gid, before.size]);
  assert.is(existsSync(join(root, 'run/cut-off')), false);
});

test('where there are none, nothing is touched', () => {
  const old = database();
  const before = statSync(wal).ino;
  assert.equal(new Outlived(files, join(root, 'run')).cutOff(), [], 'the kernel never wrote WALs here');
  assert.is(statSync(wal).ino, before);
  // A WAL that a killed application leaves.
  const content = readFileSync(wal);
  old.close();
  open.pop();
  writeFileSync(wal, content);
  const left = statSync(wal).ino;
  assert.equal(outlived().cutOff(), []);
  assert.is(statSync(wal).ino, left);
});

test('what they write at the last moment is kept', () => {
  const old = database();
  old.exec('INSERT INTO t VALUES (1)');
  const calls = new LimitedCalls();
  calls.left = 10;
  const made = outlived(calls);
  calls.onCleared = () => old.exec('INSERT INTO t VALUES (2)');
  made.cutOff();
  assert.is(byAnother('SELECT count(*) FROM t'), '2\n');
});

test('what a crash in the middle left immutable is so no more', () => {
  const db = database();
  db.exec('INSERT INTO t VALUES (1)');
  const content = readFileSync(wal);
  db.close();
  open.pop();
  writeFileSync(wal, content);
  const fd = openSync(wal, 'r');
  const made = outlived();
  const calls = SystemCalls.load()!;
  assert.ok(calls.setImmutable(fd, true));
  try {
    made.cutOff();
    assert.is(calls.isImmutable(fd), false);
  } finally {
    calls.setImmutable(fd, false);
    closeSync(fd);
  }
});

test('a start that was cut short in the middle does not stop the next one', () => {
  const path = join(root, 'run/cut-off');
  writeFileSync(path, '');
  const fd = openSync(path, 'r');
  const calls = SystemCalls.load()!;
  assert.ok(calls.setImmutable(fd, true));
  try {
    outlived();
  } finally {
    calls.setImmutable(fd, false);
    closeSync(fd);
  }
});

test('where they cannot be cut off the kernel must not write WALs, and no mount begins', () => {
  database();
  const calls = new LimitedCalls();
  assert.is(new Outlived(files, join(root, 'run'), calls).prepare(), false);
  calls.left = 2;
  const made = outlived(calls);
  fails(() => made.cutOff(), /^APPLICATIONS_LEFT$/);
});

test.run();
