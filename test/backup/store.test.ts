import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFilePath, formatObjectKey } from '../../src/backup/file-names.js';
import { FileStore, FileStoreRoot } from '../../src/backup/file-store.js';
import type { FileKey, Store, StoreFile } from '../../src/backup/index.js';
import { PART_BYTES, partBytes } from '../../src/backup/s3-upload.js';
import { readAll } from '../../src/backup/store.js';
import { bucketPlace, folderPlace, type Place } from './scenario.js';
import { filesBelow, type Workbench, withWorkbench } from './workbench.js';

const LIMIT = 64 * 1024 * 1024;

function key(level: number, minTxid: number, maxTxid: number): FileKey {
  return { level, minTxid, maxTxid };
}

function bytes(size: number): Uint8Array {
  const all = new Uint8Array(size);
  for (let i = 0; i < size; i++) all[i] = i * 7 + (i >>> 8);
  return all;
}

async function put(store: Store, file: FileKey, body: Parameters<Store['put']>[1]): Promise<void> {
  await store.put({ ...file, timestampMs: 1_700_000_000_123 }, body);
}

function keys(files: readonly StoreFile[]): string[] {
  return files.map((file) => `${file.level}:${file.minTxid}-${file.maxTxid} ${file.sizeBytes}`);
}

/** Names of files from one level to another. */
async function list(store: Store, firstLevel: number, lastLevel = firstLevel, afterMinTxid = 0): Promise<string[]> {
  const names: string[] = [];
  for await (const file of store.list({ firstLevel, lastLevel, afterMinTxid })) {
    names.push(`${file.level}:${file.minTxid}-${file.maxTxid}`);
  }
  return names;
}

