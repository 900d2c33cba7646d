// Time limit: 10 min
import { existsSync, statSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { txidOf } from '../support/cluster.js';
import { Python } from './support/python.js';
import { fill, type Locks, Trio } from './support/trio.js';

/* Applications that are killed, and what they leave for the next opener, or for the next node. */

const PAGES = 3;

/** `first` says what is in the rows that a killed transaction did not get to change, if it is rolled back. */
function valuesOf(path: string): unknown[] {
  const db = new Sqlite(path, { timeout: 10_000 });
  try {
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    return db.prepare('SELECT DISTINCT v FROM k ORDER BY v').pluck().all();
  } finally {
    db.close();
  }
}

for (const locks of ['kernel', 'sluice'] satisfies Locks[]) {
  const test = suite(`left behind by killed applications, with locks: ${locks}`);
  let trio: Trio;
  test.before(async () => {
    trio = await Trio.start(locks);
  });
  test.after(() => trio.stop());

  /** A database whose rows are all `old`. */
  function makeOld(name: string, mode: string): void {
    const db = trio.open(name);
    db.pragma(`journal_mode = ${mode}`);
    db.exec('CREATE TABLE k (id INTEGER PRIMARY KEY, v TEXT, p BLOB)');
    db.exec(
      "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO k SELECT i, 'old', zeroblob(2000) FROM n",
    );
    db.close();
  }

  /** A program that makes all of them `new` in a transaction that has reached the database file, and is killed in it. */
  async function killInMiddle(name: string, mode: string): Promise<void> {
    const application = new Python(
      `
db.execute('PRAGMA journal_mode = ${mode}'); db.execute('PRAGMA cache_size = ${PAGES}')
db.execute('BEGIN'); db.execute("UPDATE k SET v = 'new'")
print('spilled', flush=True); input()`,
      [trio.path(name)],
    );
    await application.says('spilled');
    await application.kill();
  }

  // Who keeps the locks matters while the mount lives.
  const nexts = ['opener', 'node and then opener', ...(locks === 'kernel' ? ['keeper and node'] : [])];
  for (const next of nexts) {
    test(`a hot journal, played back by the next ${next}`, async () => {
      const modes = ['DELETE', 'TRUNCATE', 'PERSIST'];
      const nameOf = (mode: string): string => `hot-${mode}-${next.replaceAll(' ', '-')}.db`;
      const before = new Map<string, string>();
      for (const mode of modes) {
        makeOld(nameOf(mode), mode);
        before.set(mode, await trio.same(nameOf(mode)));
        await killInMiddle(nameOf(mode), mode);
        assert.ok(statSync(`${trio.primary.backing(nameOf(mode))}-journal`).size > 512, 'a journal is left');
        assert.is(await trio.primary.position(nameOf(mode)), before.get(mode), 'nothing of it is a transaction');
      }
      if (next === 'node and then opener') await trio.primary.killNode();
      if (next === 'keeper and node') {
        await trio.primary.killAll();
        await trio.primary.start();
      }
      for (const mode of modes) {
        assert.equal(valuesOf(trio.path(nameOf(mode))), ['old'], mode);
        assert.is(await trio.same(nameOf(mode)), before.get(mode), 'played back, it is what it was');
        const db = trio.open(nameOf(mode));
        fill(db, 5);
        db.close();
        assert.is(txidOf(await trio.same(nameOf(mode))), txidOf(before.get(mode)!) + 2);
      }
      await trio.proven(...modes.map(nameOf));
    });
  }

  for (const end of nexts) {
    test(`a WAL whose writer was killed in the middle of a transaction, and the next ${end}`, async () => {
      const name = `wal-${end.replaceAll(' ', '-')}.db`;
      makeOld(name, 'WAL');
      const application = new Python(
        `
db.execute('PRAGMA wal_autocheckpoint = 0'); db.execute('PRAGMA cache_size = ${PAGES}')
db.execute("INSERT INTO k VALUES (1000, 'committed', zeroblob(9000))")
db.execute('BEGIN'); db.execute("UPDATE k SET v = 'new'")
print('spilled', flush=True); input()`,
        [trio.path(name)],
      );
      await application.says('spilled');
      await application.kill();
      assert.ok(existsSync(`${trio.primary.backing(name)}-wal`));
      const before = await trio.same(name);
      if (end === 'node and then opener') await trio.primary.killNode();
      if (end === 'keeper and node') {
        await trio.primary.killAll();
        await trio.primary.start();
      }
      assert.is(await trio.same(name), before);
      assert.equal(valuesOf(trio.path(name)), ['committed', 'old']);
      const db = trio.open(name);
      fill(db, 5);
      db.close();
      await trio.proven(name);
      assert.equal(trio.onReplica(name, 'SELECT DISTINCT v FROM k ORDER BY v'), ['committed', 'old']);
    });
  }

  test('a commit whose writer was killed before it closed: who had the database open sees it', async () => {
    for (const mode of ['WAL', 'DELETE', 'TRUNCATE', 'PERSIST', 'MEMORY']) {
      const name = `published-${mode}.db`;
      makeOld(name, mode);
      const open = trio.open(name);
      const values = open.prepare('SELECT DISTINCT v FROM k').pluck();
      assert.equal(values.all(), ['old']);
      const application = new Python(
        `
db.execute('PRAGMA journal_mode = ${mode}')
db.execute("UPDATE k SET v = 'new'")
print('committed', flush=True); input()`,
        [trio.path(name)],
      );
      await application.says('committed');
      await application.kill();
      assert.equal(values.all(), ['new'], mode);
      await trio.same(name);
      assert.equal(trio.onReplica(name, 'SELECT DISTINCT v FROM k'), ['new'], mode);
      open.close();
      await trio.same(name);
    }
  });

  test('a transaction that does the same to an even number of pages has a checksum of its own', async () => {
    const name = 'alike.db';
    makeOld(name, 'WAL');
    const before = await trio.same(name);
    const db = trio.open(name);
    db.exec("UPDATE k SET v = 'new'");
    const after = await trio.same(name);
    assert.is(txidOf(after), txidOf(before) + 1);
    assert.is.not(after.split('/')[1], before.split('/')[1]);
    db.exec("UPDATE k SET v = 'odd' WHERE id IN (1, 3)");
    const last = await trio.same(name);
    assert.is(txidOf(last), txidOf(after) + 1);
    assert.is.not(last.split('/')[1], after.split('/')[1]);
    db.close();
  });

  test('a transaction without a journal whose writer was killed: replicas have what the file has', async () => {
    for (const mode of ['MEMORY', 'OFF']) {
      const name = `killed-${mode}.db`;
      makeOld(name, 'DELETE');
      await trio.same(name);
      await killInMiddle(name, mode);
      await trio.same(name);
      assert.equal(valuesOf(trio.path(name)), ['new', 'old'], 'nothing could bring it back');
      await trio.proven(name);
    }
  });

  test('transactions over several databases: one for each of them, in each mode', async () => {
    const modes = ['DELETE', 'PERSIST', 'TRUNCATE', 'WAL', 'MEMORY'];
    const names = modes.map((mode) => `attached-${mode}.db`);
    for (const [i, mode] of modes.entries()) makeOld(names[i]!, mode);
    const before: number[] = [];
    for (const name of names) before.push(txidOf(await trio.same(name)));
    const db = trio.open(names[0]!);
    for (const [i, name] of names.entries()) if (i > 0) db.prepare('ATTACH ? AS ?').run(trio.path(name), `a${i}`);
    const schemas = ['main', ...names.slice(1).map((_, i) => `a${i + 1}`)];
    for (const [i, mode] of modes.entries()) db.pragma(`${schemas[i]}.journal_mode = ${mode}`);
    for (const end of ['COMMIT', 'ROLLBACK', 'COMMIT']) {
      db.exec(`BEGIN; ${schemas.map((schema) => `UPDATE ${schema}.k SET v = v || 'x';`).join(' ')} ${end}`);
    }
    for (const [i, name] of names.entries()) assert.is(txidOf(await trio.same(name)), before[i]! + 2, name);
    db.close();
    await trio.proven(...names);
    for (const name of names) assert.equal(trio.onReplica(name, 'SELECT DISTINCT v FROM k'), ['oldxx'], name);
    const { databases } = await trio.replica.status();
    assert.equal(
      databases.filter((database) => database.name.includes('-mj')),
      [],
      'no phantom',
    );
  });

  test.run();
}
