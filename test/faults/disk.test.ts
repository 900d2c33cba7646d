import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec, requireMounts, same, type TestNode, until, value, withBench } from './bench.js';

requireMounts('disk');
const test = suite('full disks');

const COUNT = 'SELECT count(*) FROM t';
const DISK_MB = 24;

/** Takes all of the free space but a few pages, or so many bytes. */
function fill(disk: string, freeBytes = 0): string {
  const path = join(disk, 'ballast');
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(path, Buffer.alloc(Math.max(0, bavail - Math.max(4, freeBytes / bsize)) * bsize));
  return path;
}

function create(node: TestNode, name: string, mode: string): void {
  exec(node.path(name), `PRAGMA journal_mode=${mode}; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(1000))`);
}

/** Inserts until SQLite refuses; how many were committed, and the refusal. */
function insertUntilFull(db: Database.Database): { committed: number; code: string } {
  let committed = 0;
  try {
    for (; committed < 1000; committed++) db.exec('INSERT INTO t VALUES (randomblob(30000))');
    return { committed, code: 'none' };
  } catch (error) {
    return { committed, code: (error as { code: string }).code };
  }
}

for (const mode of ['WAL', 'DELETE']) {
  test(`the primary's disk is full (${mode}): SQLITE_FULL, nothing lost, goes on when there is room`, async () => {
    await withBench(async (bench) => {
      const disk = bench.smallDisk('disk', DISK_MB);
      const primary = await bench.primary('primary', '', join(disk, 'data'));
      create(primary, 'a.db', mode);
      create(primary, 'b.db', mode);
      const replica = await bench.replica(primary.url);
      await same(primary, replica, 'a.db');
      const pid = primary.nodePid();
      // A connection that is open already: on a full disk SQLite can make no -shm for a new one.
      const db = primary.open('a.db');
      assert.is(db.prepare(COUNT).pluck().get(), 1);
      const ballast = fill(disk);
      const { committed, code } = insertUntilFull(db);
      assert.is(code, 'SQLITE_FULL');
      assert.is(db.prepare(COUNT).pluck().get(), committed + 1);
      assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
      rmSync(ballast);
      db.close();
      for (const name of ['a.db', 'b.db']) {
        exec(primary.path(name), 'INSERT INTO t VALUES (1)');
        await same(primary, replica, name);
        assert.is(value(primary.path(name), 'PRAGMA integrity_check'), 'ok');
        assert.is(value(replica.path(name), 'PRAGMA integrity_check'), 'ok');
      }
      assert.is(value(replica.path('a.db'), COUNT), committed + 2);
      assert.is(primary.nodePid(), pid, 'the node stayed');
      await until('no problem is shown any more', async () => {
        const problems = await primary.problems();
        if (problems.length > 0) throw new Error(problems.join(', '));
        return true;
      });
      assert.is(await primary.stop(), 0);
    });
  });
}

test("a replica's disk is full: the primary and a backup do not notice, it is shown, and it catches up", async () => {
  await withBench(async (bench) => {
    const disk = bench.smallDisk('disk', DISK_MB);
    const primary = await bench.primary();
    create(primary, 'a.db', 'WAL');
    create(primary, 'b.db', 'DELETE');
    const replica = await bench.replica(primary.url, 'replica', '', join(disk, 'data'));
    for (const name of ['a.db', 'b.db']) await same(primary, replica, name);
    const pid = replica.nodePid();
    const ballast = fill(disk);
    const db = new Database(primary.path('a.db'));
    for (let i = 0; i < 100; i++) db.exec('INSERT INTO t VALUES (randomblob(30000))');
    db.close();
    await until('the replica says so', async () => (await replica.problems()).some((one) => one.endsWith(' a.db')));
    const problem = (await replica.status()).problems.find(({ subject }) => subject === 'a.db')!;
    assert.match(problem.message, /ENOSPC|no space|disk is full/i, problem.message);
    assert.is(value(replica.path('b.db'), COUNT), 1);
    const seen = (await primary.status()).replicas[0]!.databases.find(({ name }) => name === 'a.db')!;
    assert.is.not(seen.state, 'ok', 'the primary shows it too');
    assert.equal(await primary.problems(), []);
    rmSync(ballast);
    exec(primary.path('b.db'), 'INSERT INTO t VALUES (1)');
    for (const name of ['a.db', 'b.db']) {
      await same(primary, replica, name, 60_000);
      assert.is(value(replica.path(name), 'PRAGMA integrity_check'), 'ok');
    }
    assert.is(value(replica.path('a.db'), COUNT), 101);
    assert.is(replica.nodePid(), pid, 'the node stayed');
    await until('no problem is shown any more', async () => (await replica.problems()).length === 0);
  });
});

