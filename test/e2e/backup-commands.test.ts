import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filesBelow } from '../backup/workbench.js';
import { type Ran, runSluice } from '../cmd/run-sluice.js';
import {
  type ClusterNode,
  contentChecksum,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  txidOf,
  waitFor,
} from '../support/cluster.js';

/** `sluice backup`, and two primaries with one store, as a user meets them. */

const test = suite('backup commands');
test.after(stopAll);

const WRITER = fileURLToPath(new URL('./busy-writer.js', import.meta.url));
const BUSY_MS = 40_000;
const LEVELS = ['200ms', '1s'];

function backup(dir: string, ...args: string[]): Promise<Ran> {
  return runSluice(['backup', ...args], dir);
}

function fill(path: string, rows: number): void {
  const db = new Sqlite(path);
  db.exec('create table if not exists t(x)');
  const insert = db.prepare('insert into t values (randomblob(300))');
  for (let i = 0; i < rows; i++) insert.run();
  db.close();
}

test('now, status, list, prune', async () => {
  const store = freshFolder('store');
  const primary = await startPrimary({
    backup: {
      url: store,
      interval: '50ms',
      levels: LEVELS,
      snapshot: '1s',
      retain: { age: '2s', snapshots: 1, fine: '1s' },
    },
  });
  fill(primary.path('app.db'), 50);
  const now = await backup(primary.dir, 'now');
  assert.is(now.code, 0, now.stderr);
  assert.match(now.stdout, /everything is stored/);
  const [ran] = JSON.parse((await backup(primary.dir, 'now', '--json')).stdout);
  assert.is(ran.complete, true);
  assert.is(ran.databases[0].txid, (await primary.status()).databases[0]!.txid);

  const snapshots = () => filesBelow(join(store, 'app.db/ltx/9'), '.ltx');
  fill(primary.path('app.db'), 5);
  assert.is((await backup(primary.dir, 'now', '--snapshot')).code, 0);
  const { txid } = (await primary.status()).databases[0]!;
  assert.is(snapshots().at(-1), `0000000000000001-${txid}.ltx`);

  for (let i = 0; i < 8; i++) {
    fill(primary.path('app.db'), 5);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  await waitFor(
    async () => filesBelow(join(store, 'app.db/ltx'), '.ltx').some((path) => path.startsWith('1/')),
    20_000,
    'files of level 1',
  );
  const status = JSON.parse((await backup(primary.dir, 'status', '--json')).stdout);
  assert.is(status.length, 1);
  assert.is(status[0].database, 'app.db');
  assert.is(status[0].hasGap, false);
  assert.match((await backup(primary.dir, 'status')).stdout, /DATABASE +NEWEST +AGE(.|\n)*app\.db/);

  const source = `file://${store}/app.db`;
  const list = await backup(primary.dir, 'list', source);
  assert.match(list.stdout, /SNAPSHOT +TIME +SIZE/);
  assert.match(list.stdout, /LEVEL +FILES +SIZE/);
  assert.match(list.stdout, /writer +[0-9a-f]{16}\//);
  assert.ok(JSON.parse((await backup(primary.dir, 'list', '--json', source)).stdout).snapshots.length >= 1);
  assert.match((await backup(primary.dir, 'list', `file://${store}/none.db`)).stdout, /no backup here/);

  await primary.stop();
  const before = filesBelow(store, '.ltx');
  const dry = await backup(primary.dir, 'prune', '--dry-run', '--json');
  assert.is(dry.code, 0, dry.stderr);
  assert.equal(filesBelow(store, '.ltx'), before, 'a dry run removes nothing');
  const wanted = JSON.parse(dry.stdout)[0].removed.length;
  const pruned = await backup(primary.dir, 'prune');
  assert.match(pruned.stdout, new RegExp(`${wanted} files.*removed`));
  assert.is(filesBelow(store, '.ltx').length, before.length - wanted);
  const restored = join(freshFolder('restored'), 'app.db');
  const restore = await runSluice(['restore', '-o', restored, source], primary.dir);
  assert.is(restore.code, 0, restore.stderr);
  assert.is(contentChecksum(restored), contentChecksum(primary.backing('app.db')));
});

test('now stores what was committed before it was asked, however large, and however short before', async () => {
  const store = freshFolder('store');
  const primary = await startPrimary({ backup: { url: store, interval: '1h' } });
  for (const journal of ['wal', 'delete']) {
    const name = `${journal}.db`;
    const db = new Sqlite(primary.path(name));
    db.pragma(`journal_mode = ${journal}`);
    db.pragma('wal_autocheckpoint = 0');
    db.exec('create table t(x)');
    const insert = db.prepare('insert into t values (randomblob(?))');
    for (const bytes of [20_000_000, 100, 100]) {
      insert.run(bytes);
      assert.is(await backUpNow(primary), true);
      const restored = join(freshFolder('restored'), name);
      const restore = await runSluice(['restore', '-o', restored, `file://${store}/${name}`], primary.dir);
      assert.is(restore.code, 0, restore.stderr);
      assert.is(contentChecksum(restored), contentChecksum(primary.backing(name)), `${name} after ${bytes} bytes`);
    }
    db.close();
  }
});

async function backUpNow(node: ClusterNode): Promise<boolean> {
  const answer = await fetch(`${node.httpUrl}/backup`, { method: 'POST' });
  const { stores } = (await answer.json()) as { stores: { complete: boolean }[] };
  return stores[0]!.complete;
}

test('now does not say that it has all while somebody is in the middle of what does not tell when it ends', async () => {
  const primary = await startPrimary({ backup: { url: freshFolder('store'), interval: '1h' } });
  const [db, other] = [1, 2].map(() => new Sqlite(primary.path('memory.db'), { timeout: 5000 }));
  for (const each of [db!, other!]) {
    each.unsafeMode().pragma('journal_mode = MEMORY');
    each.pragma('synchronous = OFF');
  }
  db!.exec('create table t(x); insert into t values (1); BEGIN EXCLUSIVE; insert into t values (2)');
  assert.is(await backUpNow(primary), false);
  db!.exec('COMMIT');
  assert.is(await backUpNow(primary), true);
  for (const each of [db!, other!]) each.close();
});

test('now ends while another goes on committing more than can be logged', async () => {
  const primary = await startPrimary({ backup: { url: freshFolder('store'), interval: '1h' } });
  const writer = fork(WRITER, [primary.path('busy.db'), `${BUSY_MS}`]);
  let isWriting = true;
  const ended = once(writer, 'exit').then(() => {
    isWriting = false;
  });
  await once(writer, 'message');
  await backUpNow(primary);
  assert.ok(isWriting, 'it has not waited for the end');
  writer.kill();
  await ended;
  assert.is(await backUpNow(primary), true);
});

test('what is asked of nobody: no node, no store, a replica', async () => {
  const dir = freshFolder('empty');
  const none = await backup(dir, 'now', '--url', 'http://127.0.0.1:9');
  assert.is(none.code, 1);
  assert.match(none.stderr, /no node answers at 127\.0\.0\.1:9/);
  assert.match((await backup(dir, 'status')).stderr, /the config names no store/);
  const primary = await startPrimary();
  assert.match((await backup(primary.dir, 'now')).stderr, /this node has no store to back up to/);
  await primary.stop();
});

test('two primaries on one store: the one that wrote last goes on; the other says so, and keeps what is nowhere else', async () => {
  const store = freshFolder('store');
  const first = await startPrimary({ backup: { url: store, interval: '50ms', levels: LEVELS } });
  fill(first.path('app.db'), 20);
  await first.stop();
  // As from an image of the machine, but for the node's own name.
  const dir = freshFolder('second');
  mkdirSync(join(dir, 'data'), { recursive: true });
  cpSync(first.data, join(dir, 'data'), { recursive: true });
  rmSync(join(dir, 'data/node.json'));
  const second = await startPrimary({ dir, backup: { url: store, interval: '50ms', levels: LEVELS } });
  await first.start();
  const stored = (await first.status()).databases[0]!.txid;
  await waitFor(
    async () => (await first.status()).backups[0]!.databases[0]?.txid === stored,
    20_000,
    'the first knows what the store holds',
  );
  fill(second.path('app.db'), 5);
  assert.is((await backup(second.dir, 'now')).code, 0);
  fill(first.path('app.db'), 7);
  await waitFor(
    async () => (await first.status()).problems.some((problem) => problem.code === 'STORE_FENCED'),
    20_000,
    'the first says that it has lost the store',
  );
  const fenced = (): string[] =>
    !existsSync(join(first.data, 'set-aside'))
      ? []
      : readdirSync(join(first.data, 'set-aside')).filter((name) => name.endsWith('-fenced'));
  await waitFor(async () => fenced().length > 0, 10_000, 'its tail is set aside');
  const aside = fenced();
  assert.is(aside.length, 1);
  const tail = filesBelow(join(first.data, 'set-aside', aside[0]!), '.ltx');
  assert.ok(tail.length >= 1 && tail.length <= 7, `${tail.length} transactions`);
  const now = await backup(first.dir, 'now');
  assert.is(now.code, 1);
  assert.match(now.stderr, /another primary .* has taken over the backup of app\.db/);

  fill(second.path('app.db'), 5);
  assert.is((await backup(second.dir, 'now')).code, 0);
  const restored = join(freshFolder('restored'), 'app.db');
  const restore = await runSluice(['restore', '-o', restored, `file://${store}/app.db`], dir);
  assert.is(restore.code, 0, restore.stderr);
  assert.is(contentChecksum(restored), contentChecksum(second.backing('app.db')));
  await first.stop();
  await second.stop();
});

test('a transaction that was stored with others comes from the log of the node that runs', async () => {
  const store = freshFolder('store');
  const primary = await startPrimary({ backup: { url: store, interval: '1h' } });
  mkdirSync(primary.path('tenants'));
  const name = 'tenants/7.db';
  fill(primary.path(name), 0);
  const first = await primary.position(name);
  assert.is((await backup(primary.dir, 'now')).code, 0);
  const db = new Sqlite(primary.path(name));
  const startTxid = txidOf(first!);
  const logged = (count: number) =>
    waitFor(async () => txidOf((await primary.position(name))!) === startTxid + count, 20_000, `${count} commits`);
  for (let i = 1; i <= 12; i++) db.exec(`insert into t values (${i})`);
  await logged(12);
  assert.is((await backup(primary.dir, 'now')).code, 0);
  db.exec('insert into t values (13)'); // is in the log only
  db.close();
  await logged(13);
  const source = `file://${store}/${name}`;
  const output = join(freshFolder('restored'), 'x.db');
  const restoreAt = (txid: number, ...more: string[]) =>
    runSluice(
      ['restore', '--json', '--force', '-o', output, '--txid', txid.toString(16), ...more, source],
      primary.dir,
    );
  const wanted = startTxid + 5;
  const nearest = await restoreAt(wanted);
  assert.is(nearest.code, 0, nearest.stderr);
  assert.is(JSON.parse(nearest.stdout).exact, false);
  for (const txid of [wanted, wanted + 3, startTxid + 13]) {
    const ran = await restoreAt(txid, '--data', join(primary.dir, 'data'));
    assert.is(ran.code, 0, ran.stderr);
    const result = JSON.parse(ran.stdout);
    assert.equal([result.exact, Number.parseInt(result.txid, 16)], [true, txid]);
    const restored = new Sqlite(output, { readonly: true });
    assert.is(restored.prepare('select max(x) from t').pluck().get(), txid - startTxid);
    restored.close();
  }
  const none = await restoreAt(wanted, '--data', freshFolder('empty'));
  assert.match(none.stderr, /RESTORE_DATA|has no database 7\.db/);
  assert.is.not(none.code, 0);
});

test('a restore into the mount of a running primary: its temporary file is nobody’s database', async () => {
  const store = freshFolder('store');
  const primary = await startPrimary({ backup: { url: store, interval: '50ms' } });
  const replica = await startReplica(primary);
  fill(primary.path('app.db'), 50);
  const wal = new Sqlite(primary.path('app.db'));
  wal.pragma('journal_mode = wal');
  wal.close();
  const stored = async (): Promise<void> => {
    const now = await backup(primary.dir, 'now');
    assert.is(now.code, 0, now.stderr);
  };
  await stored();
  const source = `file://${store}/app.db`;
  const names = new Set<string>();
  const problems: unknown[] = [];
  // Each that came up, however shortly, also while the restore went on.
  let watching = true;
  const watch = (async () => {
    while (watching) {
      const status = await primary.status();
      for (const { name } of status.databases) names.add(name);
      problems.push(...status.problems);
    }
  })();
  try {
    for (const more of [
      ['--verify', 'full'],
      ['--verify', 'full', '--force'],
    ]) {
      fill(primary.path('app.db'), 5);
      await stored();
      const ran = await runSluice(['restore', ...more, '-o', primary.path('new.db'), source], primary.dir);
      assert.is(ran.code, 0, ran.stderr);
      assert.is(contentChecksum(primary.path('new.db')), contentChecksum(primary.path('app.db')));
      await stored();
    }
  } finally {
    watching = false;
    await watch;
  }
  assert.equal(problems, []);
  assert.equal([...names].sort(), ['app.db', 'new.db']);
  assert.equal(readdirSync(store).sort(), ['app.db', 'new.db']);
  assert.equal(
    readdirSync(primary.path('.')).filter((name) => !/^(app|new)\.db(-wal|-shm)?$/.test(name)),
    [],
  );
  assert.not.match(primary.log, /sluice-restore/);
  const expected = contentChecksum(primary.path('new.db'));
  const again = join(freshFolder('restored'), 'new.db');
  const ran = await runSluice(['restore', '-o', again, `file://${store}/new.db`], primary.dir);
  assert.is(ran.code, 0, ran.stderr);
  assert.is(contentChecksum(again), expected);
  await waitFor(
    async () => existsSync(replica.path('new.db')) && contentChecksum(replica.path('new.db')) === expected,
    20_000,
    'the replica has it',
  );
  assert.equal((await replica.status()).databases.map(({ name }) => name).sort(), ['app.db', 'new.db']);
  await replica.stop();
  await primary.stop();
});

test.run();
