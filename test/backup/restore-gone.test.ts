import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compact } from '../../src/backup/compaction.js';
import { formatObjectKey } from '../../src/backup/file-names.js';
import {
  encodeManifest,
  type FileKey,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
  restore,
  type Store,
} from '../../src/backup/index.js';
import type { Position } from '../../src/ltx/index.js';
import { failure } from './failure.js';
import type { FakeDatabase } from './fake-databases.js';
import { filledStore, folderPlace, insert } from './scenario.js';
import { VanishingStore } from './vanishing-store.js';
import { withWorkbench } from './workbench.js';

/** Restores under which a primary merges files and deletes them. */

interface Filled {
  readonly app: FakeDatabase;
  readonly images: ReadonlyMap<number, Buffer>;
  readonly store: Store;
  readonly output: string;
  /** Stores the next transaction as a file of its own. */
  storeNext(): Promise<FileKey>;
  /** What a primary does: one file instead of several. */
  merge(level: number, ...files: FileKey[]): Promise<void>;
  /** Replaces the manifest by one that leads to a position by these files. */
  putManifest(position: Position, ...files: FileKey[]): Promise<void>;
}

const SNAPSHOT: FileKey = { level: 9, minTxid: 1, maxTxid: 1 };
const SECOND: FileKey = { level: 0, minTxid: 2, maxTxid: 2 };
const THIRD: FileKey = { level: 0, minTxid: 3, maxTxid: 5 };
const LAST: FileKey = { level: 0, minTxid: 6, maxTxid: 8 };
const MERGED: FileKey = { level: 1, minTxid: 3, maxTxid: 8 };

/** A store of `app.db` with ends at TXID 1, 2, 5 and 8; see filledStore. Its manifest says so. */
function withStore(body: (filled: Filled) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { app, images } = await filledStore(bench, place);
    const store = place.open().database('app.db');
    const find = async (keys: readonly FileKey[]) => {
      const all = await store.listAll();
      return keys.map((key) => all.find((file) => formatObjectKey(file) === formatObjectKey(key))!);
    };
    await body({
      app,
      images,
      store,
      output: join(bench.folder, 'restored.db'),
      async storeNext() {
        app.write(insert(1));
        const { txid } = app.position;
        const key = { level: 0, minTxid: txid, maxTxid: txid };
        await store.put({ ...key, timestampMs: 0 }, app.log.get(txid)!.bytes());
        return key;
      },
      async merge(level, ...keys) {
        await compact(store, await find(keys), level);
        await store.delete(keys);
      },
      async putManifest(position, ...keys) {
        const known = await store.readManifest();
        const files = (await find(keys)).map((file) => ({ ...file, checksum: 0n }));
        const manifest = { generation: 2, owner: 'test', writtenMs: 0, position, files };
        await store.writeManifest(encodeManifest(manifest), known === 'same' ? undefined : known?.tag);
      },
    });
  });
}

/** One request at a time: what comes later is not asked for before it is its turn. */
async function restoreSlowly(options: RestoreOptions): Promise<RestoreResult> {
  return await restore({ ...options, parallel: 1 });
}

test('each plan ends in a file that is merged with the next one before it is read: all the same it comes to the end', () =>
  withStore(async ({ app, store, output, storeNext, merge, putManifest }) => {
    const way = [SNAPSHOT, SECOND, THIRD, LAST];
    for (let i = 0; i < 12; i++) way.push(await storeNext());
    await putManifest(app.position, ...way);
    const vanishing = new VanishingStore(store, async (file) => {
      const at = way.findIndex((other) => formatObjectKey(other) === formatObjectKey(file));
      const [first, second] = way.slice(at, at + 2);
      if (at < 4 || first!.level > 0) return;
      await merge(1, first!, second!);
      way.splice(at, 2, { level: 1, minTxid: first!.minTxid, maxTxid: second!.maxTxid });
      await putManifest(app.position, ...way);
    });
    const progress: RestoreProgress[] = [];
    const onProgress = (step: RestoreProgress): number => progress.push(step);
    const result = await restoreSlowly({ store: vanishing, output, onProgress });
    assert.ok(readFileSync(output).equals(app.image));
    assert.equal([result.txid, result.checksum], [20, app.position.checksum]);
    assert.is(result.files, 4 + 6);
    vanishing.expectReadOnce();
    assert.equal(progress.at(-1), { doneBytes: result.readBytes, totalBytes: result.readBytes });
  }));

test('it goes on by the manifest as it is then: what another primary left is not taken', () =>
  withStore((own) =>
    withStore(async (other) => {
      const { app, images, store, output, merge, putManifest } = own;
      await other.storeNext();
      const left = { level: 0, minTxid: 9, maxTxid: 9, timestampMs: 0 };
      const vanishing = new VanishingStore(store, async (file) => {
        if (formatObjectKey(file) !== formatObjectKey(THIRD)) return;
        await merge(1, THIRD, LAST);
        await putManifest(app.position, SNAPSHOT, SECOND, MERGED);
        await store.put(left, other.app.log.get(9)!.bytes());
      });
      const result = await restoreSlowly({ store: vanishing, output });
      assert.ok(readFileSync(output).equals(images.get(8)!));
      assert.equal(
        result.leftOut.map(({ file }) => file.minTxid),
        [9],
      );
      vanishing.expectReadOnce();
    }),
  ));

