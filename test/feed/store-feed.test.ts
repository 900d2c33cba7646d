import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Store, StoredManifest, StoreRoot } from '../../src/backup/index.js';
import { mergeEntries } from '../../src/backup/merge.js';
import { SluiceError } from '../../src/errors.js';
import { type CountedStore, countRequests as countStoreRequests } from '../backup/counted-store.js';
import type { FakeDatabase } from '../backup/fake-databases.js';
import { withAppAndFaultyBucket } from '../backup/faulty-bucket.js';
import { countRequests } from '../backup/request-count.js';
import { insert, newApp, newSet, startBackup, untilStored } from '../backup/scenario.js';
import { type Workbench, withWorkbench } from '../backup/workbench.js';
import { until } from '../support/until.js';
import { FedReplica, openFolder, Uploader } from './feed-scene.js';
import { noRoom } from './file-applier.js';

/** `app.db` with three transactions in a store: a snapshot of the first, and a file of the two others. */
async function fill(bench: Workbench): Promise<{ app: FakeDatabase; root: StoreRoot; uploader: Uploader }> {
  const { app } = newApp(bench);
  const root = openFolder(bench);
  const uploader = new Uploader(root, app);
  await uploader.snapshot();
  app.write(insert(50));
  app.write(insert(50));
  await uploader.increment(2);
  await uploader.publish();
  return { app, root, uploader };
}

async function untilSame(replica: FedReplica, app: FakeDatabase): Promise<void> {
  await until(`${app.name} is at ${app.position.txid}`, () => {
    const held = replica.sink.positions().get(app.name);
    if (held?.txid === app.position.txid && held.checksum === app.position.checksum) return true;
    throw new Error(`it is at ${held?.txid}: ${JSON.stringify(replica.feed?.problems())}`);
  });
  assert.ok(replica.image(app.name).equals(app.image), 'the replica has what the primary has');
}

function setAsides(replica: FedReplica): string[] {
  return existsSync(replica.folder.setAside) ? readdirSync(replica.folder.setAside) : [];
}

test('takes a snapshot and the files behind it, and goes on with what comes', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await replica.feed!.caughtUp;
    await untilSame(replica, app);
    assert.equal(replica.applier.calls, ['replace app.db', 'apply app.db']);
    await until('it lags behind nothing', () => replica.feed!.lagMs('app.db') === 0);
    await until('it is connected', () => replica.feed!.status().connected);
    app.write(insert(20));
    await uploader.increment(4);
    await uploader.publish();
    await untilSame(replica, app);
    app.write('delete from t where id > 10; vacuum');
    app.write(insert(5));
    await uploader.increment(5);
    await uploader.publish();
    await untilSame(replica, app);
    await until('it is well', () => replica.feed!.problems().length === 0);
  }));

test('a file that begins before the position leads on from it', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    app.write(insert(30));
    app.write('update t set x = 1 where id % 3 = 0');
    uploader.files = uploader.files.slice(0, 1);
    await uploader.increment(2, 1);
    await uploader.publish();
    await untilSame(replica, app);
    assert.is(replica.applier.calls.at(-1), 'apply app.db');
    const { log } = replica.sink.every()[0]!;
    assert.equal([log.first, log.last], [6, 5], 'the log has no transaction that is several');
    app.write(insert(1));
    await uploader.increment(6);
    await uploader.publish();
    await untilSame(replica, app);
    assert.equal(setAsides(replica), []);
  }));

