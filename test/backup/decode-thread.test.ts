import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compact } from '../../src/backup/compaction.js';
import { DecodeThread } from '../../src/backup/decode-thread.js';
import { formatFilePath, formatObjectKey } from '../../src/backup/file-names.js';
import { createKeyFile, type FileKey, type RestoreProgress, restore, type Store } from '../../src/backup/index.js';
import { errorCode } from '../../src/errors.js';
import { encodeLtx, type LtxHeader, pageCrc } from '../../src/ltx/index.js';
import { failure } from './failure.js';
import type { FakeDatabase } from './fake-databases.js';
import { CREATE, folderPlace, newSet, startBackup } from './scenario.js';
import { VanishingStore } from './vanishing-store.js';
import { withWorkbench } from './workbench.js';

const HEADER: LtxHeader = {
  pageSize: 4096,
  commit: 5000,
  minTxid: 7,
  maxTxid: 9,
  timestampMs: 5,
  preApply: 0n,
  postApply: 0n,
};

function page(pgno: number): Uint8Array {
  return new Uint8Array(4096).fill(pgno);
}

/** A file of the pages from `first` on. */
function file(first: number, count: number): Uint8Array {
  return encodeLtx(
    HEADER,
    Array.from({ length: count }, (_, i) => ({ pgno: first + i, data: page(first + i) })),
  );
}

async function withThread(body: (thread: DecodeThread) => Promise<void>): Promise<void> {
  const thread = new DecodeThread();
  try {
    await body(thread);
  } finally {
    await thread.close();
  }
}

/** What a thread makes of the next file: its first page and the number of pages, all of them checked. */
async function takePages(thread: DecodeThread): Promise<[number, number]> {
  const pgnos: number[] = [];
  const wanted = { high: 0, low: 0 };
  await thread.take({
    header: (header) => assert.is(header.maxTxid, 9),
    page(pgno, data, crc) {
      assert.ok(Buffer.from(data).equals(page(pgno)));
      pageCrc(data, 0, 4096, wanted);
      assert.equal([crc.high, crc.low], [wanted.high, wanted.low]);
      pgnos.push(pgno);
    },
  });
  assert.equal(
    pgnos,
    pgnos.map((_, i) => pgnos[0]! + i),
  );
  return [pgnos[0]!, pgnos.length];
}

test('files one after the other, of more pages than are under way at a time, in pieces of any size', () =>
  withThread(async (thread) => {
    for (const bytes of [file(1, 5000), file(5, 1), file(20, 300)]) {
      for (let at = 0; at < bytes.length; at += 1009) await thread.push(bytes.subarray(at, at + 1009));
      thread.pushEnd();
    }
    // It would fill batches that nobody has emptied now.
    await sleep(100);
    assert.equal(await takePages(thread), [1, 5000]);
    assert.equal(await takePages(thread), [5, 1]);
    assert.equal(await takePages(thread), [20, 300]);
  }));

test('a damaged file: the pages before it, then the error, and again for whoever asks', () =>
  withThread(async (thread) => {
    await thread.push(file(1, 2));
    thread.pushEnd();
    const damaged = file(1, 2);
    damaged[damaged.length - 1]! ^= 1;
    await thread.push(damaged);
    thread.pushEnd();
    assert.equal(await takePages(thread), [1, 2]);
    try {
      await takePages(thread);
      assert.unreachable();
    } catch (error) {
      assert.is(errorCode(error), 'LTX_CHECKSUM');
    }
  }));

test('a cut file', () =>
  withThread(async (thread) => {
    await thread.push(file(1, 2).subarray(0, 60));
    thread.pushEnd();
    try {
      await takePages(thread);
      assert.unreachable();
    } catch (error) {
      assert.is(errorCode(error), 'LTX_TRUNCATED');
    }
  }));

test('closed while it waits for batches to be emptied, and while others wait for it', async () => {
  const thread = new DecodeThread();
  const bytes = file(1, 5000);
  await thread.push(bytes);
  thread.pushEnd();
  await thread.push(file(1, 5000));
  thread.pushEnd();
  assert.equal(await takePages(thread), [1, 5000]);
  const waiting = new DecodeThread();
  const taken = waiting.take({ header: () => undefined, page: () => undefined }).then(
    () => undefined,
    (error: unknown) => errorCode(error),
  );
  await Promise.all([thread.close(), waiting.close()]);
  assert.is(await taken, 'RESTORE_FAILED');
});

interface Large {
  readonly app: FakeDatabase;
  readonly store: Store;
  /** Puts INCREMENT and LAST there as one file, too: MERGED. No manifest says so. */
  merge(): Promise<void>;
  readonly output: string;
  path(file: FileKey): string;
}

const SNAPSHOT = { level: 9, minTxid: 1, maxTxid: 2 };
const INCREMENT = { level: 0, minTxid: 3, maxTxid: 3 };
const LAST = { level: 0, minTxid: 4, maxTxid: 4 };
const MERGED = { level: 1, minTxid: 3, maxTxid: 4 };