test('where it comes to in the end is compared with the manifest as it is then', () =>
  withStore(async ({ app, store, output, merge, putManifest }) => {
    const wrong = { txid: 8, checksum: app.position.checksum ^ 1n };
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) !== formatObjectKey(THIRD)) return;
      await merge(1, THIRD, LAST);
      await putManifest(wrong, SNAPSHOT, SECOND, MERGED);
    });
    const error = await failure(restoreSlowly({ store: vanishing, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(error.message, 'level 1, 0000000000000003-0000000000000008.ltx is damaged: it leads to checksum');
  }));

test('a new snapshot that the manifest begins with then is not read where merged files lead on', () =>
  withStore(async ({ app, images, store, output, merge, putManifest }) => {
    const snapshot = { level: 9, minTxid: 1, maxTxid: 8 };
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) !== formatObjectKey(THIRD)) return;
      await merge(1, THIRD, LAST);
      await store.put({ ...snapshot, timestampMs: 0 }, (await app.snapshot()).chunks());
      await putManifest(app.position, snapshot);
    });
    const result = await restoreSlowly({ store: vanishing, output });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.files, 3);
    vanishing.expectReadOnce();
    assert.not(vanishing.reads.some((name) => name.includes(formatObjectKey(snapshot))));
  }));

test('nothing leads on: it begins anew', () =>
  withStore(async ({ app, images, store, output, putManifest }) => {
    const snapshot = { level: 9, minTxid: 1, maxTxid: 8 };
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) !== formatObjectKey(THIRD)) return;
      await store.put({ ...snapshot, timestampMs: 0 }, (await app.snapshot()).chunks());
      await putManifest(app.position, snapshot);
      await store.delete([THIRD]);
    });
    const result = await restoreSlowly({ store: vanishing, output });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.files, 1);
  }));

test('a chosen state stays the same where another file ends there', () =>
  withStore(async ({ images, store, output, storeNext, merge }) => {
    await storeNext();
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) === formatObjectKey(THIRD)) await merge(1, THIRD, LAST);
    });
    const result = await restoreSlowly({ store: vanishing, output, txid: 8 });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.equal([result.txid, result.exact], [8, true]);
    vanishing.expectReadOnce();
  }));

test('a chosen state that no file ends at any more: the nearest before it, and it says so', () =>
  withStore(async ({ images, store, output, merge }) => {
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) === formatObjectKey(THIRD)) await merge(1, THIRD, LAST);
    });
    const result = await restoreSlowly({ store: vanishing, output, txid: 5 });
    assert.ok(readFileSync(output).equals(images.get(2)!));
    assert.equal([result.txid, result.exact, result.nextTxid], [2, false, 8]);
    vanishing.expectReadOnce();
  }));

test('a chosen state that no file ends at any more, nor where the restore is: it begins anew', () =>
  withStore(async ({ images, store, output, merge }) => {
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) === formatObjectKey(THIRD)) await merge(1, SECOND, THIRD, LAST);
    });
    const result = await restoreSlowly({ store: vanishing, output, txid: 5 });
    assert.ok(readFileSync(output).equals(images.get(1)!));
    assert.equal([result.txid, result.exact, result.nextTxid], [1, false, 8]);
  }));

test('a file that goes while it is read: what has part of it is not gone on from', () =>
  withStore(async ({ images, store, output, merge }) => {
    const vanishing = new VanishingStore(
      store,
      async (file) => {
        if (formatObjectKey(file) === formatObjectKey(THIRD)) await merge(1, THIRD, LAST);
      },
      true,
    );
    const result = await restoreSlowly({ store: vanishing, output });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.is(result.files, 3);
    assert.is(vanishing.reads.filter((name) => name.startsWith(formatObjectKey(SNAPSHOT))).length, 2);
  }));

test('a file that is listed and never there: it ends', () =>
  withStore(async ({ store, output }) => {
    let gone = 0;
    const vanishing = new VanishingStore(store, async (file) => {
      if (formatObjectKey(file) !== formatObjectKey(LAST)) return;
      gone++;
      throw await failure(store.get({ level: 5, minTxid: 6, maxTxid: 8 })[Symbol.asyncIterator]().next());
    });
    assert.is((await failure(restoreSlowly({ store: vanishing, output }))).code, 'STORE_NOT_FOUND');
    assert.is(gone, 4);
    vanishing.expectReadOnce();
  }));

test('what ends then where the restore is already must not be another database', () =>
  withStore((own) =>
    withStore(async (other) => {
      const theirs = { level: 2, minTxid: 1, maxTxid: 8 };
      await other.merge(theirs.level, SNAPSHOT, SECOND, THIRD, LAST);
      const next = await own.storeNext();
      const vanishing = new VanishingStore(own.store, async (file) => {
        if (formatObjectKey(file) !== formatObjectKey(next)) return;
        await own.store.delete([next]);
        await own.store.put({ ...theirs, timestampMs: 0 }, other.store.get(theirs));
      });
      const error = await failure(restoreSlowly({ store: vanishing, output: own.output, timestampMs: 2 ** 42 }));
      assert.is(error.code, 'RESTORE_AMBIGUOUS');
    }),
  ));

test.run();