async function code(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return 'no error';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

async function* inPieces(all: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

/** What every store does. `pathOf` says where a file of `app.db` is on this machine. */
function contract(name: string, place: (bench: Workbench) => Promise<Place | undefined>, pathOf: PathOf): void {
  const withPlace = (body: (place: Place, bench: Workbench) => Promise<void>) => (): Promise<void> =>
    withWorkbench(async (bench) => {
      const opened = await place(bench);
      if (opened !== undefined) await body(opened, bench);
    });

  test(
    `${name}: files are listed by level, min and max TXID`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      assert.equal(await store.listAll(), []);
      for (const file of [key(0, 17, 17), key(9, 1, 3), key(0, 2, 5), key(0, 2, 16), key(0, 256, 300)]) {
        await put(store, file, bytes(file.maxTxid));
      }
      assert.equal(await list(store, 0), ['0:2-5', '0:2-16', '0:17-17', '0:256-300']);
      assert.equal(await list(store, 0, 0, 2), ['0:17-17', '0:256-300']);
      assert.equal(await list(store, 0, 0, 16), ['0:17-17', '0:256-300']);
      assert.equal(await list(store, 0, 0, 256), []);
      assert.equal(await list(store, 1), []);
      assert.equal(await list(store, 9), ['9:1-3']);
      await put(store, key(2, 1, 2), bytes(2));
      assert.equal(await list(store, 0, 8, 17), ['0:256-300', '2:1-2']);
      assert.equal(await list(store, 1, 8), ['2:1-2']);
      assert.equal(await list(store, 1, 9), ['2:1-2', '9:1-3']);
      await store.delete([key(2, 1, 2)]);
      assert.equal(keys(await store.listAll()), ['0:2-5 5', '0:2-16 16', '0:17-17 17', '0:256-300 300', '9:1-3 3']);
    }),
  );

  test(
    `${name}: what is not a store's file is passed over`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      await put(store, key(0, 2, 5), bytes(9));
      const path = pathOf(where, key(0, 2, 5));
      for (const other of ['manifest.json', `${path}.tmp`, 'x.ltx'])
        writeFileSync(join(dirname(path), other.split('/').at(-1)!), '');
      mkdirSync(join(dirname(dirname(path)), 'lease'));
      assert.equal(keys(await store.listAll()), ['0:2-5 9']);
    }),
  );

  test(
    `${name}: each database has its own place`,
    withPlace(async (where) => {
      const root = where.open();
      for (const database of ['app.db', 'tenants/7.db', 'tenants/ü 8.db'])
        await put(root.database(database), key(9, 1, 1), bytes(3));
      assert.equal(await root.databaseNames(10), ['app.db', 'tenants/7.db', 'tenants/ü 8.db']);
      assert.is((await root.databaseNames(2)).length, 2);
      assert.equal(keys(await root.database('tenants').listAll()), []);
      assert.equal(keys(await root.database('tenants/7.db').listAll()), ['9:1-1 3']);
    }),
  );

  test(
    `${name}: bytes come back, whole and in part, from memory, pieces and a file`,
    withPlace(async (where, bench) => {
      const store = where.open().database('app.db');
      const all = bytes(2.5 * PART_BYTES);
      const source = join(bench.folder, 'source');
      writeFileSync(source, all);
      const bodies = [
        all,
        { path: source },
        inPieces(all, 1_000_003),
        bytes(0),
        bytes(1),
        inPieces(bytes(PART_BYTES), PART_BYTES),
      ];
      for (const [index, body] of bodies.entries()) {
        const expected = index < 3 ? all : [bytes(0), bytes(1), bytes(PART_BYTES)][index - 3]!;
        const file = key(0, index + 1, index + 1);
        await put(store, file, body);
        assert.ok(Buffer.from(await readAll(store.get(file), LIMIT)).equals(expected), `body ${index}`);
        for await (const piece of store.get(file)) assert.ok(piece.length <= 1024 * 1024);
      }
      const part = async (offsetBytes: number, lengthBytes?: number): Promise<Buffer> => {
        const range = lengthBytes === undefined ? { offsetBytes } : { offsetBytes, lengthBytes };
        return Buffer.from(await readAll(store.get(key(0, 1, 1), range), LIMIT));
      };
      assert.ok((await part(100, 5)).equals(all.subarray(100, 105)));
      assert.ok((await part(all.length - 3)).equals(all.subarray(-3)));
      assert.ok((await part(all.length - 3, 10)).equals(all.subarray(-3)));
      assert.is((await part(all.length)).length, 0);
      assert.is((await part(7, 0)).length, 0);
      const target = Buffer.alloc(70_000);
      assert.is(await store.read(key(0, 1, 1), 100, target), target.length);
      assert.ok(target.equals(all.subarray(100, 100 + target.length)));
      assert.is(await store.read(key(0, 1, 1), all.length - 3, target), 3);
      assert.ok(target.subarray(0, 3).equals(all.subarray(-3)));
      assert.is(await store.read(key(0, 1, 1), all.length, target), 0);
      assert.is(await store.read(key(0, 1, 1), 7, new Uint8Array(0)), 0);
    }),
  );

  test(
    `${name}: a file is not replaced; deleted, missing`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      const file = key(0, 2, 5);
      assert.is(await code(readAll(store.get(file), LIMIT)), 'STORE_NOT_FOUND');
      assert.is(await code(store.read(file, 0, new Uint8Array(9))), 'STORE_NOT_FOUND');
      await put(store, file, bytes(5));
      assert.is(await code(put(store, file, bytes(6))), 'STORE_EXISTS');
      assert.is(await code(put(store, file, inPieces(bytes(2 * PART_BYTES), PART_BYTES))), 'STORE_EXISTS');
      assert.equal(keys(await store.listAll()), ['0:2-5 5']);
      await store.delete([file]);
      await store.delete([file]);
      assert.equal(keys(await store.listAll()), []);
    }),
  );

  test(
    `${name}: a file that is set aside is in no listing, and nothing of it is lost`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      await put(store, key(0, 2, 5), bytes(5));
      await store.setAside(key(0, 2, 5));
      await store.setAside(key(0, 2, 5));
      assert.equal(await store.listAll(), []);
      await put(store, key(0, 2, 5), bytes(6));
      assert.equal(keys(await store.listAll()), ['0:2-5 6']);
      const aside = filesBelow(where.folder, '').filter((path) => /set-aside\/.*\.ltx\.\d+$/.test(path));
      assert.is(aside.length, 1);
      assert.is(statSync(join(where.folder, aside[0]!)).size, 5);
    }),
  );

  test(
    `${name}: a manifest takes the place of the version that its writer knows, and of no other`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      assert.is(await store.readManifest(), undefined);
      const first = await store.writeManifest(bytes(5), undefined);
      assert.is(await code(store.writeManifest(bytes(6), undefined)), 'STORE_CONFLICT');
      assert.is(await store.readManifest(first), 'same');
      const second = await store.writeManifest(bytes(7), first);
      assert.is(await code(store.writeManifest(bytes(8), first)), 'STORE_CONFLICT');
      const read = await where.open().database('app.db').readManifest(first);
      assert.ok(read !== undefined && read !== 'same');
      assert.is(read.tag, second);
      assert.equal(Buffer.from(read.bytes), Buffer.from(bytes(7)));
      assert.equal(await store.listAll(), []);
    }),
  );

  test(
    `${name}: of many writers of a manifest at a time one succeeds`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      let tag: string | undefined;
      for (let round = 0; round < 5; round++) {
        const before = tag;
        const outcomes = await Promise.allSettled(
          Array.from({ length: 8 }, (_, i) => store.writeManifest(bytes(100 * round + i + 1), before)),
        );
        const tags = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
        assert.is(tags.length, 1);
        tag = tags[0];
        assert.is(await store.readManifest(tag), 'same');
      }
    }),
  );

  test(
    `${name}: a body that breaks off leaves nothing, and its error comes through`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      async function* broken(size: number): AsyncGenerator<Uint8Array> {
        yield bytes(size);
        throw new Error('the database was dropped');
      }
      for (const size of [10, 2 * PART_BYTES]) {
        assert.is(await code(put(store, key(9, 1, 5), broken(size))), 'STORE_FAILED');
        assert.equal(await store.listAll(), []);
        assert.equal(existsSync(where.folder) ? filesBelow(where.folder, '.tmp') : [], []);
      }
    }),
  );

  test(
    `${name}: more files than one listing gives`,
    withPlace(async (where) => {
      const store = where.open().database('app.db');
      await put(store, key(0, 1, 1), bytes(4));
      for (let txid = 2; txid <= 1100; txid++)
        copyFileSync(pathOf(where, key(0, 1, 1)), pathOf(where, key(0, txid, txid)));
      const listed = await store.listAll();
      assert.is(listed.length, 1100);
      assert.is(listed.at(-1)!.maxTxid, 1100);
      assert.is((await list(store, 0, 0, 50)).length, 1050);
    }),
  );
}

