// Time limit: 15 min
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BreakableProxy } from '../replication/breakable-proxy.js';
import { type ClusterNode, startPrimary, startReplica, stopAll, waitFor, waitUntilSame } from '../support/cluster.js';

/** Applications write on a replica, and the worst happens meanwhile. */

const test = suite('faults of writes on a replica');
test.after(stopAll);

const CLIENT = fileURLToPath(new URL('./write-client.js', import.meta.url));
const COUNTERS = fileURLToPath(new URL('./counting-writer.js', import.meta.url));
const ANSWER_LIMIT_MS = 40_000;
/** Short, so that the tests are. */
const WRITES = { commit: '3s', hold: '3s', silence: '1s' };
/** Longer than a commit or a grant takes, and shorter than any limit. */
const MOMENT_MS = 300;

/** An application on a mount, which does one thing after the other. */
class Client {
  readonly #process: ChildProcess;
  #answer: Promise<string>;

  private constructor(path: string, timeoutMs: number) {
    this.#process = fork(CLIENT, [path, String(timeoutMs)], { cwd: '/' });
    this.#process.setMaxListeners(0);
    this.#answer = this.#next();
  }

  static async open(node: ClusterNode, name: string, timeoutMs = 10_000): Promise<Client> {
    const client = new Client(node.path(name), timeoutMs);
    assert.is(await client.#answer, 'READY');
    return client;
  }

  /** Resolves with `OK`, what a SELECT found, or SQLite's code. */
  do(sql: string): Promise<string> {
    this.#answer = this.#next();
    this.#process.send(sql);
    return this.#answer;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }

  async #next(): Promise<string> {
    const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const ended = once(this.#process, 'exit', { signal }).then(() => 'DEAD');
    const answer = once(this.#process, 'message', { signal }).then(([message]) => (message as { code: string }).code);
    ended.catch(() => undefined);
    return Promise.race([answer, ended]);
  }
}

/** `way`: what is between the two. `more`: settings of the replica's writes. */
async function scene(
  mode: string,
  more: object = {},
  way: (url: string) => Promise<string> = async (url) => url,
): Promise<{ primary: ClusterNode; replica: ClusterNode }> {
  const primary = await startPrimary({ writes: WRITES });
  const db = new Sqlite(primary.path('a.db'));
  db.pragma(`journal_mode = ${mode}`);
  db.exec('CREATE TABLE t (v INTEGER PRIMARY KEY, who, seq); INSERT INTO t (v) VALUES (0)');
  db.close();
  const url = await way(primary.replicationUrl);
  const replica = await startReplica(url, { mount: { locks: 'sluice' }, writes: { ...WRITES, ...more } });
  await waitUntilSame(primary, replica, 'a.db');
  return { primary, replica };
}

function rows(node: ClusterNode): number[] {
  const db = new Sqlite(node.path('a.db'), { timeout: 10_000 });
  try {
    return db.prepare('SELECT v FROM t WHERE v > 0 ORDER BY v').pluck().all() as number[];
  } finally {
    db.close();
  }
}

async function same({ primary, replica }: { primary: ClusterNode; replica: ClusterNode }): Promise<number[]> {
  await waitUntilSame(primary, replica, 'a.db', 40_000);
  assert.equal(rows(replica), rows(primary));
  for (const node of [primary, replica]) {
    const db = new Sqlite(node.path('a.db'), { timeout: 10_000 });
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
  }
  return rows(primary);
}

const moment = (ms = MOMENT_MS) => new Promise((resolve) => setTimeout(resolve, ms));

for (const mode of ['delete', 'truncate', 'persist']) {
  test(`${mode}: what a transaction that is taken back leaves in free pages does not stay on the replica`, async () => {
    const nodes = await scene(mode);
    const db = new Sqlite(nodes.primary.path('a.db'), { timeout: 10_000 });
    db.exec('CREATE TABLE pad (b); INSERT INTO pad VALUES (randomblob(200000)); UPDATE pad SET b = 1');
    assert.ok((db.pragma('freelist_count', { simple: true }) as number) > 40);
    db.close();
    await waitUntilSame(nodes.primary, nodes.replica, 'a.db');
    const client = await Client.open(nodes.replica, 'a.db');
    const local = await Client.open(nodes.primary, 'a.db', 20_000);
    // SQLite keeps no copy of free pages in its journal; with a small cache it writes before the end.
    assert.is(await client.do('PRAGMA cache_size = 5; BEGIN IMMEDIATE; UPDATE pad SET b = randomblob(150000)'), 'OK');
    assert.is(await client.do('ROLLBACK'), 'OK');
    await waitFor(() => nodes.replica.log.includes('free pages differ from the primary since a rollback'));
    await waitUntilSame(nodes.primary, nodes.replica, 'a.db');
    // One that the primary refuses, as it has gone on.
    assert.is(await client.do('BEGIN IMMEDIATE; UPDATE pad SET b = randomblob(150000)'), 'OK');
    assert.is(await local.do('INSERT INTO t (v) VALUES (1)'), 'OK');
    assert.match(await client.do('COMMIT'), /^SQLITE_IOERR/);
    await client.do('ROLLBACK');
    await waitUntilSame(nodes.primary, nodes.replica, 'a.db');
    // An application that dies in the middle: whoever comes next plays its journal back.
    assert.is(await client.do('BEGIN IMMEDIATE; UPDATE pad SET b = randomblob(150000)'), 'OK');
    await client.end();
    await local.do('INSERT INTO t (v) VALUES (2)');
    const next = await Client.open(nodes.replica, 'a.db', 20_000);
    assert.is(await next.do('INSERT INTO t (v) VALUES (3)'), 'OK');
    await next.end();
    await local.end();
    await waitUntilSame(nodes.primary, nodes.replica, 'a.db');
    assert.equal(await same(nodes), [1, 2, 3]);
    await stopAll();
  });
}

for (const mode of ['wal', 'delete']) {
  test(`${mode}: what the primary has not taken is not visible, and what it takes after a pause is`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const client = await Client.open(replica, 'a.db');
    const reader = new Sqlite(replica.path('a.db'));
    const count = reader.prepare('SELECT count(*) FROM t').pluck();
    assert.is(count.get(), 1);
    assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1)'), 'OK');
    const pid = primary.nodePid();
    process.kill(pid, 'SIGSTOP');
    const commit = client.do('COMMIT');
    await moment();
    // In a rollback mode the writer keeps readers out, as on any file system.
    if (mode === 'wal') assert.is(count.get(), 1);
    reader.close();
    process.kill(pid, 'SIGCONT');
    assert.is(await commit, 'OK');
    assert.equal(rows(replica), [1]);
    assert.equal(rows(primary), [1]);
    await client.end();
    await same(nodes);
    await stopAll();
  });

  test(`${mode}: the primary dies while a commit waits: it is found out whether it was taken`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const client = await Client.open(replica, 'a.db');
    let next = 1;
    for (const delayMs of [0, 5, 20]) {
      assert.is(await client.do(`BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (${next})`), 'OK');
      const commit = client.do('COMMIT');
      await moment(delayMs);
      await primary.killNode();
      const answer = await commit;
      const there = rows(primary).includes(next);
      if (answer === 'OK') assert.ok(there, `row ${next} was acknowledged`);
      else assert.match(answer, /^SQLITE_(IOERR|BUSY)/);
      await client.do('ROLLBACK');
      next++;
    }
    await client.end();
    await same(nodes);
    await stopAll();
  });