for (const after of [false, true]) {
  test(`a crash ${after ? 'after' : 'before'} a file of several transactions is applied: the next start applies it again`, () =>
    withWorkbench(async (bench) => {
      const { app, root, uploader } = await fill(bench);
      const replica = await FedReplica.start(bench, root);
      await untilSame(replica, app);
      app.write(insert(30));
      app.write('update t set x = 1 where id % 3 = 0');
      let crashed: string | undefined;
      const copy = () => {
        crashed ??= replica.copy(bench);
      };
      // The copy is made within the call: the log has the file, the state does not.
      const apply = replica.applier.apply.bind(replica.applier);
      replica.applier.apply = async (name, ltx) => {
        if (!after) copy();
        await apply(name, ltx);
        copy();
      };
      await uploader.increment(4);
      await uploader.publish();
      await untilSame(replica, app);
      await replica.stop();
      // The store tells nothing: what is there must do.
      const { folder } = new FedReplica(crashed!);
      assert.ok(existsSync(folder.files));
      const again = new FedReplica(crashed!);
      bench.onEnd(() => again.sink.close());
      await again.sink.recover(false);
      await again.sink.resume();
      assert.equal(again.sink.positions().get('app.db'), app.position);
      assert.ok(again.image('app.db').equals(app.image));
    }));
}

test('a full disk: nothing changes, and it goes on when there is room', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    app.write(insert(30));
    app.write(insert(30));
    let faults = 0;
    const apply = replica.applier.apply.bind(replica.applier);
    replica.applier.apply = async (name, ltx) => {
      if (faults++ < 2) throw noRoom();
      await apply(name, ltx);
    };
    await uploader.increment(4);
    await uploader.publish();
    await until('it fails', () => replica.feed!.problems().some(({ code }) => code === 'REPLICA_FAILED'));
    await untilSame(replica, app);
    await until('it is well', () => replica.feed!.problems().length === 0);
    assert.equal(setAsides(replica), []);
  }));

test('what is of another history is set aside, and a snapshot takes its place', () =>
  withWorkbench(async (bench) => {
    const { app, root } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    await replica.stop();
    // Another life of the database: as many transactions, and more of them.
    rmSync(join(bench.folder, 'store'), { recursive: true });
    const other = newSet(bench).create('app.db');
    other.write('create table t(id integer primary key, x)');
    const uploader = new Uploader(root, other);
    uploader.owner = 'another/process';
    await uploader.snapshot();
    other.write(insert(7));
    other.write(insert(8));
    other.write(insert(9));
    await uploader.increment(2);
    await uploader.publish();
    const again = await FedReplica.start(bench, root, replica.root);
    await untilSame(again, other);
    assert.is(setAsides(again).length, 1);
    assert.match(setAsides(again)[0]!, /-behind$/);
  }));

test('a store that was begun anew under way: its generation is smaller, so what is here must be confirmed', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    uploader.generation = 7;
    await uploader.publish();
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    const other = newSet(bench).create('app.db');
    other.write('create table t(id integer primary key, x)');
    for (let i = 0; i < 5; i++) other.write(insert(3));
    renameSync(join(bench.folder, 'store'), join(bench.folder, 'store-before'));
    const next = new Uploader(root, other);
    await next.snapshot();
    await next.publish();
    await untilSame(replica, other);
    assert.is(setAsides(replica).length, 1);
  }));

test('another primary that goes on from where the store is: the replica goes on too', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    uploader.generation = 2;
    uploader.owner = 'second/process';
    await uploader.publish();
    app.write(insert(4));
    await uploader.increment(4);
    await uploader.publish();
    await untilSame(replica, app);
    assert.equal(setAsides(replica), []);
    assert.is(replica.applier.calls.filter((call) => call.startsWith('replace')).length, 1);
  }));

test('behind what the manifest leads from: a snapshot, and what was here came from the same run, so nothing is kept of it', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    await replica.stop();
    app.write(insert(10));
    app.write(insert(10));
    await uploader.snapshot();
    await uploader.publish();
    const again = await FedReplica.start(bench, root, replica.root);
    await untilSame(again, app);
    assert.equal(again.applier.calls, ['replace app.db']);
    assert.equal(setAsides(again), []);
  }));