type PathOf = (place: Place, file: FileKey) => string;

const inFolder: PathOf = (place, file) => join(place.folder, 'app.db', formatFilePath(file));
const inBucket: PathOf = (place, file) => join(place.folder, 'backups/some/path/app.db', formatObjectKey(file));

contract('folder', async (bench) => folderPlace(bench), inFolder);
contract('bucket', (bench) => bucketPlace(bench), inBucket);

test('folder: a listing in several windows', () =>
  withWorkbench(async (bench) => {
    const store = new FileStore('file:///x', join(bench.folder, 'app.db'), 0, 10);
    const txids = Array.from({ length: 30 }, (_, i) => i + 1);
    for (const txid of txids) await put(store, key(0, txid, txid), bytes(1));
    await put(store, key(0, 10, 12), bytes(1));
    const names = txids.map((txid) => `0:${txid}-${txid}`);
    names.splice(10, 0, '0:10-12');
    assert.equal(await list(store, 0), names);
    assert.is((await store.listAll()).length, 31);
    await store.delete([key(0, 30, 30)]);
    assert.equal(await list(store, 0, 9), names.slice(0, -1));
  }));

test("folder: a file's time is its timestamp", () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const store = place.open().database('app.db');
    await put(store, key(0, 2, 5), bytes(5));
    assert.is(Math.round(statSync(inFolder(place, key(0, 2, 5))).mtimeMs), 1_700_000_000_123);
    assert.is(Math.round((await store.listAll())[0]!.timeMs), 1_700_000_000_123);
  }));

test('folder: what a dead process left is removed, when it is old', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    await put(place.open().database('app.db'), key(0, 2, 5), bytes(5));
    const path = inFolder(place, key(0, 2, 5));
    writeFileSync(`${path}.0a.tmp`, 'half');
    await put(place.open().database('app.db'), key(0, 6, 6), bytes(5));
    assert.ok(existsSync(`${path}.0a.tmp`), 'another process may be writing it');
    const root = new FileStoreRoot(place.url, place.folder, 0);
    await put(root.database('app.db'), key(0, 7, 7), bytes(5));
    assert.not(existsSync(`${path}.0a.tmp`));
    assert.is(readdirSync(dirname(path)).length, 3);
    const manifest = join(place.folder, 'app.db/manifest.0a1b2c3d.tmp');
    writeFileSync(manifest, 'half');
    const tag = await place.open().database('app.db').writeManifest(bytes(5), undefined);
    assert.ok(existsSync(manifest));
    await root.database('app.db').writeManifest(bytes(6), tag);
    assert.not(existsSync(manifest));
  }));

test("bucket: an object's metadata has its timestamp, as Litestream reads it", () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place === undefined) return;
    const store = place.open().database('app.db');
    await put(store, key(0, 2, 5), bytes(5));
    await put(store, key(9, 1, 5), bytes(PART_BYTES + 1));
    const { searchParams } = new URL(place.url);
    const client = new S3Client({
      endpoint: searchParams.get('endpoint')!,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'tester', secretAccessKey: 'testing-secret' },
    });
    for (const file of [key(0, 2, 5), key(9, 1, 5)]) {
      const Key = `some/path/app.db/${formatObjectKey(file)}`;
      const head = await client.send(new HeadObjectCommand({ Bucket: 'backups', Key }));
      const { 'sluice-upload': upload, ...others } = head.Metadata ?? {};
      assert.equal(others, { 'litestream-timestamp': '2023-11-14T22:13:20.123Z' });
      assert.match(upload ?? '', /^[0-9a-f]+$/);
    }
    client.destroy();
    assert.ok(readFileSync(inBucket(place, key(0, 2, 5))).equals(bytes(5)));
  }));

test('bucket: parts are as large as ten thousand of them need', () => {
  assert.is(partBytes(undefined), PART_BYTES);
  assert.is(partBytes(10 * PART_BYTES), PART_BYTES);
  const terabyte = 1024 ** 4;
  assert.ok(terabyte / partBytes(terabyte) < 10_000);
});

test.run();