  test(`${mode}: the primary is gone: the commit fails in time, and nothing of it is seen`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const client = await Client.open(replica, 'a.db');
    assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1)'), 'OK');
    await primary.killAll();
    assert.match(await client.do('COMMIT'), /^SQLITE_IOERR/);
    await client.do('ROLLBACK');
    assert.equal(rows(replica), []);
    assert.is(await client.do('PRAGMA busy_timeout = 1; INSERT INTO t (v) VALUES (2)'), 'SQLITE_BUSY');
    await primary.start();
    assert.is(await client.do('PRAGMA busy_timeout = 20000; INSERT INTO t (v) VALUES (3)'), 'OK');
    await client.end();
    assert.equal(await same(nodes), [3]);
    await stopAll();
  });

  test(`${mode}: an application that has the lock is stopped: the primary goes on, and its late commit is refused`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const client = await Client.open(replica, 'a.db');
    assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1)'), 'OK');
    client.kill('SIGSTOP');
    const local = await Client.open(primary, 'a.db', 20_000);
    assert.is(await local.do('INSERT INTO t (v) VALUES (2)'), 'OK');
    client.kill('SIGCONT');
    assert.match(await client.do('COMMIT'), /^SQLITE_IOERR/);
    await client.do('ROLLBACK');
    await client.end();
    await local.end();
    assert.equal(await same(nodes), [2]);
    await stopAll();
  });

  test(`${mode}: the replica's node is stopped, or its machine is lost, with the lock: the primary goes on`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const client = await Client.open(replica, 'a.db');
    const local = await Client.open(primary, 'a.db', 20_000);
    assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1)'), 'OK');
    const pid = replica.nodePid();
    process.kill(pid, 'SIGSTOP');
    assert.is(await local.do('INSERT INTO t (v) VALUES (2)'), 'OK');
    process.kill(pid, 'SIGCONT');
    assert.match(await client.do('COMMIT'), /^SQLITE_IOERR/);
    await client.do('ROLLBACK');
    assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (3)'), 'OK');
    await replica.killAll();
    assert.is(await local.do('INSERT INTO t (v) VALUES (4)'), 'OK');
    await client.end();
    await local.end();
    await replica.start();
    assert.equal(await same(nodes), [2, 4]);
    await stopAll();
  });

  test(`${mode}: a node that was stopped gives nobody the lock by what the primary said before`, async () => {
    // It is kept for longer than the primary bears silence.
    const nodes = await scene(mode, { keep: '20s' });
    const client = await Client.open(nodes.replica, 'a.db', 20_000);
    const local = await Client.open(nodes.primary, 'a.db', 20_000);
    for (let next = 1; next < 6; next += 2) {
      assert.is(await client.do(`INSERT INTO t (v) VALUES (${next})`), 'OK');
      // Nothing is committed by the last grant.
      assert.is(await client.do('BEGIN IMMEDIATE; ROLLBACK'), 'OK');
      process.kill(nodes.replica.nodePid(), 'SIGSTOP');
      assert.is(await local.do(`INSERT INTO t (v) VALUES (${next + 1})`), 'OK');
      const begun = client.do('BEGIN IMMEDIATE');
      await moment();
      process.kill(nodes.replica.nodePid(), 'SIGCONT');
      assert.is(await begun, 'OK');
      assert.is(await client.do('SELECT max(v) FROM t'), String(next + 1));
      assert.is(await client.do('COMMIT'), 'OK');
    }
    await client.end();
    await local.end();
    assert.equal(await same(nodes), [1, 2, 3, 4, 5, 6]);
    await stopAll();
  });

  test(`${mode}: nobody gets the lock while the primary is not heard, and others may have it`, async () => {
    let line: BreakableProxy | undefined;
    const nodes = await scene(mode, { keep: '20s', wait: '2s' }, async (url) => {
      line = await BreakableProxy.to(url);
      return line.url;
    });
    const client = await Client.open(nodes.replica, 'a.db', 300);
    const local = await Client.open(nodes.primary, 'a.db', 20_000);
    let next = 1;
    for (const isCommitting of [false, true]) {
      assert.is(await client.do('PRAGMA busy_timeout = 20000'), 'OK');
      assert.is(await client.do(`INSERT INTO t (v) VALUES (${next++}); PRAGMA busy_timeout = 300`), 'OK');
      if (isCommitting) assert.is(await client.do('BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1000)'), 'OK');
      line?.stall();
      const commit = isCommitting ? client.do('COMMIT') : undefined;
      assert.is(await local.do(`INSERT INTO t (v) VALUES (${next++})`), 'OK');
      if (commit !== undefined) assert.match(await commit, /^SQLITE_IOERR/);
      await client.do('ROLLBACK');
      assert.is(await client.do('BEGIN IMMEDIATE'), 'SQLITE_BUSY');
      line?.flow();
      assert.is(await client.do('PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE; ROLLBACK'), 'OK');
    }
    await client.end();
    await local.end();
    assert.equal(await same(nodes), [1, 2, 3, 4]);
    await stopAll();
    line?.close();
  });

  test(`${mode}: an application is killed at any moment of its transactions`, async () => {
    const nodes = await scene(mode);
    const { primary, replica } = nodes;
    const acknowledged: number[] = [];
    for (let round = 0; round < 12; round++) {
      const writer = spawn(process.execPath, [COUNTERS, replica.path('a.db'), `w${round}`, '10000'], { cwd: '/' });
      let text = '';
      writer.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      const exit = once(writer, 'exit');
      await waitFor(() => text.includes('\n'), 15_000, 'a first commit');
      await moment(Math.floor(round * 3.7) % 25);
      writer.kill('SIGKILL');
      await exit;
      acknowledged.push(...text.split('\n').slice(0, -1).map(Number));
    }
    const there = await same(nodes);
    for (const v of acknowledged) assert.ok(there.includes(v), `row ${v} was acknowledged`);
    assert.is(new Set(acknowledged).size, acknowledged.length, 'no row twice');
    assert.equal(
      there,
      there.map((_, i) => i + 1),
      'each from the one before',
    );
    assert.equal(rows(primary), rows(replica));
    await stopAll();
  });
}

test.run();
