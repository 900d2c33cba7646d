import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DataFolder } from '../../src/database/data-folder.js';
import { scanFolder } from '../../src/database/folder-scan.js';
import { checkName } from '../../src/database/names.js';

const test = suite('names and folders');
let folder: string;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-names-'));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const code = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

test('names that may be a database’s', () => {
  for (const name of [
    'app.db',
    'tenants/7.db',
    'ü/名.sqlite',
    'a b',
    '..a',
    'a..',
    '-wal',
    'sub/-journal',
    'x'.repeat(255),
  ]) {
    assert.is(
      code(() => checkName(name)),
      undefined,
      name,
    );
  }
});

test('names that lead out, are too long, or stand for something else', () => {
  const bad = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/../b',
    'a/./b',
    'a\0b',
    'x'.repeat(256),
    'é'.repeat(128),
  ];
  for (const name of [
    ...bad,
    `${'d/'.repeat(600)}a`,
    'a.db-wal',
    'a-shm',
    'sub/a-journal',
    '.sluice-wake',
    'a/.sluice-x',
  ]) {
    assert.is(
      code(() => checkName(name)),
      'DATABASE_NAME',
      JSON.stringify(name),
    );
  }
});

test('each name has a folder of its own under meta, and is found again by it', () => {
  const data = new DataFolder(folder);
  const nasty = [
    'a/b',
    'a%2Fb',
    'a',
    '.hidden',
    '..',
    'x'.repeat(255),
    `${'x'.repeat(254)}y`,
    `${'d/'.repeat(400)}a`,
    'Ä',
    'con',
  ];
  const folders = nasty.map((name) => data.metaOf(name));
  assert.is(new Set(folders).size, nasty.length);
  for (const path of folders)
    assert.ok(path.startsWith(`${data.meta}/`) && !path.slice(data.meta.length + 1).includes('/'));
  const nameless: string[] = [];
  assert.equal(new Set(data.knownNames((path) => nameless.push(path))), new Set(nasty.filter((name) => name !== '..')));
  assert.equal(nameless, [data.metaOf('..')], 'no name for a database');
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (a, b) => {
      assert.is(data.metaOf(a) === data.metaOf(b), a === b);
    }),
    { numRuns: 60 },
  );
  const again = new DataFolder(folder);
  assert.is(again.nodeId, data.nodeId);
  assert.is(again.metaOf('a/b'), folders[0]);
});

test('a name that a crash lost is read off its folder, or comes back with its database', () => {
  const data = new DataFolder(folder);
  const long = `${'long/'.repeat(40)}a.db`;
  const names = ['a/b.db', 'Ä', 'cut.db', 'none.db', long];
  const file = (name: string): string => join(data.metaOf(name), 'name');
  for (const name of names) data.metaOf(name);
  for (const name of ['a/b.db', 'Ä', long]) truncateSync(file(name), 0);
  writeFileSync(file('cut.db'), 'cut');
  rmSync(file('none.db'));
  writeFileSync(join(data.meta, 'a file'), '');
  mkdirSync(join(data.meta, 'not%a%name'));
  const nameless: string[] = [];
  const known = (): string[] => data.knownNames((path) => nameless.push(path)).sort();
  assert.equal(known(), ['a/b.db', 'cut.db', 'none.db', 'Ä']);
  assert.is(nameless.length, 2);
  for (const name of names) assert.is(readFileSync(file(name), 'utf8'), name);
  assert.equal(known(), [...names].sort());
});

test('an id that never reached the disk is made again', () => {
  const path = join(folder, 'node.json');
  const { nodeId } = new DataFolder(folder);
  writeFileSync(path, '');
  const again = new DataFolder(folder);
  assert.match(again.nodeId, /^[0-9a-f]{16}$/);
  assert.is.not(again.nodeId, nodeId);
  assert.is(new DataFolder(folder).nodeId, again.nodeId);
});

test('a data folder of another format is refused', () => {
  const data = new DataFolder(folder);
  writeFileSync(join(folder, 'node.json'), JSON.stringify({ format: 2, nodeId: data.nodeId }));
  assert.is(
    code(() => new DataFolder(folder)),
    'DATA_FORMAT',
  );
});

test('what is set aside in one moment does not meet', () => {
  const data = new DataFolder(folder);
  const made = [1, 2, 3].map(() => data.newSetAside('diverged'));
  assert.is(new Set(made.map(({ finished }) => finished)).size, 3);
  assert.is(readdirSync(data.setAside).length, 3);
});

test('tells databases from other files, and files that SQLite keeps beside them from both', () => {
  const magic = Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(100)]);
  mkdirSync(join(folder, 'sub/deep'), { recursive: true });
  for (const name of ['a.db', 'sub/deep/b']) writeFileSync(join(folder, name), magic);
  for (const name of ['a.db-wal', 'a.db-journal', 'a.db-shm', '.sluice-orphan'])
    writeFileSync(join(folder, name), magic);
  writeFileSync(join(folder, 'short'), magic.subarray(0, 15));
  writeFileSync(join(folder, 'sub/notes.txt'), 'SQLite format 4');
  symlinkSync('a.db', join(folder, 'link'));
  symlinkSync('nowhere', join(folder, 'dangling'));
  assert.equal(scanFolder(folder), { databases: ['a.db', 'sub/deep/b'], others: ['short', 'sub/notes.txt'] });
  chmodSync(join(folder, 'short'), 0);
  assert.is(readFileSync(join(folder, 'a.db')).length, magic.length);
});

test.run();
