import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorCode } from '../../src/errors.js';
import { followFile } from '../../src/feed/index.js';
import type { Position } from '../../src/ltx/index.js';
import { type CountedStore, countRequests } from '../backup/counted-store.js';
import type { FakeDatabase } from '../backup/fake-databases.js';
import { CREATE, insert, newSet } from '../backup/scenario.js';
import { filesBelow, type Workbench, withWorkbench } from '../backup/workbench.js';
import { until } from '../support/until.js';
import { openFolder, Uploader } from './feed-scene.js';

const FAST = { listMs: 20, retryMinMs: 10, retryMaxMs: 50, drainMs: 2_000 };

interface Scene {
  readonly bench: Workbench;
  readonly app: FakeDatabase;
  readonly uploader: Uploader;
  readonly output: string;
}

function withScene(mode: 'wal' | 'rollback', body: (scene: Scene) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const app = newSet(bench).create('app.db');
    app.saysWal = mode === 'wal';
    app.write(CREATE);
    const uploader = new Uploader(openFolder(bench), app);
    await uploader.snapshot();
    app.write(insert(100));
    await uploader.increment(2);
    await uploader.publish();
    await body({ bench, app, uploader, output: join(bench.folder, 'copies/app.db') });
  });
}

/** A follower that runs until it is stopped. */
class Follower {
  position: Position | undefined;
  /** Each time that it says so. */
  readonly caughtUp: Position[] = [];
  readonly troubles: string[] = [];
  readonly store: CountedStore;
  private readonly abort = new AbortController();
  private readonly done: Promise<Position>;

  constructor({ bench, uploader, output }: Scene, force = false) {
    this.store = countRequests(uploader.store);
    this.done = followFile({
      store: this.store,
      output,
      intervalMs: 20,
      force,
      signal: this.abort.signal,
      onPosition: (position) => {
        this.position = position;
      },
      onCaughtUp: (position) => this.caughtUp.push(position),
      onTrouble: ({ code }, isNew) => {
        if (isNew) this.troubles.push(code);
      },
      limits: FAST,
    });
    this.done.catch(() => undefined);
    bench.onEnd(() => this.stop().catch(() => undefined));
  }

  stop(): Promise<Position> {
    this.abort.abort();
    return this.done;
  }

  async failure(): Promise<string | undefined> {
    return this.done.then(
      () => undefined,
      (error: unknown) => errorCode(error),
    );
  }

  async reach(app: FakeDatabase): Promise<void> {
    await until(`the file is at ${app.position.txid}`, () => this.position?.txid === app.position.txid);
    assert.is(this.position?.checksum, app.position.checksum);
  }
}

function count(db: Database.Database): unknown {
  return db.prepare('select count(*) from t').pluck().get();
}

for (const mode of ['wal', 'rollback'] as const) {
  test(`${mode}: readers see one state or the next, however long they read`, () =>
    withScene(mode, async (scene) => {
      const { app, uploader, output } = scene;
      const follower = new Follower(scene);
      await follower.reach(app);
      await until('it says that it is there', () => follower.caughtUp.length > 0);
      assert.equal(follower.caughtUp, [app.position]);
      const reader = new Database(output, { readonly: true });
      assert.is(reader.pragma('journal_mode', { simple: true }), mode === 'wal' ? 'wal' : 'delete');
      reader.exec('begin');
      assert.is(count(reader), 100);
      app.write(insert(50));
      app.write('update t set x = 1');
      await uploader.increment(3);
      await uploader.publish();
      if (mode === 'wal') await follower.reach(app);
      else await until('a look', () => follower.store.requests.get > 2);
      assert.is(count(reader), 100);
      reader.exec('commit');
      await follower.reach(app);
      assert.is(count(reader), 150);
      app.write('delete from t where id > 20; vacuum');
      await uploader.increment(5);
      await uploader.publish();
      await follower.reach(app);
      assert.is(count(reader), 20);
      reader.close();
      assert.equal(await follower.stop(), app.position);
      assert.is(follower.caughtUp.length, 1, 'it is told once');
      assert.ok(readFileSync(output).equals(app.image), 'the file is the database as it was backed up');
      assert.equal(readdirSync(dirname(output)).sort(), ['app.db', 'app.db-sluice-pos']);
      assert.equal(follower.troubles, []);
    }));

  test(`${mode}: goes on from where it was`, () =>
    withScene(mode, async (scene) => {
      const { app, uploader, output } = scene;
      const first = new Follower(scene);
      await first.reach(app);
      await first.stop();
      app.write(insert(5));
      await uploader.increment(3);
      await uploader.publish();
      const second = new Follower(scene);
      await second.reach(app);
      assert.is(second.store.requests.get, 1, 'only what is missing was fetched');
      await second.stop();
      // As a crash leaves it: the next position was written down, and the file did not get there.
      const path = `${output}-sluice-pos`;
      const [origin, ...positions] = readFileSync(path, 'utf8').split('\n');
      writeFileSync(path, [origin, '00000000000000ff/8000000000000001', ...positions].join('\n'));
      app.write(insert(5));
      await uploader.increment(4);
      await uploader.publish();
      const third = new Follower(scene);
      await third.reach(app);
      assert.is(third.store.requests.get, 1);
      await third.stop();
      assert.ok(readFileSync(output).equals(app.image));
    }));
}