/** A store that is large enough for a restore to use a thread: a snapshot, and files of TXID 3 and 4. */
function withLarge(isEncrypted: boolean, body: (large: Large) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const plain = folderPlace(bench);
    const keyFile = isEncrypted ? join(bench.folder, 'backup.key') : undefined;
    if (keyFile !== undefined) createKeyFile(keyFile);
    const place = { ...plain, open: () => plain.open(keyFile) };
    const set = newSet(bench);
    const app = set.create('app.db');
    app.write(CREATE);
    const rows = 'with n(i) as (select 1 union all select i + 1 from n where i < 180)';
    app.write(`${rows} insert into t(x) select randomblob(100000) from n`);
    const backup = startBackup(bench, set, place, { intervalMs: 60_000 });
    await backup.flush();
    for (const id of [2, 3]) {
      app.write(`update t set x = randomblob(90000) where id % 50 = ${id}`);
      await backup.flush();
    }
    await backup.stop();
    const path = (key: FileKey): string => join(place.folder, 'app.db', formatFilePath(key));
    const store = place.open().database('app.db');
    const merge = async (): Promise<void> => {
      const inputs = (await store.listAll()).filter(({ level }) => level === 0);
      await compact(store, inputs, MERGED.level);
      const folder = join(place.folder, 'app.db');
      for (const name of readdirSync(folder)) if (name.startsWith('manifest')) rmSync(join(folder, name));
    };
    await body({ app, store, merge, output: join(bench.folder, 'out', 'app.db'), path });
  });
}

const DAMAGES: [string, FileKey, (path: string) => void][] = [
  ['the snapshot cut', SNAPSHOT, (path) => truncateSync(path, 5_000_000)],
  ['a byte changed in a header', INCREMENT, (path) => flip(path, 20)],
  ['a byte changed at the end', INCREMENT, (path) => flip(path, readFileSync(path).length - 1)],
];

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0x10;
  writeFileSync(path, bytes);
}

test('a large restore: it is right, names what is damaged, can be stopped, and leaves nothing', () =>
  withLarge(false, async ({ app, store, output, path }) => {
    const result = await restore({ store, output });
    assert.ok(result.readBytes > 16 * 1024 * 1024, 'else it is not by a thread');
    assert.is(result.checksum, app.position.checksum);
    assert.ok(readFileSync(output).equals(app.image));
    rmSync(output);

    for (const [what, key, damage] of DAMAGES) {
      const whole = readFileSync(path(key));
      damage(path(key));
      const { code, message } = await failure(restore({ store, output }));
      assert.is(code, 'RESTORE_CORRUPT', what);
      assert.match(message, `level ${key.level}, 000000000000000${key.minTxid}-`, what);
      assert.equal(readdirSync(join(output, '..')), []);
      writeFileSync(path(key), whole);
    }

    const abort = new AbortController();
    const onProgress = ({ doneBytes }: RestoreProgress): void => {
      if (doneBytes > 2_000_000) abort.abort();
    };
    assert.is((await failure(restore({ store, output, signal: abort.signal, onProgress }))).code, 'RESTORE_ABORTED');
    assert.equal(readdirSync(join(output, '..')), []);
  }));

test('a large restore: a file that is gone when it is its turn, while the one before it is decoded still', () =>
  withLarge(false, async ({ app, store, merge, output }) => {
    let began = false;
    const vanishing = new VanishingStore(store, async () => {
      if (began) return;
      began = true;
      await merge();
      await store.delete([INCREMENT, LAST]);
    });
    const result = await restore({ store: vanishing, output, parallel: 1 });
    assert.is(result.checksum, app.position.checksum);
    assert.ok(readFileSync(output).equals(app.image));
    assert.is(result.files, 2);
    vanishing.expectReadOnce();
    assert.is(vanishing.reads.at(-1), `${formatObjectKey(MERGED)} 0`);
  }));

test('a large restore: a file that goes while it is read', () =>
  withLarge(false, async ({ app, store, merge, output }) => {
    let gone = 0;
    const before = async (file: FileKey): Promise<void> => {
      if (formatObjectKey(file) !== formatObjectKey(LAST)) return;
      gone++;
      await merge();
      await store.delete([INCREMENT, LAST]);
    };
    const result = await restore({ store: new VanishingStore(store, before, true), output, parallel: 1 });
    assert.is(result.checksum, app.position.checksum);
    assert.ok(readFileSync(output).equals(app.image));
    assert.is(gone, 1);
  }));

for (const isEncrypted of [false, true]) {
  test(`a large restore goes around a damaged file: ${isEncrypted ? 'encrypted' : 'not encrypted'}`, () =>
    withLarge(isEncrypted, async ({ app, store, merge, output, path }) => {
      await merge();
      flip(path(MERGED), readFileSync(path(MERGED)).length >> 1);
      const result = await restore({ store, output });
      assert.is(result.checksum, app.position.checksum);
      assert.ok(readFileSync(output).equals(app.image));
      assert.equal(
        result.leftOut.map(({ file }) => formatObjectKey(file)),
        [formatObjectKey(MERGED)],
      );
      flip(path(LAST), 200);
      const error = await failure(restore({ store, output, force: true }));
      assert.is(error.code, 'RESTORE_CORRUPT');
      assert.match(error.message, 'level 1, 0000000000000003-0000000000000004.ltx is damaged');
      assert.match(error.hint, 'another way around it failed too');
    }));
}

test.run();
