import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { startsLikeDatabase } from '../../src/database/folder-scan.js';
import { LocalFiles } from '../../src/local-files.js';
import { makeDeepFolder } from '../support/deep-folder.js';

const test = suite('local files');
const DATABASE = Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(500)]);

let root: string;
let nowMs: number;
let read: string[];
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'sluice-files-'));
  nowMs = 0;
  read = [];
});
test.after.each(() => rmSync(root, { recursive: true }));

function make(): LocalFiles {
  const isDatabase = (path: string) => {
    read.push(path.slice(root.length + 1));
    return startsLikeDatabase(path);
  };
  return new LocalFiles(root, isDatabase, () => nowMs);
}

test('names what is no database, also in sub-folders, sorted', async () => {
  mkdirSync(join(root, 'sub/deep'), { recursive: true });
  for (const name of ['b.txt', 'a.txt', 'sub/c.txt', 'sub/deep/empty.db', 'app.db-wal', 'sub/.sluice-x']) {
    writeFileSync(join(root, name), 'text');
  }
  writeFileSync(join(root, 'sub/app.db'), DATABASE);
  assert.equal(await make().list(), ['a.txt', 'b.txt', 'sub/c.txt', 'sub/deep/empty.db']);
});

test('links are listed too, and files whose names are not UTF-8', async () => {
  writeFileSync(join(root, 'app.db'), DATABASE);
  symlinkSync('app.db', join(root, 'link'));
  symlinkSync('nowhere', join(root, 'dangling'));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/a`), Buffer.of(0xff)]), DATABASE);
  assert.equal(await make().list(), ['a\ufffd', 'dangling', 'link']);
});

test('files with paths longer than the system takes are nobody’s, and those beside them are listed', async () => {
  const deep = makeDeepFolder(root);
  writeFileSync(join(root, 'a.txt'), '');
  try {
    assert.equal(await make().list(), ['a.txt', deep.near]);
  } finally {
    deep.remove();
  }
});

test('few files are looked for each time, and each is read once while it stays the same', async () => {
  for (let i = 0; i < 10; i++) writeFileSync(join(root, `${i}.txt`), 'text');
  const files = make();
  assert.is((await files.list()).length, 10);
  assert.is(read.length, 10);
  writeFileSync(join(root, 'new.txt'), '');
  assert.is((await files.list()).length, 11);
  assert.equal(read.slice(10), ['new.txt']);
});

test('with many files, the folder is looked at again after a rest', async () => {
  for (let i = 0; i < 501; i++) writeFileSync(join(root, `${i}.txt`), '');
  const files = make();
  assert.is((await files.list()).length, 501);
  writeFileSync(join(root, 'new.txt'), '');
  nowMs += 2_999;
  assert.is((await files.list()).length, 501);
  nowMs += 1;
  assert.is((await files.list()).length, 502);
});

test('a file that becomes a database, or stops to be one, is seen', async () => {
  writeFileSync(join(root, 'a'), Buffer.alloc(DATABASE.length));
  writeFileSync(join(root, 'b'), DATABASE);
  const files = make();
  assert.equal(await files.list(), ['a']);
  writeFileSync(join(root, 'a'), DATABASE);
  renameSync(join(root, 'b'), join(root, 'c'));
  writeFileSync(join(root, 'b'), Buffer.alloc(DATABASE.length));
  assert.equal(await files.list(), ['b']);
  rmSync(join(root, 'b'));
  assert.equal(await files.list(), []);
});

test('who asks while it looks gets the same answer, and the event loop has its turns', async () => {
  for (let i = 0; i < 1000; i++) writeFileSync(join(root, `${i}.txt`), '');
  const files = make();
  let turns = 0;
  const turn = setInterval(() => turns++, 0);
  const immediate = () => {
    turns++;
    if (looking) setImmediate(immediate);
  };
  let looking = true;
  setImmediate(immediate);
  const [first, second] = await Promise.all([files.list(), files.list()]);
  looking = false;
  clearInterval(turn);
  assert.is(first.length, 1000);
  assert.is(second, first);
  assert.is(read.length, 1000);
  assert.ok(turns >= 5, `${turns} turns`);
});

test('a folder that goes away meanwhile is no error', async () => {
  mkdirSync(join(root, 'sub'));
  writeFileSync(join(root, 'a.txt'), '');
  const files = new LocalFiles(root, () => {
    rmSync(join(root, 'sub'), { recursive: true, force: true });
    return false;
  });
  assert.equal(await files.list(), ['a.txt']);
});

test.run();
