import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFilePath } from '../../src/backup/file-names.js';
import { encodeManifest, type FileKey, restore, type Store } from '../../src/backup/index.js';
import { Detours } from '../../src/backup/restore-way.js';
import { bytesSource, compactLtx, type Position } from '../../src/ltx/index.js';
import { failure } from './failure.js';
import type { FakeDatabase } from './fake-databases.js';
import { filledStore, folderPlace } from './scenario.js';
import { filesBelow, withWorkbench } from './workbench.js';

/** Stores in which a file is wrong, and what a restore makes of them. */

interface Filled {
  readonly app: FakeDatabase;
  readonly images: ReadonlyMap<number, Buffer>;
  readonly store: Store;
  readonly output: string;
  path(file: FileKey): string;
  bytes(file: FileKey): Buffer;
  put(file: FileKey, bytes: Uint8Array): Promise<void>;
  /** A manifest that leads to a position by these files, or by all that there are. */
  putManifest(position: Position, files?: readonly FileKey[]): Promise<void>;
  dropManifest(): void;
}

const SNAPSHOT: FileKey = { level: 9, minTxid: 1, maxTxid: 1 };
const SECOND: FileKey = { level: 0, minTxid: 2, maxTxid: 2 };
const THIRD: FileKey = { level: 0, minTxid: 3, maxTxid: 5 };
const LAST: FileKey = { level: 0, minTxid: 6, maxTxid: 8 };

/** A store of `app.db` with ends at TXID 1, 2, 5 and 8, see filledStore, and without a manifest. */
function withStore(body: (filled: Filled) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { app, images } = await filledStore(bench, place);
    const store = place.open().database('app.db');
    const folder = join(place.folder, 'app.db');
    const dropManifest = (): void => {
      for (const name of filesBelow(folder, '.json')) rmSync(join(folder, name));
    };
    dropManifest();
    const putManifest = async (position: Position, wanted?: readonly FileKey[]): Promise<void> => {
      const all = await store.listAll();
      const found = wanted?.map((key) => all.find((file) => formatFilePath(file) === formatFilePath(key))!);
      const files = (found ?? [all.at(-1)!, ...all.slice(0, -1)]).map((file) => ({ ...file, checksum: 0n }));
      const manifest = { generation: 2, owner: 'test', writtenMs: 0, position, files };
      await store.writeManifest(encodeManifest(manifest), undefined);
    };
    const path = (file: FileKey): string => join(folder, formatFilePath(file));
    await body({
      app,
      images,
      store,
      output: join(bench.folder, 'restored.db'),
      path,
      bytes: (file) => readFileSync(path(file)),
      put: (file, bytes) => store.put({ ...file, timestampMs: 0 }, bytes),
      putManifest,
      dropManifest,
    });
  });
}

function compact(...files: Buffer[]): Buffer {
  const pieces: Buffer[] = [];
  compactLtx(files.map(bytesSource), (piece) => pieces.push(Buffer.from(piece)));
  return Buffer.concat(pieces);
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 0x10;
  writeFileSync(path, bytes);
}

test('a damaged compaction: by the files that it was made of, and it says so', () =>
  withStore(async ({ images, store, output, path, bytes, put }) => {
    const compacted = { level: 1, minTxid: 2, maxTxid: 8 };
    await put(compacted, compact(bytes(SECOND), bytes(THIRD), bytes(LAST)));
    assert.is((await restore({ store, output })).files, 2);
    flip(path(compacted));
    const result = await restore({ store, output, force: true });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.files, 4);
    assert.equal(
      result.leftOut.map(({ file }) => file.level),
      [1],
    );
    assert.match(result.leftOut[0]!.why, /LTX/);
  }));

test('a damaged compaction that the manifest names: by the files that it was made of', () =>
  withStore(async ({ app, images, store, output, path, bytes, put, putManifest }) => {
    const compacted = { level: 1, minTxid: 2, maxTxid: 8 };
    await put(compacted, compact(bytes(SECOND), bytes(THIRD), bytes(LAST)));
    await putManifest(app.position, [SNAPSHOT, compacted]);
    flip(path(compacted));
    const result = await restore({ store, output });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.equal([result.files, result.leftOut.length], [4, 1]);
  }));

test('a damaged snapshot: from the one before it', () =>
  withStore(async ({ app, images, store, output, path }) => {
    const newer = { level: 9, minTxid: 1, maxTxid: 8 };
    await store.put({ ...newer, timestampMs: 0 }, (await app.snapshot()).chunks());
    assert.is((await restore({ store, output })).files, 1);
    flip(path(newer));
    const result = await restore({ store, output, force: true });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.files, 4);
    assert.is(result.leftOut.length, 1);
  }));

test('two damaged files: around both', () =>
  withStore(async ({ app, images, store, output, path, bytes, put }) => {
    const newer = { level: 9, minTxid: 1, maxTxid: 5 };
    const compacted = { level: 1, minTxid: 6, maxTxid: 8 };
    await put(newer, compact(bytes(SNAPSHOT), bytes(SECOND), bytes(THIRD)));
    await put(compacted, bytes(LAST));
    flip(path(newer));
    flip(path(compacted));
    const result = await restore({ store, output });
    assert.is(result.checksum, app.position.checksum);
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.leftOut.length, 2);
  }));

test('no way around two: how far one gets without both', () =>
  withStore(async ({ store, output, path, bytes, put }) => {
    const compacted = { level: 1, minTxid: 3, maxTxid: 8 };
    await put(compacted, compact(bytes(THIRD), bytes(LAST)));
    flip(path(compacted));
    flip(path(LAST));
    const { code, hint } = await failure(restore({ store, output }));
    assert.is(code, 'RESTORE_CORRUPT');
    assert.is(hint, 'An earlier state can be restored: --txid 0000000000000005; another way around it failed too');
    assert.is((await restore({ store, output, txid: 5 })).txid, 5);
  }));

