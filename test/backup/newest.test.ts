import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeManifest, findNewest, type Manifest, type Newest, type Store } from '../../src/backup/index.js';
import { mergeEntries } from '../../src/backup/merge.js';
import { type FileBehind, followManifest } from '../../src/backup/newest.js';
import { CHECKSUM_FLAG } from '../../src/ltx/index.js';
import { type CountedStore, countRequests } from './counted-store.js';
import type { FakeDatabase } from './fake-databases.js';
import { filledStore, folderPlace, insert, newSet } from './scenario.js';
import { filesBelow, withWorkbench } from './workbench.js';

/** A checksum after a TXID, of one of two chains. */
function sum(txid: number, chain = 0): bigint {
  return txid === 0 ? 0n : CHECKSUM_FLAG | BigInt(100 * chain + txid);
}

function manifestUpTo(txid: number, checksum = sum(txid)): Manifest {
  const file = { level: 9, minTxid: 1, maxTxid: txid, sizeBytes: 1000, timeMs: 0, checksum };
  return { generation: 1, owner: 'test', writtenMs: 0, position: { txid, checksum }, files: [file] };
}

/** `min-max`, with the checksums before and after it. */
function behind(minTxid: number, maxTxid: number, preApply = sum(minTxid - 1), postApply = sum(maxTxid)): FileBehind {
  const header = { pageSize: 4096, commit: 1, minTxid, maxTxid, timestampMs: 0, preApply, postApply };
  return { file: { level: 0, minTxid, maxTxid, sizeBytes: 200, timeMs: 0 }, header };
}

