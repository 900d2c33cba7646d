import {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SEALED_SEGMENT_BYTES, SEGMENT_BYTES } from '../../src/backup/encrypted-file.js';
import { EncryptedStore } from '../../src/backup/encrypted-store.js';
import { FileStoreRoot } from '../../src/backup/file-store.js';
import {
  createKeyFile,
  decodeManifest,
  type FileKey,
  formatFileName,
  openStore,
  readKeyFile,
  restore,
  type Store,
} from '../../src/backup/index.js';
import { readAll } from '../../src/backup/store.js';
import { WrappedStore } from '../../src/backup/wrapped-store.js';
import type { SluiceError } from '../../src/errors.js';
import { runSluice } from '../cmd/run-sluice.js';
import { until } from '../support/until.js';
import { failure } from './failure.js';
import {
  bucketPlace,
  expectRestored,
  filledStore,
  folderPlace,
  insert,
  newApp,
  type Place,
  startBackup,
  untilStored,
} from './scenario.js';
import { filesBelow, TestLog, type Workbench, withWorkbench } from './workbench.js';

const LIMIT = 64 * 1024 * 1024;
const DAMAGED = /^(RESTORE_CORRUPT|LTX_.*)$/;
const SECRET = 'a text that nobody else is to read';

function bytes(size: number): Buffer {
  const all = Buffer.alloc(size);
  for (let i = 0; i < size; i++) all[i] = i * 7 + (i >>> 8);
  return all;
}

function key(level: number, minTxid: number, maxTxid: number): FileKey {
  return { level, minTxid, maxTxid };
}

function newKey(bench: Workbench, name = 'backup.key'): string {
  const path = join(bench.folder, name);
  createKeyFile(path);
  return path;
}

/** The same place, read and written with a key. */
function encrypted(place: Place, keyFile: string): Place {
  return { ...place, open: () => place.open(keyFile) };
}

/** A folder that counts what is asked of it. */
function counted(bench: Workbench): Counted {
  const { url, folder } = folderPlace(bench);
  return new Counted(new FileStoreRoot(url, folder).database('app.db'));
}

/** Counts what is asked of it, and of which bytes. */
class Counted extends WrappedStore {
  gets: string[] = [];

  override get(...[file, range]: Parameters<Store['get']>): ReturnType<Store['get']> {
    this.gets.push(`${range?.offsetBytes ?? 0}+${range?.lengthBytes ?? 'rest'}`);
    return this.inner.get(file, range);
  }
}

