import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, startPrimary, startReplica, stopAll, waitFor, waitUntilSame } from '../support/cluster.js';

/** A commit returns when other machines have it; what is done when they do not is degrade or refuse. */

const test = suite('durability of commits');
test.after(stopAll);

function make(node: ClusterNode, name: string, mode: string): Sqlite.Database {
  const db = new Sqlite(node.path(name), { timeout: 10_000 });
  db.pragma(`journal_mode = ${mode}`);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, writer, n, filler)');
  return db;
}

for (const mode of ['wal', 'delete']) {
  test(`${mode}: when a commit has returned, the replica has it`, async () => {
    const primary = await startPrimary({ durability: { replicas: 1, onTimeout: 'refuse', timeout: '20s' } });
    const replica = await startReplica(primary);
    const t0 = performance.now();
    const db = make(primary, 'a.db', mode);
    console.log('make', performance.now() - t0);
    const ins = db.prepare('INSERT INTO t (n) VALUES (?)');
    const times: number[] = [];
    for (let n = 0; n < 300; n++) {
      const a = performance.now();
      ins.run(n);
      times.push(performance.now() - a);
    }
    times.sort((a, b) => a - b);
    console.log(mode, 'p50', times[150], 'p99', times[297]);
    const r = new Sqlite(replica.path('a.db'), { readonly: true });
    assert.is(r.prepare('SELECT count(*) FROM t').pluck().get(), 300);
    r.close();
    db.close();
    await waitUntilSame(primary, replica, 'a.db');
    const status = (await primary.status()).databases[0];
    console.log(JSON.stringify(status?.durability));
  });
}
void waitFor;
test.run();
