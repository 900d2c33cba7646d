import { fork } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytes, type Fixture, Reader, until, withApplier } from './fixture.js';

/** Applies, and after each death of the process again, as a node does. */
async function applySurely({ applier }: Fixture, name: string, ltx: Buffer): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      return await applier.apply(name, bytes(ltx));
    } catch (error) {
      if ((error as { code?: string }).code !== 'APPLIER_GONE') throw error;
    }
  }
  throw new Error('the applier died 50 times');
}

function kill({ applier }: Fixture): void {
  if (applier.pid !== undefined) process.kill(applier.pid, 'SIGKILL');
}

for (const mode of ['wal', 'delete', 'exclusive'] as const) {
  test(`${mode}: killed at random moments, the transaction done again is whole, and readers never see a part`, () =>
    withApplier(async (fixture) => {
      const { applier, path, source } = fixture;
      const src = source('a.db', { mode: mode === 'exclusive' ? 'delete' : mode });
      // The change counter stays then, and transactions come by way of a WAL.
      if (mode === 'exclusive') src.db.pragma('locking_mode=EXCLUSIVE');
      src.insert(1500, 500);
      await applySurely(fixture, 'a.db', src.capture());
      const readers = [await Reader.start(path('a.db'), 'poll'), await Reader.start(path('a.db'), 'poll', 'ro')];
      for (let round = 0; round < 5; round++) {
        const delayMs = Math.floor((round * 37) % 29);
        const timer = setTimeout(() => kill(fixture), delayMs);
        src.update(1);
        await applySurely(fixture, 'a.db', src.capture());
        clearTimeout(timer);
        if (round % 3 === 0) {
          src.insert(10);
          await applySurely(fixture, 'a.db', src.capture());
        }
      }
      assert.ok(fixture.restarts() > 0);
      for (const reader of readers) {
        const { errors, reads } = await reader.stop();
        assert.equal(errors, []);
        assert.ok(reads > 0);
      }
      await until('up', () => applier.pid !== undefined);
      await applier.checkpoint('a.db', 'truncate');
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
    }));
}

test('a rollback database whose applier died between its pages has a hot journal, which SQLite plays back', () =>
  withApplier(async (fixture) => {
    const { applier, path, source } = fixture;
    const src = source('a.db', { mode: 'delete' });
    src.insert(8000, 1000);
    await applier.apply('a.db', bytes(src.capture()));
    const before = readFileSync(path('a.db'));
    src.update(1);
    const ltx = src.capture();
    const changed = (): boolean => existsSync(`${path('a.db')}-journal`) && statSync(path('a.db')).mtimeMs > writtenMs;
    const writtenMs = statSync(path('a.db')).mtimeMs;
    let hot = false;
    for (let attempt = 0; attempt < 30 && !hot; attempt++) {
      await applier.open('a.db').catch(() => undefined);
      const applied = applier.apply('a.db', bytes(ltx)).catch((error: { code: string }) => error.code);
      // The file changes only once the journal is whole, and on the disk.
      for (const endMs = Date.now() + 60_000; Date.now() < endMs; await new Promise((r) => setImmediate(r))) {
        if (changed()) break;
      }
      kill(fixture);
      if ((await applied) !== 'APPLIER_GONE') continue;
      hot = existsSync(`${path('a.db')}-journal`) && !readFileSync(path('a.db')).equals(before);
      const reader = new Database(path('a.db'));
      assert.is(reader.pragma('integrity_check', { simple: true }), 'ok');
      reader.close();
      if (hot) assert.ok(readFileSync(path('a.db')).equals(before));
    }
    assert.ok(hot, 'never caught between the pages');
    await applySurely(fixture, 'a.db', ltx);
    assert.ok(readFileSync(path('a.db')).equals(src.file()));
  }));

test('calls of a process that died reject with APPLIER_GONE, in one piece, and the next one is ready', () =>
  withApplier(async (fixture) => {
    const { applier, source, pids } = fixture;
    const src = source('a.db');
    await applier.apply('a.db', bytes(src.capture()));
    const first = applier.pid;
    src.insert(1);
    const ltx = src.capture();
    kill(fixture);
    const results = await Promise.allSettled(Array.from({ length: 100 }, () => applier.apply('a.db', bytes(ltx))));
    for (const result of results) {
      assert.is(result.status === 'rejected' ? result.reason.code : 'applied', 'APPLIER_GONE');
    }
    await applier.apply('a.db', bytes(ltx));
    assert.is.not(applier.pid, first);
    assert.is(fixture.restarts(), 1);
    assert.equal(pids.length, 4);
  }));

test('after stop nothing runs, and calls reject', async () => {
  let pid = 0;
  await withApplier(async ({ applier, source, path }) => {
    pid = applier.pid!;
    const src = source('a.db', { mode: 'delete' });
    await applier.apply('a.db', bytes(src.capture()));
    const reader = await Reader.start(path('a.db'), 'hold');
    src.insert(1);
    const waiting = applier.apply('a.db', bytes(src.capture())).catch((error: { code: string }) => error.code);
    await applier.stop();
    assert.is(await waiting, 'APPLIER_GONE');
    assert.is(await applier.open('a.db').catch((error: { code: string }) => error.code), 'APPLIER_GONE');
    assert.equal((await reader.stop()).errors, []);
  });
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

test('the process ends when the node is killed', () =>
  withApplier(async ({ applier, mount, source }) => {
    await applier.apply('a.db', bytes(source('a.db').capture()));
    const node = fork(fileURLToPath(new URL('./parent-process.js', import.meta.url)), [mount]);
    const pid = await new Promise<number>((resolve) => node.once('message', (message) => resolve(Number(message))));
    process.kill(pid, 0);
    node.kill('SIGKILL');
    await until('ended', () => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
      } catch {
        return true;
      }
    });
  }));

test.run();
