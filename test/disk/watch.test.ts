import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kindOf, LABELS } from '../../src/disk/labels.js';
import { appendMark, readTrace } from '../../src/disk/trace.js';
import type { Disk } from '../../src/disk/types.js';
import { watch } from '../../src/disk/watch.js';

const test = suite('disk: a watched folder');
let root: string;
let trace: string;
let faults: string;
let disk: Disk;

test.before.each(() => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-disk-')));
  root = join(folder, 'data');
  trace = join(folder, 'trace');
  faults = join(folder, 'faults');
  mkdirSync(root);
  ({ disk } = watch(root, trace, faults));
});

test.after.each(() => rmSync(join(root, '..'), { recursive: true, force: true }));

const operations = (): string[] => readTrace(trace).map(({ op, label }) => (label === '' ? op : `${op} ${label}`));

test('each change is one record, in order, and a file keeps its identity when it is renamed', () => {
  disk.mkdirSync(join(root, 'files/sub'), { recursive: true });
  const path = join(root, 'files/sub/a.db-wal');
  const fd = disk.openSync(path, 'w+');
  const { ino } = statSync(path);
  disk.writeSync(fd, Buffer.from('xabcx'), 1, 3, 7);
  disk.renameSync(path, join(root, 'files/b.db'));
  disk.fdatasyncSync(fd);
  disk.ftruncateSync(fd, 4);
  disk.closeSync(fd);
  appendMark(trace, 'committed 1');
  disk.linkSync(join(root, 'files/b.db'), join(root, 'files/c.db'));
  disk.rmSync(join(root, 'files'), { recursive: true });
  assert.equal(operations(), [
    'root',
    'mkdir files-folder.mkdir',
    'mkdir files-folder.mkdir',
    'create wal.create',
    'write wal.write',
    'rename wal.rename',
    'sync db.sync',
    'synced db.sync',
    'truncate db.truncate',
    'mark',
    'link db.link',
    'unlink db.unlink',
    'unlink db.unlink',
    'rmdir files-folder.rmdir',
    'rmdir files-folder.rmdir',
  ]);
  const records = readTrace(trace);
  const written = records.find(({ op }) => op === 'write');
  assert.is(written?.op === 'write' && written.file, ino);
  assert.is(written?.op === 'write' && written.at, 7);
  assert.is(written?.content.toString(), 'abc');
  assert.is(records.find(({ op }) => op === 'sync' && 'file')?.op === 'sync', true);
  const [start, end] = records.filter((record) => record.op === 'sync' || record.op === 'synced');
  assert.is(start?.op === 'sync' && start.id, end?.op === 'synced' && end.id);
  assert.is(existsSync(join(root, 'files')), false);
});

test('writes without a position are recorded where they went', () => {
  disk.writeFileSync(join(root, 'node.json'), 'ab');
  disk.mkdirSync(join(root, 'files'));
  const fd = disk.openSync(join(root, 'node.json'), 'a');
  disk.writeFileSync(fd, 'cd');
  disk.closeSync(fd);
  disk.copyFileSync(join(root, 'node.json'), join(root, 'files/x.db'));
  disk.writeFileSync(join(root, 'node.json'), 'z');
  const seen: unknown[] = readTrace(trace).flatMap((each): unknown[] => {
    if (each.op === 'write') return [[each.label, each.at, each.content.toString()]];
    return each.op === 'truncate' ? [each.size] : [];
  });
  assert.equal(seen, [
    ['identity.write', 0, 'ab'],
    ['identity.write', 2, 'cd'],
    ['db.write', 0, 'abcd'],
    0,
    ['identity.write', 0, 'z'],
  ]);
});

test('the promise forms and the callback form are recorded too', async () => {
  disk.mkdirSync(join(root, 'meta/a.db'), { recursive: true });
  const to = join(root, 'meta/a.db/name');
  const from = `${to}.new`;
  await disk.later.writeFile(from, 'text');
  const file = await disk.later.open(from, 'r+');
  await file.writeFile(Buffer.from('T'));
  await file.sync();
  await file.close();
  await disk.later.rename(from, to);
  const fd = disk.openSync(to, 'r');
  await new Promise((resolve) => disk.fdatasync(fd, resolve));
  disk.closeSync(fd);
  await disk.later.rm(to, { force: true });
  await disk.later.rm(to, { force: true });
  assert.equal(
    readTrace(trace).map(({ op }) => op),
    ['root', 'mkdir', 'mkdir', 'create', 'write', 'write', 'sync', 'synced', 'rename', 'sync', 'synced', 'unlink'],
  );
});

