import { mkdirSync, readFileSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { errorCode } from '../../src/errors.js';
import { type Bench, exec, type Ran, requireMounts, run, same, type TestNode, value, withBench } from './bench.js';

requireMounts('readonly');
const test = suite('applications that write on a replica');

const READONLY = 'attempt to write a readonly database';

/** What a program does that not every machine has; undefined where it is missing. */
async function ifThere(program: string, args: readonly string[]): Promise<Ran | undefined> {
  try {
    return await run(program, args, {});
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    console.log(`not tried with ${program}: it is not installed`);
    return undefined;
  }
}

async function pair(bench: Bench): Promise<{ primary: TestNode; replica: TestNode }> {
  const primary = await bench.primary();
  exec(primary.path('wal.db'), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)');
  exec(primary.path('rollback.db'), 'CREATE TABLE t(x); INSERT INTO t VALUES (1)');
  const replica = await bench.replica(primary.url);
  await same(primary, replica, 'wal.db');
  await same(primary, replica, 'rollback.db');
  return { primary, replica };
}

test("SQLite's own read-only error, in each program and journal mode, and nothing changes", async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    for (const name of ['wal.db', 'rollback.db']) {
      const path = replica.path(name);
      const before = replica.position(name);
      const db = new Database(path, { timeout: 1000 });
      assert.is(db.prepare('SELECT x FROM t').pluck().get(), 1);
      for (const sql of ['INSERT INTO t VALUES (2)', 'CREATE TABLE u(x)', 'DROP TABLE t', 'DELETE FROM t', 'VACUUM']) {
        assert.throws(() => db.exec(sql), /attempt to write a readonly database/, `${name}: ${sql}`);
      }
      db.close();

      const shell = await ifThere('sqlite3', [path, 'INSERT INTO t VALUES (2)']);
      assert.is.not(shell?.code, 0);
      assert.match(shell?.stderr ?? READONLY, READONLY);

      const script = [
        'import sqlite3, sys',
        'db = sqlite3.connect(sys.argv[1])',
        'try:',
        '  db.execute("INSERT INTO t VALUES (2)"); db.commit(); print("written")',
        'except sqlite3.OperationalError as error: print(error)',
      ].join('\n');
      const python = await ifThere('python3', ['-c', script, path]);
      assert.match(python?.stdout ?? READONLY, READONLY, python?.stderr);

      assert.is(replica.position(name), before);
      assert.is(value(path, 'SELECT group_concat(x) FROM t'), '1');
      // And the stream goes on.
      exec(primary.path(name), 'INSERT INTO t VALUES (3)');
      await same(primary, replica, name);
      assert.is(value(path, 'SELECT group_concat(x) FROM t'), '1,3');
    }
    assert.equal(await replica.problems(), []);
  });
});

test('files: nothing is made, changed, renamed or removed', async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    const path = replica.path('wal.db');
    const bytes = readFileSync(path);
    const attempts: [string, () => unknown][] = [
      ['make', () => writeFileSync(replica.path('new'), 'x')],
      ['make a database', () => exec(replica.path('new.db'), 'CREATE TABLE t(x)')],
      ['make a folder', () => mkdirSync(replica.path('folder'))],
      ['overwrite', () => writeFileSync(path, 'x')],
      ['truncate', () => truncateSync(path, 0)],
      ['rename', () => renameSync(path, replica.path('other.db'))],
      ['rename over', () => renameSync(path, replica.path('rollback.db'))],
      ['remove', () => unlinkSync(path)],
    ];
    for (const [what, attempt] of attempts) assert.throws(attempt, /EROFS|unable to open database file/, what);
    assert.equal(readFileSync(path), bytes);
    assert.is(replica.position('new.db'), '');
    exec(primary.path('wal.db'), 'INSERT INTO t VALUES (2)');
    await same(primary, replica, 'wal.db');
    assert.is(value(path, 'SELECT count(*) FROM t'), 2);
    assert.is(await replica.stop(), 0);
    assert.is(await primary.stop(), 0);
  });
});

test.run();
