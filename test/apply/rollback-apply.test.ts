import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SluiceError } from '../../src/errors.js';
import { bytes, Reader, until, withApplier } from './fixture.js';

for (const pageSize of [512, 4096, 65536]) {
  test(`page size ${pageSize}: transactions and VACUUM leave the same file at each step`, () =>
    withApplier(async ({ applier, path, source }) => {
      const src = source('a.db', { pageSize, mode: 'delete' });
      await applier.apply('a.db', bytes(src.capture()));
      for (let round = 0; round < 25; round++) {
        src.insert(20);
        if (round % 5 === 4) src.update(3);
        if (round % 7 === 6) src.delete(2);
        if (round % 8 === 7) src.db.exec('VACUUM');
        await applier.apply('a.db', bytes(src.capture()));
        assert.ok(readFileSync(path('a.db')).equals(src.file()), `round ${round}`);
        assert.not(existsSync(`${path('a.db')}-journal`));
      }
      assert.is(await applier.checkpoint('a.db', 'truncate'), 0);
    }));
}

test('readers who come one after the other see whole transactions and cannot keep the lock', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db', { mode: 'delete' });
    src.insert(2000);
    await applier.apply('a.db', bytes(src.capture()));
    const readers = [
      await Reader.start(path('a.db'), 'poll'),
      await Reader.start(path('a.db'), 'poll', 'ro'),
      await Reader.start(path('a.db'), 'poll'),
    ];
    for (let round = 0; round < 40; round++) {
      if (round % 4 === 0) src.update(2);
      else src.insert(5);
      await applier.apply('a.db', bytes(src.capture()));
    }
    for (const reader of readers) {
      const { errors, reads } = await reader.stop();
      assert.equal(errors, []);
      assert.ok(reads > 0);
    }
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('a database that waits for a long reader does not delay another', () =>
  withApplier(async ({ applier, path, source }) => {
    const slow = source('slow.db', { mode: 'delete' });
    const fast = source('fast.db');
    await applier.apply('slow.db', bytes(slow.capture()));
    await applier.apply('fast.db', bytes(fast.capture()));
    const reader = await Reader.start(path('slow.db'), 'hold');
    slow.insert(3);
    let done = false;
    const waiting = applier.apply('slow.db', bytes(slow.capture())).then(() => {
      done = true;
    });
    for (let round = 0; round < 200; round++) {
      fast.insert(2);
      await applier.apply('fast.db', bytes(fast.capture()));
    }
    assert.not(done);
    assert.equal((await reader.stop()).errors, []);
    await waiting;
    assert.ok(readFileSync(path('slow.db')).equals(slow.file()));
    await applier.checkpoint('fast.db', 'truncate');
    assert.ok(readFileSync(path('fast.db')).equals(fast.file()));
  }));

test('bad LTX bytes change nothing and leave no journal', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db', { mode: 'delete' });
    src.insert(10);
    await applier.apply('a.db', bytes(src.capture()));
    const before = readFileSync(path('a.db'));
    src.update(1);
    const ltx = src.capture();
    const bad = Buffer.from(ltx);
    bad[bad.length - 3]! ^= 1;
    const failure = await applier.apply('a.db', bytes(bad)).catch((error: unknown) => error);
    assert.is((failure as { code: string }).code, 'LTX_CHECKSUM');
    assert.ok(readFileSync(path('a.db')).equals(before));
    assert.not(existsSync(`${path('a.db')}-journal`));
    await applier.apply('a.db', bytes(ltx));
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('from rollback to WAL and back, with a reader that stays open', () =>
  withApplier(async ({ applier, path, source }) => {
    const src = source('a.db', { mode: 'delete' });
    src.insert(50);
    await applier.apply('a.db', bytes(src.capture()));
    const idle = await Reader.start(path('a.db'), 'idle');
    const poller = await Reader.start(path('a.db'), 'poll', 'ro');
    const step = async (): Promise<void> => {
      src.insert(5);
      await applier.apply('a.db', bytes(src.capture()));
    };
    for (let round = 0; round < 3; round++) {
      await step();
      src.db.pragma('journal_mode=wal');
      await applier.apply('a.db', bytes(src.capture()));
      assert.ok(existsSync(`${path('a.db')}-wal`));
      for (let i = 0; i < 20; i++) await step();
      src.db.pragma('journal_mode=delete');
      await applier.apply('a.db', bytes(src.capture()));
      for (let i = 0; i < 20; i++) await step();
      // A new connection finds its way too.
      const late = await Reader.start(path('a.db'), 'idle');
      const lateResult = await late.stop();
      assert.equal(lateResult.errors, []);
    }
    // The poller's connection is open all the time, so the database is still in WAL mode here.
    assert.ok(existsSync(`${path('a.db')}-wal`));
    assert.equal((await idle.stop()).errors, []);
    const result = await poller.stop();
    assert.equal(result.errors, []);
    await until('out of WAL mode', () => !existsSync(`${path('a.db')}-wal`), 20_000);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
    await step();
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('a file that is no database fails, others go on, and a whole image heals it', () =>
  withApplier(async ({ applier, path, source }) => {
    writeFileSync(path('empty.db'), '');
    writeFileSync(path('text.db'), 'not a database '.repeat(1000));
    const src = source('a.db', { mode: 'delete' });
    src.insert(5);
    const whole = src.capture();
    writeFileSync(path('short.db'), src.file().subarray(0, 4096));
    src.insert(1);
    const part = src.capture();
    for (const name of ['empty.db', 'text.db', 'short.db', 'missing.db']) {
      for (const call of [() => applier.open(name), () => applier.apply(name, bytes(part))]) {
        const failure = await call().catch((error: unknown) => error);
        assert.is((failure as { code?: string }).code, 'APPLY_FAILED', `${name}: ${String(failure)}`);
      }
    }
    assert.not(existsSync(path('missing.db')));
    for (const name of ['empty.db', 'text.db', 'short.db', 'missing.db']) {
      await applier.replace(name, bytes(whole));
      await applier.apply(name, bytes(part));
      assert.ok(readFileSync(path(name)).equals(src.file()), name);
      await applier.open(name);
    }
  }));

for (const mode of ['wal', 'delete'] as const) {
  test(`replace of a ${mode} database in place, then with another page size`, () =>
    withApplier(async ({ applier, path, source }) => {
      const old = source('old.db', { mode });
      old.insert(100);
      await applier.apply('a.db', bytes(old.capture()));
      const reader = await Reader.start(path('a.db'), 'poll');
      const src = source('new.db', { mode });
      // Higher than the old one's change counter, or it would come, and stay for now, in WAL mode.
      for (let round = 0; round < 5; round++) src.insert(6);
      await applier.replace('a.db', bytes(src.capture()));
      src.insert(3);
      await applier.apply('a.db', bytes(src.capture()));
      await applier.checkpoint('a.db', 'truncate');
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
      const other = source('other.db', { mode: mode === 'wal' ? 'delete' : 'wal', pageSize: 1024 });
      other.insert(200);
      const whole = other.capture();
      if (mode === 'wal') {
        // Nobody may have it open in WAL mode for that.
        const failure = await applier.replace('a.db', bytes(whole)).catch((error: unknown) => error);
        assert.is((failure as SluiceError).code, 'APPLY_BUSY');
        assert.match((failure as SluiceError).message, /^a\.db: its new page size waits until no application/);
        assert.equal((await reader.stop()).errors, []);
        const late = new Database(path('a.db'), { readonly: true });
        assert.is(late.pragma('page_size', { simple: true }), 4096);
        late.close();
      }
      await applier.replace('a.db', bytes(whole));
      other.insert(1);
      await applier.apply('a.db', bytes(other.capture()));
      if (mode === 'delete') assert.equal((await reader.stop()).errors, []);
      await applier.checkpoint('a.db', 'truncate');
      assert.ok(readFileSync(path('a.db')).equals(other.file()));
    }));
}

test.run();
