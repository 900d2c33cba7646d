import { existsSync, readFileSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytes, Reader, until, withApplier } from './fixture.js';
import type { SourceDatabase } from './source-database.js';

/**
 * Connections in rollback mode decide by bytes 24..39 of page 1 whether their page caches are old. Here they are the same
 * before and after.
 */
const VERSION_BYTES = [24, 40] as const;

function sums(db: Database.Database): { sum: number; total: number } {
  return db.prepare('SELECT (SELECT sum(v) FROM t) AS sum, (SELECT n FROM total) AS total').get() as {
    sum: number;
    total: number;
  };
}

function same(db: Database.Database, src: SourceDatabase): void {
  assert.equal(sums(db), sums(src.db));
}

function versionBytes(database: Uint8Array): string {
  return Buffer.from(database.subarray(...VERSION_BYTES)).toString('hex');
}

/** A rollback database on a primary whose writer has the lock for good: the change counter stays from here on. */
function lockedSource(src: SourceDatabase): void {
  src.insert(200);
  src.db.pragma('locking_mode=EXCLUSIVE');
  src.update(2);
}

test('locking_mode=EXCLUSIVE on the primary: connections that read or sleep on the replica see each transaction', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db', { mode: 'delete' });
    lockedSource(src);
    await applier.apply('a.db', bytes(src.capture()));
    const before = versionBytes(src.db.serialize());
    const sleeper = new Database(path('a.db'), { readonly: true });
    const reader = new Database(path('a.db'), { readonly: true });
    same(sleeper, src);
    for (let round = 0; round < 10; round++) {
      same(reader, src);
      src.update(1 + (round % 3));
      assert.is(versionBytes(src.db.serialize()), before);
      await applier.apply('a.db', bytes(src.capture()));
    }
    same(reader, src);
    same(sleeper, src);
    const late = new Database(path('a.db'), { readonly: true });
    same(late, src);
    assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
    assert.ok(statSync(`${path('a.db')}-wal`).size > 0, 'an empty WAL is none');
    for (const db of [sleeper, reader, late]) db.close();
  }));

test('the WAL stays until the change counter is new to a connection that slept all the time, also over stop and death', () =>
  withApplier(async (fixture) => {
    const { applier, path, source } = fixture;
    const src = source('a.db', { mode: 'delete' });
    lockedSource(src);
    await applier.apply('a.db', bytes(src.capture()));
    const sleeper = new Database(path('a.db'), { readonly: true });
    same(sleeper, src);
    const step = async (): Promise<void> => {
      src.update(1);
      await applier.apply('a.db', bytes(src.capture()));
    };
    await step();
    const first = applier.pid;
    process.kill(first!, 'SIGKILL');
    await until('up again', () => applier.pid !== undefined && applier.pid !== first);
    await applier.open('a.db');
    await step();
    assert.ok(statSync(`${path('a.db')}-wal`).size > 0);
    src.db.pragma('locking_mode=NORMAL');
    src.db.prepare('SELECT * FROM total').get(); // gives the lock back
    await step();
    await until('out of WAL mode', () => !existsSync(`${path('a.db')}-wal`));
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
    same(sleeper, src);
    src.db.pragma('locking_mode=EXCLUSIVE');
    await step();
    same(sleeper, src);
    sleeper.close();
    const last = new Database(path('a.db'), { readonly: true });
    await applier.checkpoint('a.db', 'truncate');
    await step();
    await applier.stop();
    assert.ok(statSync(`${path('a.db')}-wal`).size > 0);
    same(last, src);
    last.close();
  }));