test('no way around it: the file is named, and how far one gets', () =>
  withStore(async ({ store, output, path }) => {
    flip(path(THIRD));
    const error = await failure(restore({ store, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(error.message, 'level 0, 0000000000000003-0000000000000005.ltx is damaged');
    assert.is(error.hint, 'An earlier state can be restored: --txid 0000000000000002; no other files lead around it');
  }));

test('the only snapshot is damaged', () =>
  withStore(async ({ store, output, path }) => {
    flip(path(SNAPSHOT));
    const error = await failure(restore({ store, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(error.message, 'level 9, 0000000000000001-0000000000000001.ltx is damaged');
    assert.match(error.hint, 'Nothing can be restored without it');
  }));

test('a file is missing in the middle: with and without a manifest that names it', () =>
  withStore(async ({ app, images, store, output, putManifest, dropManifest }) => {
    await putManifest(app.position);
    await store.delete([THIRD]);
    for (const manifest of [true, false]) {
      if (!manifest) dropManifest();
      const error = await failure(restore({ store, output }));
      assert.is(error.code, 'RESTORE_GAP');
      assert.match(error.message, 'a file is missing: the backup leads up to TXID 0000000000000002');
      assert.match(
        error.hint,
        'Find the file that starts at 0000000000000003, or restore with --txid 0000000000000002',
      );
    }
    await restore({ store, output, txid: 2 });
    assert.ok(readFileSync(output).equals(images.get(2)!));
  }));

test('a manifest that names a file that is gone: the files are listed', () =>
  withStore(async ({ app, images, store, output, bytes, put, putManifest }) => {
    await putManifest(app.position);
    await put({ level: 1, minTxid: 2, maxTxid: 5 }, compact(bytes(SECOND), bytes(THIRD)));
    await store.delete([THIRD]);
    const result = await restore({ store, output });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    // What was read before it is not read again: the snapshot, 2, 2 to 5, 6 to 8.
    assert.is(result.files, 4);
  }));

test('no way is tried twice', () => {
  const files = [SNAPSHOT, SECOND, THIRD, { level: 1, minTxid: 2, maxTxid: 5 }].map((key) => ({
    ...key,
    sizeBytes: 1,
    timeMs: 0,
  }));
  const way = { txid: 5, checksum: 0n, exact: true, nextTxid: undefined, time: undefined, leftOut: [], rivals: [] };
  const detours = new Detours(files, { ...way, files: [files[0]!, files[3]!] });
  const levels = (): number[] | undefined => detours.next()?.files.map((file) => file.level);
  detours.blame(
    [],
    [
      { file: files[3]!, why: '' },
      { file: files[2]!, why: '' },
    ],
  );
  assert.equal(levels(), [9, 0, 0]);
  assert.is(levels(), undefined, 'without the third file it is the first way again');
  detours.blame([], [{ file: files[0]!, why: '' }]);
  assert.is(levels(), undefined, 'without the snapshot there is no start');
});

/** Files of another database that went the same number of transactions, under the same path. */
async function withOther(body: (other: Filled) => Promise<void>): Promise<void> {
  await withStore(body);
}

test('two files of the same transactions that differ: nobody can know which is right', () =>
  withStore((own) =>
    withOther(async (other) => {
      // The other's compaction begins with a snapshot, so it is whole by itself.
      const theirs = compact(other.bytes(SNAPSHOT), other.bytes(SECOND), other.bytes(THIRD), other.bytes(LAST));
      await own.put({ level: 2, minTxid: 1, maxTxid: 8 }, theirs);
      const error = await failure(restore({ store: own.store, output: own.output }));
      assert.is(error.code, 'RESTORE_AMBIGUOUS');
      assert.match(error.message, 'level 0, 0000000000000006-0000000000000008.ltx');
      assert.match(error.message, 'level 2, 0000000000000001-0000000000000008.ltx');
      assert.match(error.message, 'end with different databases');
    }),
  ));

test('a file of another history among those of this one: the way without it', () =>
  withStore((own) =>
    withOther(async (other) => {
      // It ends later than the right one, so it is chosen first.
      await own.put({ level: 1, minTxid: 2, maxTxid: 5 }, compact(other.bytes(SECOND), other.bytes(THIRD)));
      const result = await restore({ store: own.store, output: own.output });
      assert.ok(readFileSync(own.output).equals(own.images.get(8)!));
      assert.equal(
        result.leftOut.map(({ file }) => `${file.level}:${file.minTxid}-${file.maxTxid}`),
        ['1:2-5'],
      );
    }),
  ));

test('what a primary left that had lost the store is not used where the manifest knows better', () =>
  withStore((own) =>
    withOther(async (other) => {
      await own.putManifest(own.app.position);
      other.app.write('create table mine(x)');
      const left = { level: 0, minTxid: 9, maxTxid: 9 };
      await own.put(left, other.app.log.get(9)!.bytes());
      const result = await restore({ store: own.store, output: own.output });
      assert.ok(readFileSync(own.output).equals(own.images.get(8)!));
      assert.is(result.leftOut[0]!.file.minTxid, 9);
    }),
  ));

test('a manifest of another history than its files', () =>
  withStore((own) =>
    withOther(async (other) => {
      await own.putManifest(other.app.position);
      const error = await failure(restore({ store: own.store, output: own.output }));
      assert.is(error.code, 'RESTORE_CORRUPT');
      assert.match(
        error.message,
        /0000000000000006-0000000000000008\.ltx is damaged: it leads to checksum .*, the manifest to/,
      );
    }),
  ));

test.run();
