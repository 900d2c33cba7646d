import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { letOthersThrough } from '../conformance/unprivileged.js';
import { type ClusterNode, txidOf } from '../support/cluster.js';
import { requireShell } from '../tools.js';
import { fill, type Locks, Trio } from './support/trio.js';

/* Who opens a database, and how: read-only, without locks, as somebody else. */

const NOBODY = 65534;
const LIMIT_MS = 30_000;

/** What the shell says as user nobody: its output, or its error. */
function asNobody(shell: string, database: string, sql: string): string {
  const args = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', shell, '-cmd', '.timeout 10000', database];
  const { stdout, stderr } = spawnSync('setpriv', args, { input: sql, encoding: 'utf8', timeout: LIMIT_MS, cwd: '/' });
  return (stderr || stdout).trim();
}

function factsOf(path: string): string {
  const { mode, uid, gid } = statSync(path);
  return `${(mode & 0o777).toString(8)} ${uid}:${gid}`;
}

for (const locks of ['kernel', 'sluice'] satisfies Locks[]) {
  const test = suite(`access, with locks: ${locks}`);
  let trio: Trio;
  test.before(async () => {
    trio = await Trio.start(locks);
    for (const node of [trio.primary, trio.replica]) letOthersThrough(node.dir);
  });
  test.after(() => trio.stop());

  /** A fresh database with 10 rows, checkpointed and closed. */
  async function make(name: string, mode: string): Promise<string> {
    const db = trio.open(name);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 10);
    db.close();
    return trio.same(name);
  }

  function query(node: ClusterNode, name: string, options: string, sql = 'SELECT count(*) FROM t'): string {
    const { stdout, stderr } = spawnSync('sqlite3', [`file:${node.path(name)}?${options}`, sql], {
      encoding: 'utf8',
      timeout: LIMIT_MS,
    });
    return (stderr || stdout).trim();
  }

  test('read-only and immutable opens read, and change nothing', async () => {
    if (requireShell() === undefined) return;
    for (const mode of ['WAL', 'DELETE']) {
      const name = `read-${mode}.db`;
      const before = await make(name, mode);
      for (const node of [trio.primary, trio.replica]) {
        assert.is(query(node, name, 'mode=ro'), '10');
        assert.match(query(node, name, 'mode=ro', 'DELETE FROM t'), /readonly/);
        if (node === trio.replica && mode === 'WAL') continue; // what it has is in the WAL, which immutable leaves out
        assert.is(query(node, name, 'immutable=1'), '10');
        assert.match(query(node, name, 'immutable=1', 'DELETE FROM t'), /readonly/);
      }
      assert.is(await trio.same(name), before);
    }
  });

  test('nolock=1 writes are captured where SQLite allows them: not in WAL mode, not on a replica', async () => {
    if (requireShell() === undefined) return;
    const before = await make('nolock.db', 'DELETE');
    assert.is(query(trio.primary, 'nolock.db', 'nolock=1', 'DELETE FROM t WHERE id < 4'), '');
    assert.is(txidOf(await trio.proven('nolock.db')), txidOf(before) + 1);
    assert.is(query(trio.replica, 'nolock.db', 'nolock=1'), '7');
    // With locks that Sluice keeps the replica takes writes, but none that nobody has a lock for.
    assert.match(query(trio.replica, 'nolock.db', 'nolock=1', 'DELETE FROM t'), /readonly|unable to open/);
    assert.is(query(trio.replica, 'nolock.db', 'mode=ro'), '7');
    const inWal = await make('nolock-wal.db', 'WAL');
    assert.match(query(trio.primary, 'nolock-wal.db', 'nolock=1'), /unable to open/);
    assert.is(await trio.same('nolock-wal.db'), inWal);
  });

  test('an unprivileged user: what it makes is its own, and what SQLite makes for others too', async () => {
    const shell = requireShell();
    if (shell === undefined) return;
    mkdirSync(trio.path('open'), { mode: 0o777 });
    chmodSync(trio.path('open'), 0o777);
    for (const [mode, companions] of [
      ['WAL', ['-wal', '-shm']],
      ['DELETE', ['-journal']],
      ['MEMORY', []],
    ] as const) {
      const name = `open/${mode}.db`;
      asNobody(shell, trio.path(name), `PRAGMA journal_mode = ${mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, p)`);
      await trio.same(name);
      assert.is(factsOf(trio.path(name)), `644 ${NOBODY}:${NOBODY}`);
      chmodSync(trio.path(name), 0o660);
      const db = new Sqlite(trio.path(name), { timeout: 10_000 });
      db.pragma(`journal_mode = ${mode}`);
      fill(db, 9);
      db.exec("BEGIN; INSERT INTO t (p) VALUES ('y')");
      for (const suffix of companions)
        assert.is(factsOf(trio.path(name + suffix)), `660 ${NOBODY}:${NOBODY}`, name + suffix);
      db.exec('COMMIT');
      assert.is(asNobody(shell, trio.path(name), "INSERT INTO t (p) VALUES ('x'); SELECT count(*) FROM t"), '11');
      db.close();
      await trio.proven(name);
      assert.is(asNobody(shell, trio.replica.path(name), 'SELECT count(*) FROM t'), '11', 'on the replica');
      assert.match(asNobody(shell, trio.replica.path(name), 'DELETE FROM t'), /readonly/);
    }
  });

  test('who may not read or write a database cannot; owner and mode stay over changes and a restart of the node', async () => {
    const shell = requireShell();
    if (shell === undefined) return;
    for (const mode of ['WAL', 'DELETE']) {
      const name = `private-${mode}.db`;
      const before = await make(name, mode);
      chmodSync(trio.path(name), 0o600);
      assert.match(asNobody(shell, trio.path(name), 'SELECT count(*) FROM t'), /unable to open/);
      chmodSync(trio.path(name), 0o644);
      assert.is(await trio.same(name), before);
      chownSync(trio.path(name), 1234, 1235);
      chmodSync(trio.path(name), 0o640);
      const db = trio.open(name);
      db.exec('DELETE FROM t WHERE id < 4');
      db.exec('VACUUM');
      db.close();
      await trio.proven(name);
    }
    await trio.primary.killNode();
    for (const mode of ['WAL', 'DELETE']) assert.is(factsOf(trio.path(`private-${mode}.db`)), '640 1234:1235');
  });

  test.run();
}
