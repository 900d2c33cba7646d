import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/config/load.js';
import { restoreOnStart } from '../../src/restore-on-start.js';
import { expectRestored, folderPlace, insert, newSet, startBackup, untilStored } from '../backup/scenario.js';
import { filesBelow, TestLog, type Workbench, withWorkbench } from '../backup/workbench.js';
import { Uploader } from '../feed/feed-scene.js';
import { positions } from './positions.js';

interface Setup {
  readonly data: string;
  readonly log: TestLog;
  start(more?: { served?: boolean; restore?: string }): Promise<void>;
}

async function setUp(bench: Workbench): Promise<Setup> {
  const data = join(bench.folder, 'data');
  const log = new TestLog();
  const start = async ({ served = false, restore = 'if-missing' } = {}) => {
    const file = join(bench.folder, 'sluice.yml');
    writeFileSync(file, JSON.stringify({ data, restore, backup: { url: folderPlace(bench).url } }));
    const config = loadConfig({ file });
    await restoreOnStart({ config, served, log });
  };
  return { data, log, start };
}

/** Two databases in a store. */
async function fill(bench: Workbench) {
  const set = newSet(bench);
  const backup = startBackup(bench, set, folderPlace(bench));
  const apps = ['app.db', 'tenants/7.db'].map((name) => set.create(name));
  for (const app of apps) {
    app.write('create table t(id integer primary key, x)');
    app.write(insert(100));
    await untilStored(backup, app.name, 2);
  }
  await backup.stop();
  return { set, apps };
}

test('an empty data folder gets all databases, at the positions of their backups', () =>
  withWorkbench(async (bench) => {
    const { apps } = await fill(bench);
    const { data, start } = await setUp(bench);
    await start();
    for (const app of apps) assert.ok(readFileSync(join(data, 'files', app.name)).equals(app.image));
    assert.equal(await positions(data), new Map(apps.map(({ name, position }) => [name, position])));
    assert.not.ok(existsSync(join(data, 'restore')));
    // A second start finds them.
    const before = filesBelow(data, '');
    await start();
    assert.equal(filesBelow(data, ''), before);
  }));

test('the backup goes on from there without a new snapshot', () =>
  withWorkbench(async (bench) => {
    const { set, apps } = await fill(bench);
    const snapshots = filesBelow(join(bench.folder, 'store'), '.ltx').filter((path) => path.includes('/9/'));
    const { data, start } = await setUp(bench);
    await start();
    const [app] = apps;
    assert.equal((await positions(data)).get('app.db'), app!.position);
    app!.write(insert(10));
    const backup = startBackup(bench, set, folderPlace(bench), { owner: 'another/process' });
    await untilStored(backup, 'app.db', 3);
    await backup.stop();
    const after = filesBelow(join(bench.folder, 'store'), '.ltx').filter((path) => path.includes('/9/'));
    assert.equal(after, snapshots);
    await expectRestored(bench, folderPlace(bench), app!);
  }));

test('nothing is restored where a database is, where a node served before, or where it is not asked for', () =>
  withWorkbench(async (bench) => {
    await fill(bench);
    const { data, start } = await setUp(bench);
    await start({ restore: 'never' });
    await start({ served: true });
    assert.not.ok(existsSync(data));
    mkdirSync(join(data, 'files'), { recursive: true });
    const own = newSet(bench).create('own.db');
    own.write('create table t(x)');
    writeFileSync(join(data, 'files/own.db'), own.image);
    await start();
    assert.equal(readdirSync(join(data, 'files')), ['own.db']);
  }));

test('a store without a database: the node starts empty, and says so', () =>
  withWorkbench(async (bench) => {
    const { data, log, start } = await setUp(bench);
    await start();
    assert.equal(readdirSync(join(data, 'files')), []);
    assert.ok(log.lines.some((line) => line.includes('the store has no database')));
  }));

test('what cannot be restored keeps the node from starting, and nothing looks finished', () =>
  withWorkbench(async (bench) => {
    const { apps } = await fill(bench);
    const store = join(bench.folder, 'store');
    const damaged = join(store, 'tenants/7.db', filesBelow(join(store, 'tenants/7.db'), '.ltx').at(-1)!);
    const bytes = readFileSync(damaged);
    writeFileSync(damaged, bytes.subarray(0, bytes.length - 10));
    const { data, start } = await setUp(bench);
    const code = await start().then(
      () => undefined,
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    );
    assert.match(code ?? '', /^RESTORE_.*the node does not start without/);
    assert.equal(readdirSync(join(data, 'files')), []);
    writeFileSync(damaged, bytes);
    await start();
    assert.equal(await positions(data), new Map(apps.map(({ name, position }) => [name, position])));
  }));

test('a damaged file that other files lead around: the node starts, and the log names it', () =>
  withWorkbench(async (bench) => {
    const { apps } = await fill(bench);
    const folder = join(bench.folder, 'store/tenants/7.db');
    for (const name of filesBelow(folder, '.json')) rmSync(join(folder, name));
    apps[1]!.write(insert(10));
    const uploader = new Uploader(folderPlace(bench).open(), apps[1]!);
    await uploader.increment(3);
    await uploader.snapshot();
    const newest = join(folder, 'ltx/9/0000000000000001-0000000000000003.ltx');
    writeFileSync(newest, readFileSync(newest).fill(0, 120, 140));
    const { data, log, start } = await setUp(bench);
    await start();
    assert.ok(readFileSync(join(data, 'files/tenants/7.db')).equals(apps[1]!.image));
    const told = log.lines.filter((line) => line.includes('without a file'));
    assert.is(told.length, 1);
    assert.match(told[0]!, /tenants\/7\.db was restored without .* level 9, 0000000000000001-0000000000000003\.ltx: /);
  }));

test('cut short while files are moved to their places: the next start goes on, whatever the config says then', () =>
  withWorkbench(async (bench) => {
    const { apps } = await fill(bench);
    const { data, start } = await setUp(bench);
    mkdirSync(join(data, 'files/tenants/7.db'), { recursive: true });
    assert.is(await start().catch((error: { code: string }) => error.code), 'RESTORE_EXISTS');
    assert.ok(existsSync(join(data, 'files/app.db')), 'the first is in its place');
    assert.ok(existsSync(join(data, 'restore/plan.json')));
    rmSync(join(data, 'files/tenants/7.db'), { recursive: true });
    // As if the machine had stopped between the file and its state.
    rmSync(join(data, 'meta'), { recursive: true });
    await start({ restore: 'never' });
    assert.equal(await positions(data), new Map(apps.map(({ name, position }) => [name, position])));
    assert.not.ok(existsSync(join(data, 'restore')));
  }));

test('cut short before that: it begins anew', () =>
  withWorkbench(async (bench) => {
    const { apps } = await fill(bench);
    const { data, start } = await setUp(bench);
    await start();
    // Only the files are there, under the names that they had while not all of them were.
    mkdirSync(join(data, 'restore'));
    renameSync(join(data, 'files/app.db'), join(data, 'restore/0.db'));
    rmSync(join(data, 'files'), { recursive: true });
    rmSync(join(data, 'meta'), { recursive: true });
    await start();
    assert.equal(await positions(data), new Map(apps.map(({ name, position }) => [name, position])));
  }));

test.run();