test('a file that is there, or that others changed, gives way only with --force', () =>
  withScene('rollback', async (scene) => {
    const { app, output } = scene;
    const first = new Follower(scene);
    await first.reach(app);
    await first.stop();
    const own = new Database(output);
    own.exec('delete from t');
    own.close();
    const before = readFileSync(output);
    assert.is(await new Follower(scene).failure(), 'FOLLOW_CHANGED');
    assert.ok(readFileSync(output).equals(before));
    const forced = new Follower(scene, true);
    await forced.reach(app);
    await forced.stop();
    const copy = new Database(output, { readonly: true });
    assert.is(count(copy), 100);
    copy.close();

    const other = { ...scene, output: join(dirname(output), 'other.db') };
    copyFileSync(output, other.output);
    assert.is(await new Follower(other).failure(), 'RESTORE_EXISTS');
    const taken = new Follower(other, true);
    await taken.reach(app);
    await taken.stop();
    assert.ok(existsSync(`${other.output}-sluice-pos`));
  }));

test('a store of another history: what it has takes the place of the copy', () =>
  withScene('wal', async (scene) => {
    const { app, bench, output } = scene;
    const first = new Follower(scene);
    await first.reach(app);
    await first.stop();
    const other = newSet(bench).create('app.db');
    other.write(CREATE);
    for (let i = 0; i < 4; i++) other.write(insert(3));
    const uploader = new Uploader(openFolder(bench), other);
    uploader.generation = 2;
    uploader.owner = 'another/process';
    await uploader.snapshot();
    await uploader.publish();
    const second = new Follower({ ...scene, uploader });
    await second.reach(other);
    await second.stop();
    const copy = new Database(output, { readonly: true });
    assert.is(count(copy), 12);
    copy.close();
  }));

test('a damaged snapshot: that it is as the backup is, is said when it is so', () =>
  withScene('wal', async (scene) => {
    const { app, uploader, output } = scene;
    const folder = fileURLToPath(uploader.store.url);
    const path = join(folder, filesBelow(folder, '.ltx').find((name) => name.includes('ltx/9/'))!);
    const whole = readFileSync(path);
    writeFileSync(path, Buffer.from(whole).fill(0, 120, 140));
    const follower = new Follower(scene);
    await until('the damage is told', () => follower.troubles.length > 0);
    const gets = follower.store.requests.get;
    await until('it is tried again', () => follower.store.requests.get > gets + 1);
    assert.equal(follower.caughtUp, []);
    assert.not.ok(existsSync(output));
    writeFileSync(path, whole);
    await follower.reach(app);
    await until('it says that it is there', () => follower.caughtUp.length > 0);
    assert.equal(follower.caughtUp, [app.position]);
    await follower.stop();
  }));

test.run();