test('an image from another history with the same change counter', () =>
  withApplier(async ({ applier, path, source }) => {
    const old = source('old.db', { mode: 'delete' });
    const src = source('new.db', { mode: 'delete' });
    for (const each of [old, src]) each.insert(100);
    old.update(2);
    src.update(3);
    assert.is(versionBytes(src.db.serialize()), versionBytes(old.db.serialize()));
    await applier.apply('a.db', bytes(old.capture()));
    const sleeper = new Database(path('a.db'), { readonly: true });
    same(sleeper, old);
    await applier.replace('a.db', bytes(src.capture()));
    same(sleeper, src);
    src.update(1);
    await applier.apply('a.db', bytes(src.capture()));
    same(sleeper, src);
    sleeper.close();
    await until('out of WAL mode', () => !existsSync(`${path('a.db')}-wal`));
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('a transaction that is applied again leaves everything as it is', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db', { mode: 'delete' });
    await applier.apply('a.db', bytes(src.capture()));
    src.insert(10);
    const ltx = src.capture();
    for (let time = 0; time < 2; time++) {
      await applier.apply('a.db', bytes(ltx));
      assert.not(existsSync(`${path('a.db')}-wal`));
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
    }
  }));

for (const thread of [true, false]) {
  test(`its WAL begins again and again under readers, ${thread ? 'with' : 'without'} a thread`, () =>
    withApplier(async ({ applier, path, source }) => {
      const src = source('a.db', { mode: 'delete' });
      lockedSource(src);
      src.insert(600, 1000);
      await applier.apply('a.db', bytes(src.capture()));
      const readers = [await Reader.start(path('a.db'), 'poll', 'ro'), await Reader.start(path('a.db'), 'poll', 'ro')];
      let frames = 0;
      let restarts = 0;
      let lastSize = 0;
      for (let round = 0; round < 60; round++) {
        src.update(1);
        const ltx = src.capture();
        await applier.apply('a.db', bytes(ltx));
        frames += ltx.length / 1000;
        const { size } = statSync(`${path('a.db')}-wal`);
        assert.ok(size > 0);
        if (size < lastSize) restarts++;
        lastSize = size;
        if (round % 10 === 9) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          await applier.checkpoint('a.db', 'truncate');
        }
      }
      assert.ok(restarts > 0, `${frames} frames and no restart`);
      for (const reader of readers) {
        const { errors, reads } = await reader.stop();
        assert.equal(errors, []);
        assert.ok(reads > 0);
      }
      assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
    }, thread));
}

test('from WAL to rollback under readers: the WAL is never empty, and no reader sees a checkpoint as a change', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    src.insert(2000, 1000);
    await applier.apply('a.db', bytes(src.capture()));
    const idle = new Database(path('a.db'), { readonly: true });
    same(idle, src);
    src.db.pragma('journal_mode=delete');
    await applier.apply('a.db', bytes(src.capture()));
    for (let round = 0; round < 5; round++) {
      // As long as the upkeep takes to try, and what it does when it cannot leave.
      await applier.checkpoint('a.db', 'truncate');
      assert.ok(statSync(`${path('a.db')}-wal`).size > 0);
      const late = new Database(path('a.db'), { readonly: true });
      late.exec('BEGIN');
      const total = late.prepare('SELECT n FROM total').pluck().get();
      src.update(1);
      await applier.apply('a.db', bytes(src.capture()));
      await applier.checkpoint('a.db', 'truncate');
      assert.is(late.prepare('SELECT sum(v) FROM t').pluck().get(), total);
      late.close();
    }
    same(idle, src);
    idle.close();
    await until('out of WAL mode', () => !existsSync(`${path('a.db')}-wal`), 40_000);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('an applier that comes back while a reader keeps it in WAL mode goes on there', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    src.insert(100);
    await applier.apply('a.db', bytes(src.capture()));
    const idle = new Database(path('a.db'), { readonly: true });
    same(idle, src);
    src.db.pragma('journal_mode=delete');
    await applier.apply('a.db', bytes(src.capture()));
    await applier.checkpoint('a.db', 'truncate');
    const first = applier.pid;
    process.kill(first!, 'SIGKILL');
    await until('up again', () => applier.pid !== undefined && applier.pid !== first);
    src.update(1);
    let applied = false;
    const applying = applier.apply('a.db', bytes(src.capture())).then(() => {
      applied = true;
    });
    applying.catch(() => undefined);
    await until('applied', () => applied);
    same(idle, src);
    idle.close();
    src.update(1);
    await applier.apply('a.db', bytes(src.capture()));
    await until('out of WAL mode', () => !existsSync(`${path('a.db')}-wal`), 40_000);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test.run();