for (const isThere of [true, false]) {
  test(`in the middle of a file that another primary merged: ${isThere ? 'what was uploaded says that it is right' : 'a snapshot'}`, () =>
    withWorkbench(async (bench) => {
      const { app, root, uploader } = await fill(bench);
      const replica = await FedReplica.start(bench, root);
      await untilSame(replica, app);
      await replica.stop();
      app.write(insert(10));
      uploader.owner = 'second/process';
      uploader.generation = 2;
      uploader.files = uploader.files.slice(0, 1);
      await uploader.increment(2, 1);
      if (!isThere) await uploader.store.delete([{ level: 0, minTxid: 2, maxTxid: 3 }]);
      await uploader.publish();
      const again = await FedReplica.start(bench, root, replica.root);
      await untilSame(again, app);
      assert.equal(again.applier.calls.slice(0, 1), [isThere ? 'apply app.db' : 'replace app.db']);
      assert.is(setAsides(again).length, isThere ? 0 : 1);
    }));
}

/** Counts what is asked of a root and its databases. */
function counted(root: StoreRoot): { root: StoreRoot; names(): number; stores: Map<string, CountedStore> } {
  const stores = new Map<string, CountedStore>();
  let names = 0;
  return {
    stores,
    names: () => names,
    root: {
      url: root.url,
      database: (name): Store => {
        const store = countStoreRequests(root.database(name));
        stores.set(name, store);
        return store;
      },
      databaseNames: (limit, known) => {
        names++;
        return root.databaseNames(limit, known);
      },
      close: () => root.close(),
      warning: () => root.warning(),
    },
  };
}

test('idle: one GET of the manifest each interval, no listing and nothing else', () =>
  withWorkbench(async (bench) => {
    const { app, root } = await fill(bench);
    const count = counted(root);
    const replica = await FedReplica.start(bench, count.root);
    await untilSame(replica, app);
    const { requests } = count.stores.get('app.db')!;
    const before = { ...requests };
    await until('many looks', () => requests.manifest >= before.manifest + 10);
    assert.equal({ ...requests, manifest: 0 }, { ...before, manifest: 0 });
    assert.equal([requests.list, requests.listAll], [0, 0]);
  }));

test('a bucket, idle: one conditional GET each interval, answered 304; a LIST when it starts, and never again', () =>
  withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
    app.write(insert(50));
    const backup = startBackup(bench, set, place);
    await untilStored(backup, 'app.db', app.position.txid);
    proxy.records.length = 0;
    const replica = await FedReplica.start(bench, place.open());
    await untilSame(replica, app);
    app.write(insert(50));
    await untilStored(backup, 'app.db', app.position.txid);
    await untilSame(replica, app);
    const lists = () => countRequests(proxy.records).list;
    const before = lists();
    assert.ok(before <= 2, 'the names at the root, and what is below one of them');
    await backup.stop();
    proxy.records.length = 0;
    const startMs = performance.now();
    await until('many looks', () => proxy.records.filter(({ status }) => status === 304).length >= 20);
    const looks = proxy.records.length;
    assert.ok(looks <= (performance.now() - startMs) / replica.intervalMs + 2, 'no more than one each interval');
    const others = proxy.records.filter(({ method, url }) => method !== 'GET' || !url.includes('manifest.json'));
    assert.equal(others, []);
  }));

test('a server that answers with the next version’s tag before it has its bytes', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    let early = false;
    const torn: StoreRoot = {
      url: root.url,
      databaseNames: (limit, known) => root.databaseNames(limit, known),
      close: () => root.close(),
      warning: () => root.warning(),
      database: (name) => {
        const store = root.database(name);
        let before: StoredManifest | undefined;
        return {
          ...countStoreRequests(store),
          readManifest: async (known) => {
            const found = await store.readManifest(known);
            if (found === undefined || found === 'same') return found;
            const bytes = early && before !== undefined ? before.bytes : found.bytes;
            early = false;
            before = found;
            return { bytes, tag: found.tag };
          },
        };
      },
    };
    const replica = await FedReplica.start(bench, torn);
    await untilSame(replica, app);
    app.write(insert(10));
    await uploader.increment(4);
    early = true;
    await uploader.publish();
    await untilSame(replica, app);
    assert.is(early, false);
  }));