async function* inPieces(all: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

test('a range of a file, whatever its size: the plain bytes, at the cost of the segments that it lies in', () =>
  withWorkbench(async (bench) => {
    const inner = counted(bench);
    const backupKey = readKeyFile(newKey(bench));
    let txid = 0;
    const sizes = fc.oneof(fc.constantFrom(0, 1, SEGMENT_BYTES, 2 * SEGMENT_BYTES), fc.nat(4 * SEGMENT_BYTES));
    const property = fc.asyncProperty(sizes, fc.nat(1000), fc.nat(1000), async (size, from, to) => {
      const store = new EncryptedStore(inner, backupKey);
      const plain = bytes(size);
      const file = key(0, ++txid, txid);
      await store.put({ ...file, timestampMs: txid, sizeEstimateBytes: size }, inPieces(plain, 40_000));
      assert.ok(Buffer.from(await readAll(store.get(file), LIMIT)).equals(plain));
      const offsetBytes = Math.round((size * from) / 1000);
      const lengthBytes = Math.round(((size - offsetBytes) * to) / 1000);
      inner.gets = [];
      const part = await readAll(store.get(file, { offsetBytes, lengthBytes }), LIMIT);
      assert.ok(Buffer.from(part).equals(plain.subarray(offsetBytes, offsetBytes + lengthBytes)));
      assert.ok(inner.gets.length <= (lengthBytes === 0 ? 0 : 1), 'the header was known');
      const rest = await readAll(store.get(file, { offsetBytes }), LIMIT);
      assert.ok(Buffer.from(rest).equals(plain.subarray(offsetBytes)));
    });
    await fc.assert(property, { numRuns: 60 });
  }));

test('a range costs one request for its segments, and one more for the first range of a file that does not begin it', () =>
  withWorkbench(async (bench) => {
    const inner = counted(bench);
    const path = newKey(bench);
    const file = key(9, 1, 7);
    await new EncryptedStore(inner, readKeyFile(path)).put({ ...file, timestampMs: 1 }, bytes(5 * SEGMENT_BYTES));
    const store = new EncryptedStore(inner, readKeyFile(path));
    await readAll(store.get(file, { offsetBytes: 3 * SEGMENT_BYTES - 1, lengthBytes: 2 }), LIMIT);
    const second = 56 + 2 * SEALED_SEGMENT_BYTES;
    assert.equal(inner.gets, ['0+56', `${second}+${2 * SEALED_SEGMENT_BYTES}`]);
    const another = new EncryptedStore(inner, readKeyFile(path));
    inner.gets = [];
    const offsets = [SEGMENT_BYTES, 2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES];
    await Promise.all(offsets.map((offsetBytes) => readAll(another.get(file, { offsetBytes, lengthBytes: 1 }), LIMIT)));
    assert.is(inner.gets.length, 4, 'ranges that begin at once');
    inner.gets = [];
    await readAll(store.get(file, { offsetBytes: 3 * SEGMENT_BYTES, lengthBytes: 100 }), LIMIT);
    await readAll(store.get(file, { offsetBytes: 0, lengthBytes: 100 }), LIMIT);
    assert.equal(inner.gets, [
      `${56 + 3 * SEALED_SEGMENT_BYTES}+${SEALED_SEGMENT_BYTES}`,
      `0+${56 + SEALED_SEGMENT_BYTES}`,
    ]);
  }));

test('bytes, a file and a stream go in; sizes are those of the plain bytes, times are kept, pieces are small', () =>
  withWorkbench(async (bench) => {
    const store = encrypted(folderPlace(bench), newKey(bench)).open().database('app.db');
    const plain = bytes(3_000_000);
    const path = join(bench.folder, 'body');
    writeFileSync(path, plain);
    const bodies = [plain, { path }, inPieces(plain, 1_000_000)];
    for (const [i, body] of bodies.entries()) {
      await store.put({ ...key(0, i + 1, i + 1), timestampMs: 1_700_000_000_000 }, body);
      for await (const piece of store.get(key(0, i + 1, i + 1))) assert.ok(piece.length <= 1024 * 1024);
      assert.ok(Buffer.from(await readAll(store.get(key(0, i + 1, i + 1)), LIMIT)).equals(plain));
    }
    const files = await store.listAll();
    const listed = [];
    for await (const file of store.list({ firstLevel: 0, lastLevel: 9 })) listed.push(file);
    assert.equal(listed, files);
    assert.equal(
      files.map(({ sizeBytes, timeMs }) => [sizeBytes, timeMs]),
      bodies.map(() => [3_000_000, 1_700_000_000_000]),
    );
    assert.is((await failure(store.put({ ...key(0, 1, 1), timestampMs: 1 }, plain))).code, 'STORE_EXISTS');
  }));

test('a manifest is encrypted whole, and its tags are those of the store', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const store = encrypted(place, newKey(bench)).open().database('app.db');
    assert.is(await store.readManifest(), undefined);
    const tag = await store.writeManifest(Buffer.from(SECRET), undefined);
    const found = await store.readManifest();
    assert.ok(found !== undefined && found !== 'same');
    assert.is(Buffer.from(found.bytes).toString(), SECRET);
    assert.is(found.tag, tag);
    assert.is(await store.readManifest(tag), 'same');
    assert.is((await failure(store.writeManifest(Buffer.from('x'), undefined))).code, 'STORE_CONFLICT');
    const [name = ''] = readdirSync(join(place.folder, 'app.db'));
    const file = join(place.folder, 'app.db', name);
    assert.not.ok(readFileSync(file).includes('text'));
    truncateSync(file, statSync(file).size - 1);
    const damaged = await store.readManifest();
    assert.ok(damaged !== undefined && damaged !== 'same');
    assert.throws(
      () => decodeManifest(damaged.bytes),
      (error: SluiceError) => error.code === 'STORE_MANIFEST',
    );
    await store.writeManifest(Buffer.from(SECRET), damaged.tag);
  }));

