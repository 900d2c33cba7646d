// Time limit: 10 min
import { existsSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { txidOf, waitFor } from '../support/cluster.js';
import { Python } from './support/python.js';
import { fill, type Locks, Trio } from './support/trio.js';

/* Every journal mode, synchronous setting and locking mode: captured while the connection stays open. */

/** Longer than the pause after which the end of a transaction without a journal is looked for. */
const PAUSE_S = 0.7;

for (const locks of ['kernel', 'sluice'] satisfies Locks[]) {
  const test = suite(`journals, with locks: ${locks}`);
  let trio: Trio;
  test.before(async () => {
    trio = await Trio.start(locks);
  });
  test.after(() => trio.stop());

  test('MEMORY and OFF with each synchronous setting: while the connection is open', async () => {
    const names: string[] = [];
    for (const mode of ['MEMORY', 'OFF']) {
      for (const synchronous of ['OFF', 'NORMAL', 'FULL', 'EXTRA']) {
        const name = `${mode}-${synchronous}.db`;
        names.push(name);
        const db = trio.open(name);
        assert.is(db.pragma(`journal_mode = ${mode}`, { simple: true }), mode.toLowerCase());
        db.pragma(`synchronous = ${synchronous}`);
        fill(db, 10);
        const before = txidOf(await trio.same(name));
        for (let i = 0; i < 5; i++) db.prepare('INSERT INTO t (p) VALUES (randomblob(9000))').run();
        const after = txidOf(await trio.same(name));
        // Where SQLite syncs the file at the end of a transaction, each is one here.
        if (synchronous === 'OFF') assert.ok(after > before, name);
        else assert.is(after, before + 5, name);
        db.prepare('DELETE FROM t WHERE id < 12').run();
        await trio.same(name);
        db.close();
      }
    }
    await trio.proven(...names);
  });

  test('EXCLUSIVE: MEMORY and OFF too, each transaction one', async () => {
    const names: string[] = [];
    for (const mode of ['MEMORY', 'OFF', 'DELETE', 'TRUNCATE', 'PERSIST', 'WAL']) {
      const name = `exclusive-${mode}.db`;
      names.push(name);
      const db = trio.open(name);
      db.pragma('locking_mode = EXCLUSIVE');
      assert.is(db.pragma(`journal_mode = ${mode}`, { simple: true }), mode.toLowerCase());
      fill(db, 10);
      const before = txidOf(await trio.same(name));
      for (let i = 0; i < 5; i++) db.prepare('INSERT INTO t (p) VALUES (randomblob(9000))').run();
      assert.is(txidOf(await trio.same(name)), before + 5, name);
      assert.is(existsSync(trio.primary.backing(`${name}-shm`)), false, `${name} has a -shm`);
      if (mode === 'WAL') db.pragma('wal_checkpoint(TRUNCATE)');
      db.pragma('locking_mode = NORMAL');
      fill(db, 3);
      await trio.same(name);
      db.close();
    }
    await trio.proven(...names);
  });

  for (const end of ['COMMIT', 'ROLLBACK']) {
    test(`nothing is taken from the middle of a transaction that pauses (${end})`, async () => {
      const name = `middle-${end}.db`;
      const db = trio.open(name);
      fill(db, 400, 2000);
      db.close();
      const before = await trio.same(name);
      const application = new Python(
        `
db.execute('PRAGMA journal_mode = MEMORY'); db.execute('PRAGMA synchronous = OFF'); db.execute('PRAGMA cache_size = 5')
db.execute('BEGIN'); db.execute('UPDATE t SET p = randomblob(2000)')
print('spilled', flush=True); input()
db.execute('${end}')
print('ended', flush=True); input()
`,
        [trio.path(name)],
      );
      await application.says('spilled');
      await new Promise((resolve) => setTimeout(resolve, PAUSE_S * 1000));
      assert.is(await trio.primary.position(name), before, 'in the middle');
      application.goOn();
      await application.says('ended');
      const after = txidOf(await trio.proven(name));
      assert.is(after, txidOf(before) + (end === 'COMMIT' ? 1 : 0));
      application.goOn();
      await application.done();
      assert.is(txidOf(await trio.same(name)), after);
    });
  }

  test('transactions without a journal or a sync that follow each other without a pause', async () => {
    const name = 'steady.db';
    const application = new Python(
      `
import time
db.execute('PRAGMA journal_mode = OFF'); db.execute('PRAGMA synchronous = OFF')
db.execute('CREATE TABLE t (a, b)'); print('open', flush=True)
end = time.time() + 6
while time.time() < end: db.execute('INSERT INTO t VALUES (1, randomblob(100))')
print('closing', flush=True); input()
`,
      [trio.path(name)],
    );
    await application.says('open');
    let seen = 0;
    let moved = 0;
    await waitFor(
      async () => {
        const position = await trio.primary.position(name);
        const txid = position === undefined ? 0 : txidOf(position);
        if (txid > seen) moved++;
        seen = txid;
        return moved >= 2;
      },
      20_000,
      'two transactions while it writes',
    );
    assert.ok(application.running);
    await application.says('closing');
    await trio.proven(name);
    application.goOn();
    await application.done();
    await trio.same(name);
  });

  if (locks === 'sluice') {
    test.run();
    continue;
  }

  test('WAL with each synchronous setting', async () => {
    const names: string[] = [];
    for (const synchronous of ['OFF', 'NORMAL', 'FULL', 'EXTRA']) {
      const name = `wal-${synchronous}.db`;
      names.push(name);
      const db = trio.open(name);
      db.pragma('journal_mode = WAL');
      db.pragma(`synchronous = ${synchronous}`);
      fill(db, 20);
      db.close();
    }
    await trio.proven(...names);
  });

  test.run();
}
