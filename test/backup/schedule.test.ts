import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backup, BackupOptions, UploadEvent } from '../../src/backup/index.js';
import { LEVEL_INCREMENT, LEVEL_SNAPSHOT } from '../../src/backup/index.js';
import { until } from '../support/until.js';
import type { FakeDatabase, FakeDatabaseSet } from './fake-databases.js';
import { HeldRoot } from './held-store.js';
import { CREATE, folderPlace, insert, newSet, RETRY_AT_ONCE, startBackup, untilStored, withApp } from './scenario.js';
import { type Workbench, withWorkbench } from './workbench.js';

/** When what is uploaded, and that nobody waits for what takes long. */

const SLOW = 6;
/** Between the size of a database with a few rows and that of one with many. */
const LARGE_BYTES = 50_000;

type Holds = ConstructorParameters<typeof HeldRoot>[1];

interface Held {
  readonly set: FakeDatabaseSet;
  readonly root: HeldRoot;
  readonly backup: Backup;
}

/** A backup to a store that holds requests, of databases that were there before. */
function heldBackup(bench: Workbench, set: FakeDatabaseSet, holds: Holds, more: Partial<BackupOptions> = {}): Held {
  const root = new HeldRoot(folderPlace(bench).open(), holds);
  const limits = { ...RETRY_AT_ONCE, largeBytes: LARGE_BYTES };
  const backup = startBackup(bench, set, folderPlace(bench), { store: root, limits, ...more });
  bench.onEnd(() => root.release());
  return { set, root, backup };
}

/** `slow-0.db` and so on. */
function createSlow(set: FakeDatabaseSet, rows: number): FakeDatabase[] {
  return Array.from({ length: SLOW }, (_, i) => {
    const db = set.create(`slow-${i}.db`);
    db.write(CREATE);
    if (rows > 0) db.write(insert(rows));
    return db;
  });
}

function isSlow(name: string): boolean {
  return name.startsWith('slow-');
}

/** A database with backup gets its increments there. */
async function expectIncrements(db: FakeDatabase, backup: Backup): Promise<void> {
  for (let i = 0; i < 3; i++) {
    db.write(insert(1));
    await untilStored(backup, db.name, db.position.txid);
  }
}

test("large snapshots that hang hold up neither another's increments nor the first snapshot of a small one", () =>
  withWorkbench(async (bench) => {
    const set = newSet(bench);
    const good = set.create('good.db');
    good.write(CREATE);
    const holds = { put: (name: string, { level }: { level: number }) => isSlow(name) && level === LEVEL_SNAPSHOT };
    const { root, backup } = heldBackup(bench, set, holds);
    await untilStored(backup, 'good.db', 1);
    const slow = createSlow(set, 2000);
    await until('snapshots hang', () => root.waiting > 0);
    await expectIncrements(good, backup);
    const small = set.create('small.db');
    small.write(CREATE);
    await untilStored(backup, 'small.db', 1);
    await expectIncrements(small, backup);
    assert.is(root.waiting, 2, 'no more at a time than the limit says');
    root.release();
    for (const db of slow) await untilStored(backup, db.name, 2);
  }));

test("small snapshots that wait for their image do not hold up another's increments", () =>
  withWorkbench(async (bench) => {
    const set = newSet(bench);
    const good = set.create('good.db');
    good.write(CREATE);
    const { backup } = heldBackup(bench, set, {});
    await untilStored(backup, 'good.db', 1);
    let pin = (): void => undefined;
    const pinned = new Promise<void>((resolve) => {
      pin = resolve;
    });
    set.beforeSnapshot = (name) => (isSlow(name) ? pinned : Promise.resolve());
    const slow = createSlow(set, 0);
    await expectIncrements(good, backup);
    pin();
    for (const db of slow) await untilStored(backup, db.name, 1);
  }));

test("large transactions that hang do not hold up another's increments", () =>
  withWorkbench(async (bench) => {
    const set = newSet(bench);
    const good = set.create('good.db');
    good.write(CREATE);
    const slow = createSlow(set, 0);
    const holds = { put: (name: string, { level }: { level: number }) => isSlow(name) && level === LEVEL_INCREMENT };
    const { root, backup } = heldBackup(bench, set, holds);
    for (const db of [good, ...slow]) await untilStored(backup, db.name, 1);
    for (const db of slow) db.write(insert(2000));
    await until('uploads hang', () => root.waiting > 0);
    await expectIncrements(good, backup);
    assert.is(root.waiting, 2, 'no more at a time than the limit says');
    root.release();
    for (const db of slow) await untilStored(backup, db.name, 2);
  }));

test("first looks that take long do not hold up another's increments", () =>
  withWorkbench(async (bench) => {
    const set = newSet(bench);
    const good = set.create('good.db');
    good.write(CREATE);
    const { root, backup } = heldBackup(bench, set, { list: isSlow });
    await untilStored(backup, 'good.db', 1);
    const slow = createSlow(set, 0);
    await until('listings hang', () => root.waiting > 0);
    await expectIncrements(good, backup);
    root.release();
    for (const db of slow) await untilStored(backup, db.name, 1);
  }));

test('what is committed within an interval is one upload, and none comes before it is over', () =>
  withApp(async ({ bench, set, app, place }) => {
    const events: UploadEvent[] = [];
    const hooks = { uploaded: (event: UploadEvent) => events.push(event) };
    const backup = startBackup(bench, set, place, { intervalMs: 60_000, hooks });
    await untilStored(backup, 'app.db', 1);
    for (let i = 0; i < 10; i++) {
      app.write(insert(1));
      await sleep(20);
    }
    assert.is(events.length, 1, 'the snapshot');
    assert.is(await backup.flush(), true);
    assert.equal(
      events.map(({ level, transactions }) => [level, transactions]),
      [
        [LEVEL_SNAPSHOT, 1],
        [LEVEL_INCREMENT, 10],
      ],
    );
  }));

test('what is committed during an upload waits for an interval of its own', () =>
  withApp(async ({ bench, set, app, place }) => {
    const events: UploadEvent[] = [];
    const hooks = {
      uploaded: (event: UploadEvent) => {
        events.push(event);
        if (event.position.txid < 5) app.write(insert(1));
      },
    };
    const backup = startBackup(bench, set, place, { intervalMs: 60_000, hooks });
    await untilStored(backup, 'app.db', 1);
    await sleep(200);
    assert.is(events.length, 1);
    assert.is(backup.status().databases[0]!.txid, '0000000000000001');
    while (!(await backup.flush())) assert.ok(events.length < 10);
    assert.is(backup.status().databases[0]!.txid, '0000000000000005');
  }));

test('a database that is never at rest is uploaded all the same', () =>
  withApp(async ({ bench, set, app, place }) => {
    const events: UploadEvent[] = [];
    const hooks = { uploaded: (event: UploadEvent) => events.push(event) };
    const backup = startBackup(bench, set, place, { intervalMs: 300, hooks });
    await untilStored(backup, 'app.db', 1);
    const deadlineMs = performance.now() + 15_000;
    while (events.length < 3) {
      assert.ok(performance.now() < deadlineMs, 'it is uploaded while commits go on');
      app.write('update t set x = 1 where id = 1; insert into t(x) values (1)');
      await sleep(20);
    }
  }));

test.run();
