import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BackupOptions, decodeManifest, type Manifest } from '../../src/backup/index.js';
import { Ledger } from '../../src/backup/ledger.js';
import type { UpkeepPolicy } from '../../src/backup/upkeep.js';
import { errorCode } from '../../src/errors.js';
import { until } from '../support/until.js';
import type { FakeDatabase } from './fake-databases.js';
import { HeldRoot } from './held-store.js';
import { expectRestored, insert, newSet, type Place, startBackup, untilStored, withApp } from './scenario.js';
import { filesBelow, TestLog } from './workbench.js';

/** A store that others write to, or put back, while a primary has it; and what its own accidents leave. */

const NEVER_MS = 1e13;
const KEEP_ALL = { ageMs: NEVER_MS, snapshots: 2, fineMs: NEVER_MS };

function policy(more: Partial<UpkeepPolicy>): Pick<BackupOptions, 'policy'> {
  return { policy: { levelsMs: [], snapshotMs: NEVER_MS, retain: KEEP_ALL, ...more } };
}

async function manifestOf(place: Place): Promise<Manifest> {
  const found = await place.open().database('app.db').readManifest();
  assert.ok(found !== undefined && found !== 'same');
  return decodeManifest(found.bytes);
}

/** The transaction of one history, put there by somebody else. */
async function putIncrement(place: Place, app: FakeDatabase, txid: number): Promise<void> {
  const key = { level: 0, minTxid: txid, maxTxid: txid };
  await place
    .open()
    .database('app.db')
    .put({ ...key, timestampMs: 1 }, app.log.get(txid)!.bytes());
}

async function putSnapshot(place: Place, app: FakeDatabase): Promise<void> {
  const { position, chunks } = await app.snapshot();
  const key = { level: 9, minTxid: 1, maxTxid: position.txid };
  await place
    .open()
    .database('app.db')
    .put({ ...key, timestampMs: 1 }, chunks());
}

function setAside(place: Place): string[] {
  return filesBelow(join(place.folder, 'app.db'), '').filter((path) => /^set-aside\/\d\/./.test(path));
}

test('a store that was put back to an older state gets what it lacks', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    const folder = join(place.folder, 'app.db');
    for (let txid = 1; txid < 6; txid++) {
      if (txid > 1) app.write(insert(5));
      await untilStored(backup, 'app.db', txid);
      if (txid === 3) cpSync(folder, `${folder}.before`, { recursive: true, preserveTimestamps: true });
    }
    rmSync(folder, { recursive: true });
    cpSync(`${folder}.before`, folder, { recursive: true, preserveTimestamps: true });
    app.write(insert(5));
    await untilStored(backup, 'app.db', 6);
    await expectRestored(bench, place, app);
    assert.equal(backup.problems(), []);
  }));

test("a stranger's file that has the name of the next upload is set aside", () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    const other = app.copyTo(newSet(bench));
    other.write(insert(7));
    await putIncrement(place, other, 2);
    app.write(insert(5));
    await untilStored(backup, 'app.db', 2);
    await expectRestored(bench, place, app);
    assert.is(setAside(place).length, 1);
  }));

test("strangers' snapshots and increments are set aside while the owner goes on", () =>
  withApp(async ({ bench, set, app, place }) => {
    const retain = { ageMs: 100, snapshots: 9, fineMs: NEVER_MS };
    const backup = startBackup(bench, set, place, policy({ retain }));
    await untilStored(backup, 'app.db', 1);
    const other = app.copyTo(newSet(bench));
    for (let txid = 2; txid < 7; txid++) {
      app.write(insert(5));
      await untilStored(backup, 'app.db', txid);
    }
    for (let i = 0; i < 9; i++) {
      other.write(insert(7));
      if (i === 2 || i === 8) await putSnapshot(place, other);
    }
    await putIncrement(place, other, 10);
    app.write(insert(5));
    await until('they are set aside', () => setAside(place).length === 3);
    await untilStored(backup, 'app.db', 7);
    await expectRestored(bench, place, app);
  }));