for (const [kind, open] of [
  ['folder', async (bench: Workbench) => folderPlace(bench)],
  ['bucket', (bench: Workbench) => bucketPlace(bench)],
] as const) {
  test(`${kind}: a backup that is encrypted is restored with its key, and says what is wrong without it`, () =>
    withWorkbench(async (bench) => {
      const plain = await open(bench);
      if (plain === undefined) return;
      const keyFile = newKey(bench);
      const place = encrypted(plain, keyFile);
      const { set, app } = newApp(bench);
      const backup = startBackup(bench, set, place);
      for (let i = 0; i < 3; i++) {
        app.write(`insert into t(x) values ('${SECRET}')`);
        app.write(insert(3000));
        await untilStored(backup, 'app.db', app.position.txid);
      }
      await expectRestored(bench, place, app);
      for (const name of filesBelow(plain.folder, '')) {
        const path = join(plain.folder, name);
        if (statSync(path).isFile()) assert.not.ok(readFileSync(path).includes('a text that'), name);
      }
      const output = join(bench.folder, 'no.db');
      const without = await failure(restore({ store: plain.open().database('app.db'), output }));
      assert.is(without.code, 'STORE_KEY');
      assert.match(without.message, /is encrypted/);
      assert.match(without.hint, /--key FILE/);
      const wrong = encrypted(plain, newKey(bench, 'other.key')).open().database('app.db');
      const withOther = await failure(restore({ store: wrong, output }));
      assert.is(withOther.code, 'STORE_KEY');
      assert.match(withOther.message, new RegExp(`another key \\(its id is ${readKeyFile(keyFile).id}`));
    }));
}

test('a damaged manifest: restores go by the listing, the backup goes on and writes it anew', () =>
  withWorkbench(async (bench) => {
    const plain = folderPlace(bench);
    const place = encrypted(plain, newKey(bench));
    const { set, app } = await filledStore(bench, place);
    const folder = join(plain.folder, 'app.db');
    const [manifest = ''] = filesBelow(folder, '.json');
    const bytes = readFileSync(join(folder, manifest));
    writeFileSync(join(folder, manifest), bytes.fill(0, 100, 120));
    await expectRestored(bench, place, app);
    app.write(insert(10));
    await untilStored(startBackup(bench, set, place), 'app.db', app.position.txid);
    await expectRestored(bench, place, app);
    const found = await place.open().database('app.db').readManifest();
    assert.ok(found !== undefined && found !== 'same');
    assert.is(decodeManifest(found.bytes).position.txid, app.position.txid);
  }));

test('a key for a backup that is not encrypted: nothing is read, nothing is written', () =>
  withWorkbench(async (bench) => {
    const plain = folderPlace(bench);
    const { set, app } = await filledStore(bench, plain);
    const place = encrypted(plain, newKey(bench));
    const output = join(bench.folder, 'no.db');
    const error = await failure(restore({ store: place.open().database('app.db'), output }));
    assert.is(error.code, 'STORE_KEY');
    assert.match(error.message, /not encrypted/);
    assert.match(error.hint, /choose an address/);
    const before = filesBelow(plain.folder, '');
    const backup = startBackup(bench, set, place);
    app.write(insert(10));
    await until('it says so', () => backup.problems().some(({ message }) => message.includes('not encrypted')));
    assert.equal(filesBelow(plain.folder, ''), before);
    // Without the key it goes on as it was.
    await backup.stop();
    await untilStored(startBackup(bench, set, plain), 'app.db', app.position.txid);
    await expectRestored(bench, plain, app);
  }));

test('encryption that is switched off: nothing is written in the clear beside what is encrypted', () =>
  withWorkbench(async (bench) => {
    const plain = folderPlace(bench);
    const { set, app } = await filledStore(bench, encrypted(plain, newKey(bench)));
    const before = filesBelow(plain.folder, '');
    const log = new TestLog();
    const backup = startBackup(bench, set, plain, { log });
    app.write(insert(10));
    await until('it says so', () => backup.problems().some(({ message }) => message.includes('is encrypted')));
    assert.equal(filesBelow(plain.folder, ''), before);
  }));

test('objects that were swapped, cut or changed are never restored', () =>
  withWorkbench(async (bench) => {
    const plain = folderPlace(bench);
    const place = encrypted(plain, newKey(bench));
    const { app } = await filledStore(bench, place);
    const level0 = (min: number, max: number): string =>
      join(plain.folder, 'app.db/ltx/0', formatFileName(key(0, min, max)));
    const output = join(bench.folder, 'no.db');
    const attempt = (): Promise<SluiceError> => failure(restore({ store: place.open().database('app.db'), output }));
    const kept = join(bench.folder, 'kept');

    renameSync(level0(3, 5), kept);
    copyFileSync(level0(6, 8), level0(3, 5));
    const swapped = await attempt();
    assert.match(swapped.code, DAMAGED);
    assert.match(swapped.message, /0003-0000000000000005\.ltx .*another name/);

    const whole = readFileSync(kept);
    writeFileSync(level0(3, 5), whole.subarray(0, -1));
    assert.match((await attempt()).code, DAMAGED);
    const changed = Buffer.from(whole);
    changed[200]! ^= 1;
    writeFileSync(level0(3, 5), changed);
    assert.match((await attempt()).code, DAMAGED);

    writeFileSync(level0(3, 5), whole);
    rmSync(kept);
    await expectRestored(bench, place, app);
  }));