function names(newest: Newest | undefined): string {
  if (newest === undefined) return 'listing';
  const text = (files: readonly { minTxid: number; maxTxid: number }[]): string =>
    files.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`).join(' ');
  const unfit = newest.unfit.map(({ file }) => file);
  return `${text(newest.files)} = ${newest.txid}${unfit.length === 0 ? '' : ` without ${text(unfit)}`}`;
}

test('nothing behind the manifest', () => {
  const newest = followManifest(manifestUpTo(7), []);
  assert.is(names(newest), '1-7 = 7');
  assert.is(newest!.checksum, sum(7));
});

test('what was uploaded since', () => {
  const newest = followManifest(manifestUpTo(7), [behind(8, 9), behind(10, 10)]);
  assert.is(names(newest), '1-7 8-9 10-10 = 10');
  assert.is(newest!.checksum, sum(10));
});

test('of two that continue it the one that ends last', () => {
  assert.is(names(followManifest(manifestUpTo(7), [behind(8, 8), behind(8, 9), behind(9, 9)])), '1-7 8-9 = 9');
});

test('a file of another chain is left out, and told, with what leads on from it', () => {
  const other = [behind(8, 9, sum(7, 1), sum(9, 1)), behind(10, 12, sum(9, 1), sum(12, 1))];
  assert.is(names(followManifest(manifestUpTo(7), other)), '1-7 = 7 without 8-9 10-12');
  assert.is(names(followManifest(manifestUpTo(7), [behind(8, 8), ...other])), '1-7 8-8 = 8 without 8-9 10-12');
  assert.is(names(followManifest(manifestUpTo(7), [behind(8, 12), ...other])), '1-7 8-12 = 12');
});

test('a manifest that does not know its checksum takes what follows it', () => {
  assert.is(names(followManifest(manifestUpTo(7, 0n), [behind(8, 9, sum(7, 1))])), '1-7 8-9 = 9');
});

test('a hole, or a file that does not say what it follows: only all files can tell', () => {
  assert.is(names(followManifest(manifestUpTo(7), [behind(9, 9)])), 'listing');
  assert.is(names(followManifest(manifestUpTo(7), [behind(8, 8), behind(10, 10)])), 'listing');
  assert.is(names(followManifest(manifestUpTo(7), [behind(8, 8, 0n)])), 'listing');
});

interface Filled {
  readonly app: FakeDatabase;
  readonly store: CountedStore;
  readonly folder: string;
  /** Uploads the transactions from `minTxid` on, of which none is merged. */
  upload(database: FakeDatabase, minTxid: number): Promise<void>;
}

/** A store of `app.db` with ends at TXID 1, 2, 5 and 8, and a manifest that leads up to 5. */
function withManifest(body: (filled: Filled) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { app } = await filledStore(bench, place);
    const plain = place.open().database('app.db');
    const files = (await plain.listAll()).filter(({ maxTxid }) => maxTxid <= 5);
    const way = [files.at(-1)!, ...files.slice(0, -1)].map((file) => ({ ...file, checksum: 0n }));
    const position = app.log.get(5)!.after;
    await replaceManifest(plain, { generation: 1, owner: 'test', writtenMs: 0, position, files: way });
    const upload = async (database: FakeDatabase, minTxid: number): Promise<void> => {
      const entry = database.log.get(minTxid)!;
      await plain.put({ level: 0, minTxid, maxTxid: minTxid, timestampMs: 0 }, entry.bytes());
    };
    await body({ app, store: countRequests(plain), folder: join(place.folder, 'app.db'), upload });
  });
}

async function replaceManifest(store: Store, manifest: Manifest): Promise<void> {
  const there = await store.readManifest();
  await store.writeManifest(encodeManifest(manifest), there === undefined || there === 'same' ? undefined : there.tag);
}

test('one GET of the manifest, a LIST behind it and one of the snapshots, and the headers of what came since', () =>
  withManifest(async ({ app, store }) => {
    const newest = await findNewest(store);
    assert.is(names(newest), '1-1 2-2 3-5 6-8 = 8');
    assert.is(newest.checksum, app.position.checksum);
    assert.is(newest.manifest?.position.txid, 5);
    assert.equal(store.requests, { manifest: 1, list: 2, listAll: 0, get: 1 });
  }));

test('a file that another primary left behind the manifest is not used', () =>
  withManifest(async ({ app, store, upload }) => {
    await withWorkbench(async (bench) => {
      const other = newSet(bench).create('app.db');
      for (let txid = 1; txid <= 10; txid++) other.write(txid === 1 ? 'create table t(x)' : insert(1));
      await upload(other, 9);
      await upload(other, 10);
    });
    const newest = await findNewest(store);
    assert.is(names(newest), '1-1 2-2 3-5 6-8 = 8 without 9-9 10-10');
    assert.is(newest.checksum, app.position.checksum);
  }));

const LISTED: [string, (filled: Filled) => unknown][] = [
  ['no manifest', ({ folder }) => rmSync(join(folder, filesBelow(folder, '.json')[0]!))],
  [
    'a manifest that is not understood',
    ({ folder }) => writeFileSync(join(folder, filesBelow(folder, '.json')[0]!), '{"version":7}'),
  ],
  [
    'a manifest that knows no way',
    async ({ store, app }) => {
      const position = app.log.get(5)!.after;
      await replaceManifest(store, { generation: 1, owner: 'test', writtenMs: 0, position, files: [] });
    },
  ],
  [
    'a damaged header behind the manifest',
    ({ folder }) => writeFileSync(join(folder, 'ltx/0/0000000000000006-0000000000000008.ltx'), 'x'.repeat(300)),
  ],
];

for (const [what, change] of LISTED) {
  test(`${what}: a listing of all files`, () =>
    withManifest(async (filled) => {
      await change(filled);
      const newest = await findNewest(filled.store);
      assert.is(newest.txid, 8);
      assert.is(newest.manifest, undefined);
      assert.is(filled.store.requests.listAll, 1);
    }));
}

test('a snapshot that the manifest does not name is left out, and told', () =>
  withManifest(async ({ store, app }) => {
    const snapshot = await app.snapshot();
    await store.put({ level: 9, minTxid: 1, maxTxid: 8, timestampMs: 0 }, snapshot.chunks());
    await store.delete([{ level: 0, minTxid: 6, maxTxid: 8 }]);
    const newest = await findNewest(store);
    assert.is(newest.txid, 5);
    assert.equal(
      newest.unfit.map(({ file }) => [file.level, file.maxTxid]),
      [[9, 8]],
    );
    // Where the increments lead as far it is no matter.
    await store.put({ level: 0, minTxid: 6, maxTxid: 8, timestampMs: 0 }, (await mergeOf(app, 6, 8)).bytes);
    assert.is((await findNewest(store)).txid, 8);
    assert.equal((await findNewest(store)).unfit, []);
  }));

test('a hole behind the manifest is told', () =>
  withManifest(async ({ app, store, upload }) => {
    app.write(insert(1));
    app.write(insert(1));
    await upload(app, 10);
    try {
      await findNewest(store);
      assert.unreachable();
    } catch (error) {
      assert.match(String(error), 'a file is missing: the backup leads up to TXID 0000000000000008');
    }
  }));

function mergeOf(app: FakeDatabase, first: number, last: number) {
  return mergeEntries(Array.from({ length: last - first + 1 }, (_, i) => app.log.get(first + i)!));
}

test.run();