test('what was stored before the manifest said so is named by it at the next start, though nothing is committed', () =>
  withApp(async ({ bench, set, app, place }) => {
    const first = startBackup(bench, set, place);
    await untilStored(first, 'app.db', 1);
    await first.stop();
    app.write(insert(5));
    await putIncrement(place, app, 2);
    const second = startBackup(bench, set, place, { owner: 'node/2' });
    await untilStored(second, 'app.db', 2);
    await until('the manifest names it', async () => (await manifestOf(place)).position.txid === 2);
  }));

test('who is of another history takes nothing over, however long its turn does not come', () =>
  withApp(async ({ bench, set, app, place }) => {
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', 1);
    for (let txid = 2; txid < 5; txid++) {
      app.write(insert(5));
      await untilStored(backup, 'app.db', txid);
    }
    const others = newSet(bench);
    const stranger = others.create('app.db');
    stranger.write('create table other(x)');
    for (let i = 0; i < 9; i++) stranger.write('insert into other values (1)');
    // Its upload waits for ever: all that it does is to look.
    startBackup(bench, others, place, {
      owner: 'stranger/1',
      limits: { increments: 0, snapshots: 0 },
      ...policy({ levelsMs: [1], snapshotMs: 1 }),
    });
    await sleep(300);
    assert.is((await manifestOf(place)).owner, 'node/1');
    app.write(insert(5));
    await untilStored(backup, 'app.db', 5);
    assert.equal(backup.problems(), []);
  }));

test('a scheduled snapshot that is ahead of the increments is no gap', () =>
  withApp(async ({ bench, set, app, place }) => {
    const root = new HeldRoot(place.open(), { put: (_name, { level }) => level === 0 });
    const log = new TestLog();
    const backup = startBackup(bench, set, place, { store: root, log, ...policy({ snapshotMs: 1 }) });
    bench.onEnd(() => root.release());
    await untilStored(backup, 'app.db', 1);
    app.write(insert(5));
    await until('an increment is under way', () => root.waiting > 0);
    app.write(insert(5));
    await until('the snapshot is there', async () => (await manifestOf(place)).position.txid === 3);
    root.release();
    await until('all is stored', () => backup.flush());
    assert.not.ok(log.lines.some((line) => line.startsWith('the backup lacks a file')));
    await expectRestored(bench, place, app);
  }));

test('a clock that is set back makes nobody sure for longer', () =>
  withApp(async ({ app, place }) => {
    const store = place.open().database('app.db');
    let nowMs = 1_000_000_000;
    const options = { database: 'app.db', store, overlap: 10, now: () => nowMs };
    const first = new Ledger({ ...options, owner: 'first/1' });
    const second = new Ledger({ ...options, owner: 'second/1' });
    await first.lookUp(() => true);
    assert.is(await first.own(), true);
    await second.lookUp(() => true);
    assert.is(await second.own(), true);
    nowMs -= 3_600_000;
    assert.is(app.position.txid, 1);
    const error = await first.stillOwn().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.is(errorCode(error), 'STORE_FENCED');
  }));

test('what is published counts only as long as the store is known to be this process’s', () =>
  withApp(async ({ place }) => {
    const store = place.open().database('app.db');
    const options = { database: 'app.db', store, overlap: 10 };
    const first = new Ledger({ ...options, owner: 'node/1' });
    await first.lookUp(() => true);
    await first.own();
    // The store is another's meanwhile, and was looked at again.
    const other = new Ledger({ ...options, owner: 'other/1' });
    rmSync(join(place.folder, 'app.db'), { recursive: true });
    await other.lookUp(() => true);
    await other.own();
    await first.lookUp(() => true).catch(() => undefined);
    await first.lookUp(() => true);
    const file = { level: 1, minTxid: 2, maxTxid: 3, sizeBytes: 1, timeMs: 1, checksum: 1n };
    const error = await first.merged([{ level: 0, minTxid: 2, maxTxid: 2 }], file).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.is(errorCode(error), 'STORE_CHANGED');
    assert.is((await manifestOf(place)).owner, 'other/1');
  }));

test.run();