test('without a manifest the files are listed', () =>
  withWorkbench(async (bench) => {
    const { app } = newApp(bench);
    const root = openFolder(bench);
    const uploader = new Uploader(root, app);
    await uploader.snapshot();
    app.write(insert(50));
    await uploader.increment(2);
    const count = counted(root);
    const replica = await FedReplica.start(bench, count.root);
    await untilSame(replica, app);
    app.write(insert(50));
    app.write(insert(5));
    await uploader.increment(3);
    await untilSame(replica, app);
    const { requests } = count.stores.get('app.db')!;
    await uploader.publish();
    app.write(insert(5));
    await uploader.increment(5);
    await uploader.publish();
    await untilSame(replica, app);
    const seen = requests.manifest;
    await until('the manifest is seen', () => requests.manifest >= seen + 3);
    const lists = requests.list;
    const manifests = requests.manifest;
    await until('many looks', () => requests.manifest >= manifests + 10);
    assert.is(requests.list, lists, 'with a manifest no more');
  }));

test('a store that cannot be read: reads go on, it is told, and it is followed again by itself', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    let isLost = false;
    const broken: StoreRoot = {
      ...root,
      url: root.url,
      databaseNames: async (limit, known) => {
        if (isLost) throw new SluiceError('STORE_FAILED', 'no answer');
        return root.databaseNames(limit, known);
      },
      close: () => root.close(),
      warning: () => root.warning(),
      database: (name) => {
        const store = countStoreRequests(root.database(name));
        return {
          ...store,
          readManifest: async (known) => {
            if (isLost) throw new SluiceError('STORE_FAILED', 'no answer');
            return store.readManifest(known);
          },
        };
      },
    };
    const replica = await FedReplica.start(bench, broken);
    await untilSame(replica, app);
    isLost = true;
    await until('it is lost', () => !replica.feed!.status().connected);
    assert.match(replica.feed!.status().lastError ?? '', /no answer/);
    app.write(insert(3));
    await uploader.increment(4);
    await uploader.publish();
    isLost = false;
    await untilSame(replica, app);
    await until('it is connected', () => replica.feed!.status().connected);
    assert.equal(replica.connections.slice(0, 3), [true, false, true]);
  }));

test('a damaged file: told, nothing of it is applied, and a snapshot passes it by', () =>
  withWorkbench(async (bench) => {
    const { app, root, uploader } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    const before = replica.image('app.db');
    app.write(insert(30));
    app.write(insert(30));
    const { bytes } = await mergeEntries([app.log.get(4)!, app.log.get(5)!]);
    await uploader.put(0, 4, 5, bytes.subarray(0, bytes.length - 20));
    await uploader.publish();
    await until('it is told', () => replica.feed!.problems().some(({ code }) => code.startsWith('LTX_')));
    assert.ok(replica.image('app.db').equals(before));
    const late = await FedReplica.start(bench, root);
    await late.feed!.caughtUp;
    assert.ok(late.image('app.db').equals(before), 'applications start with what can be had');
    await uploader.snapshot();
    await uploader.publish();
    await untilSame(replica, app);
    await until('it is well', () => replica.feed!.problems().length === 0);
  }));

test('finds databases that come later, and keeps those that the store does not have', () =>
  withWorkbench(async (bench) => {
    const { app, root } = await fill(bench);
    const replica = await FedReplica.start(bench, root);
    await untilSame(replica, app);
    const second = newSet(bench).create('tenants-7.db');
    second.write('create table t(id integer primary key, x)');
    const uploader = new Uploader(root, second);
    await uploader.snapshot();
    await uploader.publish();
    await untilSame(replica, second);
    await replica.stop();
    rmSync(join(bench.folder, 'store/tenants-7.db'), { recursive: true });
    const again = await FedReplica.start(bench, root, replica.root);
    await again.feed!.caughtUp;
    assert.equal(
      again.feed!.problems().map(({ name, code }) => `${code} ${name}`),
      ['NOT_IN_STORE tenants-7.db'],
    );
    assert.ok(again.image('tenants-7.db').equals(second.image));
  }));

test.run();
