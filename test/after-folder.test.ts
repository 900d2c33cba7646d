import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeFolders, takeAfterFolder } from '../src/after-folder.js';

const test = suite('what takes after its folder');

let root: string;
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'sluice-after-'));
});
test.after.each(() => rmSync(root, { recursive: true }));

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);

test('a file has the rights of its folder, but for those to run it; whatever the umask is', () => {
  for (const [folder, file] of [
    [0o755, '644'],
    [0o700, '600'],
    [0o2775, '664'],
  ] as const) {
    chmodSync(root, folder);
    const path = join(root, 'a.db');
    writeFileSync(path, '');
    takeAfterFolder(path);
    assert.is(modeOf(path), file);
  }
});

test('folders that are missing are made like the one above, which stays as it is', () => {
  mkdirSync(join(root, 'a'));
  chmodSync(join(root, 'a'), 0o770);
  makeFolders(join(root, 'a', 'b', 'c'));
  makeFolders(join(root, 'a'));
  assert.equal(
    ['a', 'a/b', 'a/b/c'].map((path) => modeOf(join(root, path))),
    ['770', '770', '770'],
  );
});

test('as root, the owner too', () => {
  if (process.getuid?.() !== 0) return;
  chownSync(root, 1234, 4321);
  const folder = join(root, 'b', 'c');
  makeFolders(folder);
  const path = join(folder, 'a.db');
  writeFileSync(path, '');
  takeAfterFolder(path);
  for (const each of [join(root, 'b'), folder, path]) {
    const { uid, gid } = statSync(each);
    assert.equal([uid, gid], [1234, 4321]);
  }
});

test.run();
