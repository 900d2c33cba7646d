import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, startPrimary, stopAll, txidOf, waitFor } from '../support/cluster.js';

/* Who commits and then opens `<db>-pos` finds the commit in it: applications send it along, for others to wait for. */

const test = suite('the position file');
test.after(stopAll);

const COMMITS = 150;
const WRITER = fileURLToPath(new URL('./support/steady-writer.js', import.meta.url));

/** What the file says now. */
const positionOf = (node: ClusterNode, name: string): number => txidOf(readFileSync(node.path(`${name}-pos`), 'utf8'));

for (const mount of [{ passthrough: 'on' }, { passthrough: 'off' }, { driver: 'libfuse' }]) {
  test(`is that of a commit that has just returned: ${JSON.stringify(mount)}`, async () => {
    const node = await startPrimary({ mount });
    for (const journal of ['wal', 'delete', 'memory']) {
      const name = `${journal}.db`;
      const db = new Sqlite(node.path(name));
      db.unsafeMode().pragma(`journal_mode = ${journal}`);
      db.exec('CREATE TABLE t (a)');
      const insert = db.prepare('INSERT INTO t VALUES (randomblob(?))');
      // A made-up file may take a second to be there, by the second driver.
      insert.run(10);
      await waitFor(() => existsSync(node.path(`${name}-pos`)));
      let last = positionOf(node, name);
      for (let i = 0; i < COMMITS; i++) {
        insert.run(i % 50 === 49 ? 3_000_000 : 10);
        const position = positionOf(node, name);
        assert.is(position, last + 1, `${journal}, commit ${i}`);
        last = position;
      }
      db.close();
    }
    assert.is(await node.stop(), 0);
  });
}

test('answers while another goes on committing', async () => {
  const node = await startPrimary();
  const db = new Sqlite(node.path('a.db'), { timeout: 10_000 });
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t (a)');
  const writer = fork(WRITER, [node.path('a.db')]);
  await once(writer, 'message');
  let last = 0;
  for (let i = 0; i < 100; i++) {
    db.prepare('INSERT INTO t VALUES (1)').run();
    const position = positionOf(node, 'a.db');
    assert.ok(position > last, `${position} after ${last}`);
    last = position;
  }
  const ended = once(writer, 'exit');
  writer.kill();
  await ended;
  db.close();
  assert.is(await node.stop(), 0);
});

test.run();
