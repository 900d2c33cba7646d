import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Backup, decodeManifest } from '../../src/backup/index.js';
import { mergeEntries } from '../../src/backup/merge.js';
import type { Position } from '../../src/ltx/index.js';
import { until } from '../support/until.js';
import type { FakeDatabase, FakeDatabaseSet } from './fake-databases.js';
import {
  bucketPlace,
  expectLitestreamRestores,
  expectRestored,
  folderPlace,
  insert,
  newApp,
  newSet,
  type Place,
  startBackup,
  untilStored,
} from './scenario.js';
import { filesBelow, type Workbench, withWorkbench } from './workbench.js';

/** Two primaries on one store. */

const NEVER_MS = 1e13;
const POLICY = { levelsMs: [30], snapshotMs: NEVER_MS, retain: { ageMs: NEVER_MS, snapshots: 2, fineMs: NEVER_MS } };

interface Node {
  readonly set: FakeDatabaseSet;
  readonly app: FakeDatabase;
  readonly backup: Backup;
  /** What it was told about being fenced. */
  readonly fenced: Position[];
}

function start(bench: Workbench, place: Place, owner: string, set: FakeDatabaseSet): Omit<Node, 'app'> {
  const fenced: Position[] = [];
  const hooks = { fenced: (_name: string, after: Position) => void fenced.push(after) };
  return { set, backup: startBackup(bench, set, place, { owner, policy: POLICY, hooks }), fenced };
}

/** One with `app.db`, and a copy of it that knows nothing of the first. */
async function twoNodes(bench: Workbench, place: Place): Promise<[Node, Node]> {
  const { set, app } = newApp(bench);
  const first = { app, ...start(bench, place, 'first/1', set) };
  await untilStored(first.backup, 'app.db', 1);
  for (let i = 0; i < 4; i++) {
    app.write(insert(20));
    await untilStored(first.backup, 'app.db', app.position.txid);
  }
  const others = newSet(bench);
  const copy = app.copyTo(others);
  return [first, { app: copy, ...start(bench, place, 'second/1', others) }];
}

function codes(backup: Backup): string[] {
  return backup.problems().map((problem) => problem.code);
}

async function interleave(bench: Workbench, place: Place): Promise<void> {
  const [first, second] = await twoNodes(bench, place);
  second.app.write(insert(20));
  await untilStored(second.backup, 'app.db', 6);
  // The first one does not know yet. Its history parts here.
  first.app.write(insert(30));
  first.app.write(insert(30));
  await until('the first is fenced', () => codes(first.backup).includes('STORE_FENCED'));
  await until('it is told what is stored', () => first.fenced.length > 0);
  assert.equal(first.fenced, [first.app.log.get(5)!.after]);
  for (let i = 0; i < 3; i++) {
    first.app.write(insert(10));
    second.app.write(insert(20));
    await untilStored(second.backup, 'app.db', second.app.position.txid);
  }
  await expectRestored(bench, place, second.app);
  await until('what the first left is set aside', async () => {
    const read = await place.open().database('app.db').readManifest();
    return read !== undefined && read !== 'same' && decodeManifest(read.bytes).files.some((file) => file.level === 1);
  });
  assert.equal(codes(second.backup), []);
  assert.equal(codes(first.backup), ['STORE_FENCED']);
  assert.is(first.fenced.length, 1, 'told once');
  await expectRestored(bench, place, second.app);
  expectLitestreamRestores(bench, place, second.app);
}

test('a folder: the second primary goes on, the first stops and says so', () =>
  withWorkbench((bench) => interleave(bench, folderPlace(bench))));

test('a bucket: the second primary goes on, the first stops and says so', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place !== undefined) await interleave(bench, place);
  }));

test('a primary with another history takes nothing over, and the first does not notice', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const [first] = await twoNodes(bench, place);
    for (const transactions of [2, 9]) {
      const others = newSet(bench);
      const stranger = others.create('app.db');
      for (let i = 0; i < transactions; i++)
        stranger.write(i === 0 ? 'create table other(x)' : 'insert into other values (1)');
      const backup = startBackup(bench, others, place, { owner: `stranger-${transactions}/1` });
      const code = transactions === 2 ? 'STORE_AHEAD' : 'STORE_DIVERGED';
      await until('it says so', () => codes(backup).includes(code));
      await backup.stop();
    }
    first.app.write(insert(5));
    await untilStored(first.backup, 'app.db', first.app.position.txid);
    assert.equal(codes(first.backup), []);
    await expectRestored(bench, place, first.app);
  }));

