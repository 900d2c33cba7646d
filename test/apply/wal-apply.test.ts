import { existsSync, readFileSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytes, Reader, until, withApplier } from './fixture.js';

for (const pageSize of [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]) {
  test(`page size ${pageSize}: transactions, VACUUM and checkpoints leave the same file`, () =>
    withApplier(async ({ applier, path, source }) => {
      const src = source('a.db', { pageSize });
      await applier.apply('a.db', bytes(src.capture()));
      for (let round = 0; round < 30; round++) {
        src.insert(20);
        await applier.apply('a.db', bytes(src.capture()));
        if (round % 5 === 4) src.update(3);
        if (round % 7 === 6) src.delete(2);
        if (round % 11 === 10) src.db.exec('VACUUM');
        await applier.apply('a.db', bytes(src.capture()));
        if (round % 13 === 12) assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
      }
      const reader = new Database(path('a.db'));
      assert.is(reader.pragma('integrity_check', { simple: true }), 'ok');
      assert.equal(reader.serialize(), src.db.serialize());
      reader.close();
      assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
      assert.is(statSync(`${path('a.db')}-wal`).size, 0);
    }));
}

test('readers see whole transactions, a long one is not disturbed, and a WAL grows over many index blocks', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    src.insert(3000);
    await applier.apply('a.db', bytes(src.capture()));
    const long = await Reader.start(path('a.db'), 'hold');
    const readers = [await Reader.start(path('a.db'), 'poll'), await Reader.start(path('a.db'), 'poll', 'ro')];
    for (let round = 0; round < 220; round++) {
      if (round % 2 === 0) src.update(1);
      else src.insert(5);
      if (round === 180) src.delete(2);
      if (round === 200) src.db.exec('VACUUM');
      await applier.apply('a.db', bytes(src.capture()));
    }
    const walFrames = statSync(`${path('a.db')}-wal`).size / (4096 + 24);
    assert.ok(walFrames > 8158, `only ${walFrames} frames`);
    for (const reader of readers) {
      const { errors, reads, refused } = await reader.stop();
      assert.equal(errors, []);
      assert.is(refused, 0);
      assert.ok(reads > 0);
    }
    assert.equal((await long.stop()).errors, []);
    assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('a transaction larger than a piece, from a file, in the presence of a reader', () =>
  withApplier(async ({ applier, mount, path, source }) => {
    const src = source('a.db');
    src.insert(10);
    await applier.apply('a.db', bytes(src.capture()));
    const reader = await Reader.start(path('a.db'), 'poll');
    src.insert(5000, 2000);
    const ltx = src.capture();
    assert.ok(ltx.length > 5 << 20);
    const { writeFileSync } = await import('node:fs');
    const file = `${mount}/../big.bin`;
    writeFileSync(file, Buffer.concat([Buffer.alloc(77), ltx, Buffer.alloc(5)]));
    await applier.apply('a.db', { kind: 'file', path: file, offset: 77, size: ltx.length });
    src.insert(1);
    await applier.apply('a.db', bytes(src.capture()));
    assert.equal((await reader.stop()).errors, []);
    assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('bad LTX bytes change nothing, and what was sent behind them is not applied either', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    await applier.apply('a.db', bytes(src.capture()));
    src.insert(5);
    await applier.apply('a.db', bytes(src.capture()));
    src.insert(50);
    const good = src.capture();
    src.insert(1);
    const next = src.capture();
    const bad = Buffer.from(good);
    bad[bad.length - 3]! ^= 1;
    const results = await Promise.allSettled([
      applier.apply('a.db', bytes(bad)),
      applier.apply('a.db', bytes(next)),
      applier.checkpoint('a.db', 'passive'),
    ]);
    assert.equal(
      results.map((r) => (r.status === 'fulfilled' ? 'ok' : String(r.reason.code))),
      ['LTX_CHECKSUM', 'APPLY_FAILED', 'ok'],
    );
    const reader = new Database(path('a.db'));
    assert.is(reader.prepare('SELECT count(*) FROM t').pluck().get(), 5);
    reader.close();
    await applier.apply('a.db', bytes(good));
    await applier.apply('a.db', bytes(next));
    await applier.apply('a.db', bytes(next));
    await applier.checkpoint('a.db', 'truncate');
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('the applier checkpoints by itself, also without a thread', async () => {
  for (const thread of [true, false]) {
    await withApplier(async ({ applier, path, pids, source }) => {
      assert.is(pids.length, thread ? 2 : 1);
      assert.is(pids[0], applier.pid);
      const src = source('a.db');
      await applier.apply('a.db', bytes(src.capture()));
      const begun = statSync(path('a.db')).size;
      let largest = 0;
      for (let round = 0; round < 300; round++) {
        src.insert(40);
        await applier.apply('a.db', bytes(src.capture()));
        largest = Math.max(largest, statSync(`${path('a.db')}-wal`).size);
      }
      assert.ok(largest > 1000 * 4120, `${largest / 4120} frames`);
      // How late the thread comes to it is the machine's affair.
      if (thread) await until('a checkpoint', () => statSync(path('a.db')).size > begun);
      else assert.ok(largest < 2500 * 4120, `${largest / 4120} frames`);
      await applier.checkpoint('a.db', 'truncate');
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
    }, thread);
  }
});

test('drop removes the database and its companions', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    await applier.apply('sub/a.db', bytes(src.capture()));
    assert.ok(existsSync(`${path('sub/a.db')}-wal`));
    await applier.drop('sub/a.db');
    for (const suffix of ['', '-wal', '-shm', '-journal']) assert.not(existsSync(path('sub/a.db') + suffix), suffix);
    await applier.drop('sub/a.db');
    await applier.apply('sub/a.db', bytes(src.capture(true)));
    await applier.drop('sub/a.db');
  }));

test('a database may have the name of a folder whose databases are gone, and the other way round', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db');
    const whole = src.capture();
    await applier.apply('t/u/1.db', bytes(whole));
    await applier.apply('t/2.db', bytes(whole));
    await applier.drop('t/u/1.db');
    assert.not(existsSync(path('t/u')));
    assert.ok(existsSync(path('t/2.db')));
    await applier.drop('t/2.db');
    await applier.apply('t', bytes(whole));
    await applier.checkpoint('t', 'truncate');
    assert.ok(readFileSync(path('t')).equals(src.file()));
    await applier.drop('t');
    await applier.apply('t/1.db', bytes(whole));
    await applier.drop('t/1.db');
    assert.ok(existsSync(path('')), 'the mount point itself stays');
  }));

test.run();
