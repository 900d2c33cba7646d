import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { byExactPath } from '../../src/sqlite/index.js';
import { run } from '../e2e/programs.js';

/** better-sqlite3 trims the paths that it is given; ours stay as they are. */
const test = suite('sqlite: exact paths');
const MAKE = `
import os, sqlite3, sys
for path in sys.argv[1:]:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute('create table t (x)')
    db.execute('insert into t values (?)', (os.path.basename(path),))`;
/** Dies in the middle of a transaction, some of which is in the file. */
const DIE = `
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('pragma cache_size = 1')
db.execute('begin')
for row in range(99): db.execute('insert into t values (randomblob(3000))')
os._exit(0)`;

let folder: string;
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-exact-'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('a path that ends in white space opens that file, and its journal is found', async () => {
  const paths = ['a.db', 'a.db ', 'a.db\n'].map((name) => join(folder, name));
  await run('python3', ['-c', MAKE, ...paths]);
  await run('python3', ['-c', DIE, paths[1]!]);
  assert.ok(existsSync(`${paths[1]}-journal`));
  for (const path of paths) {
    const db = byExactPath(path, (exact) => new Sqlite(exact));
    assert.equal(db.prepare('SELECT x FROM t').pluck().all(), [path.slice(folder.length + 1)]);
    db.pragma('journal_mode = wal');
    db.exec('DELETE FROM t');
    assert.ok(existsSync(`${path}-wal`));
    db.close();
  }
  assert.equal(readdirSync(folder).sort(), ['a.db', 'a.db\n', 'a.db ']);
});

test('a file that is not there is not made', () => {
  assert.throws(() => byExactPath(join(folder, 'none '), (exact) => new Sqlite(exact)), /ENOENT/);
  assert.not(existsSync(join(folder, 'none ')));
  assert.not(existsSync(join(folder, 'none')));
});

test.run();