test('a node that starts again goes on with what it stored before', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const [first, second] = await twoNodes(bench, place);
    await second.backup.stop();
    await first.backup.stop();
    const again = startBackup(bench, first.set, place, { owner: 'first/2' });
    first.app.write(insert(5));
    await untilStored(again, 'app.db', first.app.position.txid);
    assert.equal(codes(again), []);
    assert.is(
      filesBelow(place.folder, '.ltx').filter((path) => path.includes('/9/')).length,
      1,
      'no snapshot was needed',
    );
    await expectRestored(bench, place, first.app);
  }));

test('an upload that a node had lost the store for is in nobody’s way, though it would lead on', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { set, app } = newApp(bench);
    const backup = startBackup(bench, set, place, { owner: 'first/1' });
    await untilStored(backup, 'app.db', 1);
    await backup.stop();
    const other = app.copyTo(newSet(bench));
    for (let i = 0; i < 3; i++) other.write(insert(10 + i));
    const store = place.open().database('app.db');
    for (const txid of [2, 3, 4]) {
      const key = { level: 0, minTxid: txid, maxTxid: txid };
      await store.put({ ...key, timestampMs: 1 }, other.log.get(txid)!.bytes());
    }
    const again = startBackup(bench, set, place, { owner: 'first/2' });
    app.write(insert(5));
    await untilStored(again, 'app.db', 2);
    assert.equal(codes(again), []);
    await expectRestored(bench, place, app);
    expectLitestreamRestores(bench, place, app);
    assert.is(filesBelow(place.folder, '').filter((path) => path.includes('set-aside/0/')).length, 3);
  }));

test('an upload of several transactions that a node had lost the store for, and the owner starts again before it was found', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { set, app } = newApp(bench);
    const backup = startBackup(bench, set, place, { owner: 'first/1' });
    await untilStored(backup, 'app.db', 1);
    const other = app.copyTo(newSet(bench));
    for (let i = 0; i < 3; i++) other.write(insert(300 + i));
    for (let i = 0; i < 4; i++) {
      app.write(insert(20 + i));
      await untilStored(backup, 'app.db', app.position.txid);
    }
    await backup.stop();
    const { bytes, timestampMs } = await mergeEntries([2, 3, 4].map((txid) => other.log.get(txid)!));
    await place.open().database('app.db').put({ level: 0, minTxid: 2, maxTxid: 4, timestampMs }, bytes);
    const again = startBackup(bench, set, place, { owner: 'first/2', policy: POLICY });
    for (let i = 0; i < 2; i++) {
      app.write(insert(5));
      await untilStored(again, 'app.db', app.position.txid);
      await expectRestored(bench, place, app);
    }
    await until('files are merged', async () => {
      const read = await place.open().database('app.db').readManifest();
      return read !== undefined && read !== 'same' && decodeManifest(read.bytes).files.some((file) => file.level === 1);
    });
    assert.equal(codes(again), []);
    await expectRestored(bench, place, app);
    const aside = filesBelow(place.folder, '').filter((path) => path.includes('set-aside/0/'));
    assert.is(aside.length, 1);
    assert.match(aside[0]!, '0000000000000002-0000000000000004.ltx');
  }));

for (const [what, bytes] of [
  ['damaged', '{"version":1,"gener'],
  ['of a newer version', '{"version":3,"generation":7}'],
] as const) {
  test(`a manifest that is ${what}`, () =>
    withWorkbench(async (bench) => {
      const place = folderPlace(bench);
      const { set, app } = newApp(bench);
      const backup = startBackup(bench, set, place);
      await untilStored(backup, 'app.db', 1);
      await backup.stop();
      const store = place.open().database('app.db');
      const there = await store.readManifest();
      assert.ok(there !== undefined && there !== 'same');
      await store.writeManifest(Buffer.from(bytes), there.tag);
      const again = startBackup(bench, set, place, { owner: 'node/2' });
      app.write(insert(5));
      if (what === 'damaged') {
        await untilStored(again, 'app.db', 2);
        assert.equal(codes(again), []);
        await expectRestored(bench, place, app);
      } else {
        await until('it is left alone', () => codes(again).includes('BACKUP_FAILING'));
        const left = await store.readManifest();
        assert.ok(left !== undefined && left !== 'same');
        assert.is(Buffer.from(left.bytes).toString(), bytes);
      }
    }));
}

test.run();