const MB = 1024 * 1024;
const IMAGE_MB = 5;
for (const [where, freeMb] of [
  ['while it comes', 3],
  ['while it is written', 8],
] as const) {
  test(`a replica's disk is full in the middle of a snapshot (${where}): others go on, it is shown, it heals`, async () => {
    await withBench(async (bench) => {
      const disk = bench.smallDisk('disk', DISK_MB);
      const primary = await bench.primary();
      create(primary, 'a.db', 'DELETE');
      create(primary, 'b.db', 'WAL');
      exec(primary.path('a.db'), `INSERT INTO t VALUES (randomblob(${IMAGE_MB * MB}))`);
      const replica = await bench.replica(primary.url, 'replica', '', join(disk, 'data'));
      for (const name of ['a.db', 'b.db']) await same(primary, replica, name);
      const pid = replica.nodePid();
      const ballast = fill(disk, freeMb * MB);
      // A new page size is not in the log: the whole database is sent.
      exec(primary.path('a.db'), 'PRAGMA page_size=8192; VACUUM');
      await until('the replica says so', async () => (await replica.problems()).some((one) => one.endsWith(' a.db')));
      const problem = (await replica.status()).problems.find(({ subject }) => subject === 'a.db')!;
      assert.match(problem.message, /ENOSPC|no space|disk is full/i, problem.message);
      for (let i = 0; i < 5; i++) exec(primary.path('b.db'), 'INSERT INTO t VALUES (1)');
      await same(primary, replica, 'b.db', 60_000);
      assert.is(value(replica.path('b.db'), COUNT), 6);
      assert.is(value(replica.path('a.db'), COUNT), 2, 'what was there can be read');
      assert.is(value(replica.path('a.db'), 'PRAGMA page_size'), 4096);
      rmSync(ballast);
      await same(primary, replica, 'a.db', 90_000);
      assert.is(value(replica.path('a.db'), 'PRAGMA page_size'), 8192);
      assert.is(value(replica.path('a.db'), 'PRAGMA integrity_check'), 'ok');
      assert.is(value(replica.path('a.db'), COUNT), 2);
      await until('no problem is shown any more', async () => (await replica.problems()).length === 0);
      assert.is(replica.nodePid(), pid, 'the node stayed');
      assert.equal(readdirSync(join(replica.data, 'spool')), []);
      assert.is(existsSync(join(replica.data, 'set-aside')), false, 'all of it is the primary’s');
    });
  });
}

test("the backup folder's disk is full: commits go on, status shows it, then it is whole again", async () => {
  await withBench(async (bench) => {
    const disk = bench.smallDisk('disk', DISK_MB);
    const url = `file://${join(disk, 'backup')}`;
    mkdirSync(join(disk, 'backup'));
    const primary = await bench.primary('primary', `backup: {url: "${url}", interval: 100ms}`);
    create(primary, 'a.db', 'WAL');
    const uploaded = async () =>
      (await primary.status()).backups[0]!.databases.find(({ name }) => name === 'a.db')?.txid;
    const here = () => primary.position('a.db').split('/')[0];
    await until('the first upload', async () => (await uploaded()) === here());
    const ballast = fill(disk);
    for (let i = 0; i < 30; i++) exec(primary.path('a.db'), 'INSERT INTO t VALUES (randomblob(30000))');
    await until('status shows it', async () =>
      /the disk is full/.test((await primary.status()).backups[0]!.lastError ?? ''),
    );
    assert.equal(await primary.problems(), ['BACKUP_FAILING a.db']);
    exec(primary.path('a.db'), 'INSERT INTO t VALUES (1)');
    rmSync(ballast);
    await until('it has caught up', async () => (await uploaded()) === here(), 60_000);
    await until('no problem is shown any more', async () => (await primary.problems()).length === 0);
    const restored = bench.path('restored.db');
    const ran = await bench.sluice(['restore', '-o', restored, `${url}/a.db`]);
    assert.is(ran.code, 0, ran.stderr);
    assert.ok(existsSync(restored));
    assert.is(value(restored, COUNT), 32);
    assert.is(value(restored, 'PRAGMA integrity_check'), 'ok');
  });
});

test.run();