test('what is elsewhere is neither recorded nor made to fail', () => {
  const other = join(root, '../other');
  writeFileSync(faults, 'db.write EIO\n');
  disk.writeFileSync(other, 'x');
  assert.equal(operations(), ['root']);
});

test('what SQLite did is recorded as if it had been written whole', () => {
  const { bySqlite } = watch(root, trace, undefined);
  disk.mkdirSync(join(root, 'files'));
  disk.writeFileSync(join(root, 'files/a.db'), 'old');
  disk.writeFileSync(join(root, 'files/a.db-journal'), 'j');
  const before = operations().length;
  bySqlite(join(root, 'files/a.db'), () => {
    writeFileSync(join(root, 'files/a.db'), 'ne');
    rmSync(join(root, 'files/a.db-journal'));
  });
  assert.equal(operations().slice(before), [
    'write db.write',
    'truncate db.truncate',
    'sync db.sync',
    'synced db.sync',
    'unlink journal.unlink',
  ]);
});

test('a fault holds for each call of its label until its file is gone', () => {
  disk.mkdirSync(join(root, 'files'));
  const fd = disk.openSync(join(root, 'files/a.db'), 'w+');
  writeFileSync(faults, 'db.write ENOSPC\nwal.create EMFILE\n');
  for (let i = 0; i < 2; i++) {
    const error = caught(() => disk.writeSync(fd, Buffer.from('x'), 0, 1, 0));
    assert.is(error?.code, 'ENOSPC');
    assert.is(error?.errno, -28);
  }
  assert.is(caught(() => disk.openSync(join(root, 'files/a.db-wal'), 'w'))?.code, 'EMFILE');
  assert.is(existsSync(join(root, 'files/a.db-wal')), false);
  rmSync(faults);
  disk.writeSync(fd, Buffer.from('x'), 0, 1, 0);
  disk.closeSync(fd);
  const thread = 'watch.test';
  const path = join(root, 'files/a.db');
  assert.equal(readFileSync(`${faults}.hits`, 'utf8').trim().split('\n'), [
    `db.write@${thread} ENOSPC ${path}`,
    `db.write@${thread} ENOSPC ${path}`,
    `wal.create@${thread} EMFILE ${path}-wal`,
  ]);
});

test('or for the n-th, or those of one thread', () => {
  disk.mkdirSync(join(root, 'run'));
  const fd = disk.openSync(join(root, 'run/nodes'), 'w');
  writeFileSync(faults, 'nodes.write@another EIO\nnodes.write@watch.test EIO 2\n');
  const write = () => caught(() => disk.writeSync(fd, Buffer.from('x'), 0, 1, 0))?.code;
  assert.equal([write(), write(), write()], [undefined, 'EIO', undefined]);
  disk.closeSync(fd);
});

test('a sync that is skipped is not recorded', () => {
  disk.mkdirSync(join(root, 'files'));
  const fd = disk.openSync(join(root, 'files/a.db-journal'), 'w');
  writeFileSync(faults, 'journal.sync SKIP\n');
  disk.fsyncSync(fd);
  disk.closeSync(fd);
  assert.not(operations().includes('synced journal.sync'));
});

test('a call whose label is not listed is refused', () => {
  disk.mkdirSync(join(root, 'unlogged'));
  const fd = disk.openSync(join(root, 'unlogged/a'), 'a');
  assert.match(caught(() => disk.writeSync(fd, 'x'))?.message ?? '', /label mark\.write .* is not in/);
  disk.closeSync(fd);
});

test('every file of a data folder has a kind', () => {
  const kinds = {
    'files/a.db': 'db',
    'files/sub/a.db-wal': 'wal',
    'files/a.db-shm': 'shm',
    'files/a.db-journal': 'journal',
    'files/a.db-mj0A1B2C3D4': 'super-journal',
    'meta/a.db/state': 'state',
    'meta/a.db/0000000000000001.log': 'log',
    'meta/a.db/name.new': 'name',
    'run/session.json.new': 'session',
    'run/orphans/12': 'orphan',
    'unlogged/a.db': 'mark',
    'spool/pin-1-wal': 'spool',
    'set-aside/x/a.db': 'set-aside',
    'node.json.new': 'identity',
  };
  for (const [path, kind] of Object.entries(kinds)) assert.is(kindOf(path, false), kind, path);
  assert.is(kindOf('files/sub', true), 'files-folder');
  assert.is(kindOf('', true), 'data-folder');
  assert.is(new Set(LABELS).size, LABELS.length);
});

function caught(work: () => unknown): NodeJS.ErrnoException | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

test.run();