test('a file that was deleted and made again: its new header is found', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const path = newKey(bench);
    const reader = encrypted(place, path).open().database('app.db');
    const writer = encrypted(place, path).open().database('app.db');
    const file = key(9, 1, 7);
    const range = { offsetBytes: SEGMENT_BYTES + 5, lengthBytes: 10 };
    for (const fill of [1, 2]) {
      const plain = Buffer.alloc(3 * SEGMENT_BYTES, fill);
      await writer.delete([file]);
      await writer.put({ ...file, timestampMs: 1 }, plain);
      assert.equal(Buffer.from(await readAll(reader.get(file, range), LIMIT)), Buffer.alloc(10, fill));
    }
    assert.is((await failure(readAll(reader.get(key(9, 1, 8), range), LIMIT))).code, 'STORE_NOT_FOUND');
  }));

test('a range behind the end of a file that was cut at a segment is not taken for the end', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const store = encrypted(place, newKey(bench)).open().database('app.db');
    const file = key(9, 1, 7);
    await store.put({ ...file, timestampMs: 1 }, bytes(3 * SEGMENT_BYTES));
    const atEnd = { offsetBytes: 3 * SEGMENT_BYTES, lengthBytes: 10 };
    for (const offsetBytes of [atEnd.offsetBytes, 3 * SEGMENT_BYTES + 1, 100 * SEGMENT_BYTES]) {
      assert.is((await readAll(store.get(file, { offsetBytes, lengthBytes: 10 }), LIMIT)).length, 0);
    }
    const path = join(place.folder, 'app.db/ltx/9', formatFileName(file));
    truncateSync(path, 56 + 2 * SEALED_SEGMENT_BYTES);
    const cut = { offsetBytes: 2 * SEGMENT_BYTES, lengthBytes: 10 };
    for (const range of [
      cut,
      atEnd,
      { offsetBytes: SEGMENT_BYTES },
      { offsetBytes: 100 * SEGMENT_BYTES },
      { offsetBytes: SEGMENT_BYTES, lengthBytes: 70_000 },
    ]) {
      const error = await failure(readAll(store.get(file, range), LIMIT));
      assert.is(error.code, 'LTX_TRUNCATED', JSON.stringify(range));
    }
  }));

test('restore and backup list take --key', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const keyFile = newKey(bench);
    const { app } = await filledStore(bench, encrypted(place, keyFile));
    const source = `${place.url}/app.db`;
    const restored = await runSluice(['restore', '--key', keyFile, '-o', 'out.db', source], bench.folder);
    assert.is(restored.stderr, '');
    assert.ok(readFileSync(join(bench.folder, 'out.db')).equals(app.image));
    const without = await runSluice(['restore', '-o', 'no.db', source], bench.folder);
    assert.is(without.code, 1);
    assert.match(without.stderr, /is encrypted .*Name its key: --key FILE/);
    const list = await runSluice(['backup', 'list', '--key', keyFile, source], bench.folder);
    assert.match(list.stdout, /newest +0000000000000008/);
    assert.match((await runSluice(['backup', 'list', source], bench.folder)).stderr, /is encrypted/);
  }));

test('openStore takes a key file, and says what is wrong with it at once', () =>
  withWorkbench(async (bench) => {
    const { url } = folderPlace(bench);
    const keyFile = newKey(bench);
    const store = openStore(url, {}, {}, keyFile).database('app.db');
    await store.put({ ...key(0, 1, 1), timestampMs: 1 }, Buffer.from('plain'));
    assert.is(Buffer.from(await readAll(store.get(key(0, 1, 1)), LIMIT)).toString(), 'plain');
    const plain = openStore(url, {}, {}).database('app.db');
    assert.is((await failure(readAll(plain.get(key(0, 1, 1)), LIMIT))).code, 'STORE_KEY');
    assert.throws(() => openStore(url, {}, {}, join(bench.folder, 'nope')), /cannot read the key file/);
  }));

test.run();
