import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFileName, type RestoreProgress, restore, type Store } from '../../src/backup/index.js';
import { CHECKSUM_FLAG, encodeLtx, type LtxHeader } from '../../src/ltx/index.js';
import { failure } from './failure.js';
import { filledStore, folderPlace, insert } from './scenario.js';
import { filesBelow, type Workbench, withWorkbench } from './workbench.js';

/** A store of `app.db` with ends at TXID 1, 2, 5 and 8; see filledStore. */
async function withStore(body: (filled: Filled) => Promise<void>): Promise<void> {
  await withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { images } = await filledStore(bench, place);
    const output = join(bench.folder, 'out', 'app.db');
    const level0 = (minTxid: number, maxTxid: number): string =>
      join(place.folder, 'app.db/ltx/0', formatFileName({ level: 0, minTxid, maxTxid }));
    await body({ bench, images, output, level0, store: place.open().database('app.db') });
  });
}

interface Filled {
  readonly bench: Workbench;
  readonly images: ReadonlyMap<number, Buffer>;
  readonly output: string;
  readonly store: Store;
  level0(minTxid: number, maxTxid: number): string;
}

test('the newest state', () =>
  withStore(async ({ images, output, store }) => {
    const progress: RestoreProgress[] = [];
    const result = await restore({ store, output, onProgress: (step) => progress.push(step) });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.equal([result.txid, result.exact, result.nextTxid, result.files], [8, true, undefined, 4]);
    assert.is(result.sizeBytes, images.get(8)!.length);
    assert.is(result.timestampMs, 1_700_000_008_000);
    assert.equal(progress.at(-1), { doneBytes: result.readBytes, totalBytes: result.readBytes });
    assert.equal(readdirSync(dirname(output)), ['app.db']);
  }));

test('a state at the end of a file', () =>
  withStore(async ({ images, output, store }) => {
    for (const txid of [1, 2, 5, 8]) {
      const result = await restore({ store, output, txid, force: true });
      assert.ok(readFileSync(output).equals(images.get(txid)!), `TXID ${txid}`);
      assert.equal([result.txid, result.exact, result.nextTxid], [txid, true, undefined]);
    }
  }));

test('a state inside of a file: the nearest before it, and it says so', () =>
  withStore(async ({ images, output, store }) => {
    const result = await restore({ store, output, txid: 4 });
    assert.ok(readFileSync(output).equals(images.get(2)!));
    assert.equal([result.txid, result.exact, result.nextTxid], [2, false, 5]);
  }));

test('a state that is not there', () =>
  withStore(async ({ output, store }) => {
    const error = await failure(restore({ store, output, txid: 9 }));
    assert.is(error.code, 'RESTORE_TXID');
    assert.match(error.message, /file:\/\/.*app\.db: TXID 0000000000000009 is not in the backup: the newest is/);
    assert.not(existsSync(dirname(output)));
  }));

test('no backup there', () =>
  withWorkbench(async (bench) => {
    const store = folderPlace(bench).open().database('nothing.db');
    const error = await failure(restore({ store, output: join(bench.folder, 'x.db') }));
    assert.is(error.code, 'RESTORE_EMPTY');
    assert.equal(readdirSync(bench.folder), []);
  }));

test('nothing is overwritten without force', () =>
  withStore(async ({ output, store }) => {
    mkdirSync(dirname(output));
    writeFileSync(output, 'precious');
    assert.is((await failure(restore({ store, output }))).code, 'RESTORE_EXISTS');
    assert.is(readFileSync(output, 'utf8'), 'precious');
    assert.equal(readdirSync(dirname(output)), ['app.db']);
  }));

for (const suffix of ['-wal', '-journal']) {
  test(`nothing is put beside a file that SQLite would take into it: ${suffix}`, () =>
    withStore(async ({ images, output, store }) => {
      mkdirSync(dirname(output));
      writeFileSync(output + suffix, 'precious');
      const error = await failure(restore({ store, output }));
      assert.is(error.code, 'RESTORE_EXISTS');
      assert.match(error.message, `app.db${suffix} exists`);
      await restore({ store, output, force: true });
      assert.ok(readFileSync(output).equals(images.get(8)!));
      assert.equal(readdirSync(dirname(output)), ['app.db']);
    }));
}

const COMPANIONS = ['app.db-journal', 'app.db-shm', 'app.db-wal'];

/** A database that was there before, with all that SQLite may keep beside it. */
function putOld(output: string): void {
  mkdirSync(dirname(output), { recursive: true });
  for (const name of ['app.db', ...COMPANIONS]) writeFileSync(join(dirname(output), name), `old ${name}`);
}

function contents(folder: string): string[] {
  return readdirSync(folder).map((name) => `${name}: ${readFileSync(join(folder, name), 'utf8')}`);
}

test('a forced restore takes away what lay beside the old file', () =>
  withStore(async ({ images, output, store }) => {
    putOld(output);
    await restore({ store, output, force: true });
    assert.ok(readFileSync(output).equals(images.get(8)!));
    assert.equal(readdirSync(dirname(output)), ['app.db']);
  }));

test('a forced restore onto a folder is refused before anything is read', () =>
  withStore(async ({ output, store }) => {
    mkdirSync(output, { recursive: true });
    writeFileSync(`${output}-wal`, 'old');
    let read = 0;
    const error = await failure(restore({ store, output, force: true, onProgress: () => read++ }));
    assert.is(error.code, 'RESTORE_EXISTS');
    assert.match(error.message, 'app.db is a folder');
    assert.is(read, 0);
    assert.equal(readdirSync(dirname(output)), ['app.db', 'app.db-wal']);
  }));

test('a forced restore whose output becomes a folder meanwhile leaves the -wal, -journal and -shm of the old file where they were', () =>
  withStore(async ({ output, store }) => {
    putOld(output);
    const onProgress = (): void => {
      rmSync(output, { recursive: true, force: true });
      mkdirSync(output);
    };
    assert.is((await failure(restore({ store, output, force: true, onProgress }))).code, 'RESTORE_EXISTS');
    assert.equal(readdirSync(dirname(output)), ['app.db', ...COMPANIONS]);
    for (const name of COMPANIONS) assert.is(readFileSync(join(dirname(output), name), 'utf8'), `old ${name}`);
  }));

test('a forced restore onto a file that something is mounted on leaves all as it was', () =>
  withStore(async ({ bench, output, store }) => {
    putOld(output);
    const before = contents(dirname(output));
    try {
      execFileSync('mount', ['--bind', output, output], { stdio: 'ignore' });
    } catch {
      console.log('skipped: nothing can be mounted here');
      return;
    }
    bench.onEnd(() => execFileSync('umount', ['-l', output]));
    const error = await failure(restore({ store, output, force: true }));
    assert.is(error.code, 'RESTORE_FAILED');
    assert.match(error.message, 'EBUSY');
    assert.equal(contents(dirname(output)), before);
  }));

test('a forced restore that a companion stands in the way of leaves all as it was', () =>
  withStore(async ({ output, store }) => {
    putOld(output);
    rmSync(`${output}-shm`);
    mkdirSync(`${output}-shm`);
    writeFileSync(join(`${output}-shm`, 'precious'), '');
    const error = await failure(restore({ store, output, force: true }));
    assert.is(error.code, 'RESTORE_EXISTS');
    assert.equal(readdirSync(dirname(output)), ['app.db', ...COMPANIONS]);
    for (const name of ['app.db', 'app.db-wal']) {
      assert.is(readFileSync(join(dirname(output), name), 'utf8'), `old ${name}`);
    }
  }));

test('a file that comes into being meanwhile is not overwritten', () =>
  withStore(async ({ output, store }) => {
    const onProgress = (): void => writeFileSync(output, 'just made');
    assert.is((await failure(restore({ store, output, onProgress }))).code, 'RESTORE_EXISTS');
    assert.is(readFileSync(output, 'utf8'), 'just made');
    assert.equal(readdirSync(dirname(output)), ['app.db']);
  }));

const DAMAGES: [string, (path: string) => void][] = [
  ['a byte changed in the middle', (path) => flip(path, Math.floor(statSync(path).size / 2))],
  ['a byte changed in the header', (path) => flip(path, 35)],
  ['a byte changed in the reserved bytes', (path) => flip(path, 99)],
  ['a byte changed at the end', (path) => flip(path, statSync(path).size - 1)],
  ['cut in the middle', (path) => truncateSync(path, Math.floor(statSync(path).size / 2))],
  ['cut by one byte', (path) => truncateSync(path, statSync(path).size - 1)],
  ['cut to a header', (path) => truncateSync(path, 100)],
  ['emptied', (path) => truncateSync(path, 0)],
  ['replaced by something else', (path) => writeFileSync(path, 'SQLite format 3\0'.repeat(100))],
  ['longer than it should be', (path) => writeFileSync(path, 'x', { flag: 'a' })],
];

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0x10;
  writeFileSync(path, bytes);
}

for (const [what, damage] of DAMAGES) {
  test(`a damaged file is named and nothing is left: ${what}`, () =>
    withStore(async ({ images, output, store, level0 }) => {
      damage(level0(3, 5));
      const error = await failure(restore({ store, output }));
      assert.is(error.code, 'RESTORE_CORRUPT');
      assert.match(error.message, `level 0, ${formatFileName({ level: 0, minTxid: 3, maxTxid: 5 })} is damaged`);
      assert.match(error.hint, '--txid 0000000000000002');
      assert.equal(readdirSync(dirname(output)), []);
      await restore({ store, output, txid: 2 });
      assert.ok(readFileSync(output).equals(images.get(2)!));
    }));
}

test('a whole file of another history is found out', () =>
  withStore(async ({ output, store, level0 }) => {
    await withWorkbench(async (other) => {
      const place = folderPlace(other);
      await filledStore(other, place);
      const name = formatFileName({ level: 0, minTxid: 3, maxTxid: 5 });
      copyFileSync(join(place.folder, 'app.db/ltx/0', name), level0(3, 5));
    });
    const error = await failure(restore({ store, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(error.message, /0000000000000003-0000000000000005\.ltx is damaged: it begins at checksum/);
  }));

test('a file under another name is found out', () =>
  withStore(async ({ output, store, level0 }) => {
    copyFileSync(level0(3, 5), level0(9, 9));
    const error = await failure(restore({ store, output }));
    assert.match(error.message, '0000000000000009-0000000000000009.ltx is damaged: its header is of TXID 3 to 5');
  }));

/** Puts a level-0 file of TXID 9 that changes page 1, with something about it made wrong. */
async function putNext(store: Store, image: Buffer, wrong: Partial<LtxHeader>): Promise<void> {
  const header = {
    pageSize: 4096,
    commit: image.length / 4096,
    minTxid: 9,
    maxTxid: 9,
    timestampMs: 0,
    preApply: 0n,
    postApply: 0n,
    ...wrong,
  };
  const bytes = encodeLtx(header, [{ pgno: 1, data: new Uint8Array(header.pageSize) }]);
  await store.put({ level: 0, minTxid: 9, maxTxid: 9, timestampMs: 0 }, bytes);
}

test('pages that do not add up to the checksum that the file names are found out', () =>
  withStore(async ({ images, output, store }) => {
    await putNext(store, images.get(8)!, { postApply: CHECKSUM_FLAG | 5n });
    const error = await failure(restore({ store, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(
      error.message,
      /0000000000000009-0000000000000009\.ltx is damaged: the database's checksum is [0-9a-f]{16} after it/,
    );
  }));

test('another page size in the middle is found out', () =>
  withStore(async ({ images, output, store }) => {
    await putNext(store, images.get(8)!, { pageSize: 8192 });
    const error = await failure(restore({ store, output }));
    assert.match(error.message, 'its page size is 8192, the one before it has 4096');
  }));

test('a page that no file has is found out', () =>
  withStore(async ({ images, output, store }) => {
    await putNext(store, images.get(8)!, { commit: images.get(8)!.length / 4096 + 2 });
    const error = await failure(restore({ store, output }));
    assert.is(error.code, 'RESTORE_CORRUPT');
    assert.match(error.message, /2 of \d+ pages are in none of the files/);
    assert.equal(readdirSync(dirname(output)), []);
  }));

test('a file that vanished after the listing: a new plan is made', () =>
  withStore(async ({ images, output, store }) => {
    let listings = 0;
    const vanishing: Store = {
      url: store.url,
      list: (range) => store.list(range),
      put: (file, body) => store.put(file, body),
      delete: (files) => store.delete(files),
      setAside: (file) => store.setAside(file),
      readManifest: async () => undefined,
      writeManifest: (bytes, previous) => store.writeManifest(bytes, previous),
      get: (file, range) => store.get(file, range),
      read: (file, offsetBytes, target) => store.read(file, offsetBytes, target),
      async listAll() {
        listings++;
        const files = await store.listAll();
        return listings === 1 ? [...files, { level: 0, minTxid: 9, maxTxid: 9, sizeBytes: 500, timeMs: 0 }] : files;
      },
    };
    assert.is((await restore({ store: vanishing, output })).txid, 8);
    assert.is(listings, 2);
    assert.ok(readFileSync(output).equals(images.get(8)!));
  }));

test('it can be stopped', () =>
  withStore(async ({ output, store }) => {
    const stop = new AbortController();
    const onProgress = (): void => stop.abort();
    assert.is((await failure(restore({ store, output, onProgress, signal: stop.signal }))).code, 'RESTORE_ABORTED');
    assert.equal(readdirSync(dirname(output)), []);
  }));

test('a full disk: one clear error, nothing left', () =>
  withStore(async ({ bench, store }) => {
    const small = join(bench.folder, 'small');
    mkdirSync(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small], { stdio: 'ignore' });
    } catch {
      console.log('skipped: a tmpfs cannot be mounted here');
      return;
    }
    bench.onEnd(() => execFileSync('umount', ['-l', small]));
    const error = await failure(restore({ store, output: join(small, 'app.db') }));
    assert.is(error.code, 'RESTORE_DISK_FULL');
    assert.match(error.message, `no room for ${small}/app.db`);
    assert.equal(readdirSync(small), []);
  }));

test('an output in a folder that cannot be written', () =>
  withStore(async ({ bench, store }) => {
    const error = await failure(
      restore({ store, output: join(bench.folder, 'store', 'app.db', 'ltx', '0', 'x\0.db') }),
    );
    assert.is(error.code, 'RESTORE_FAILED');
  }));

test('hundreds of small files', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { app } = await filledStore(bench, place);
    const store = place.open().database('app.db');
    for (let i = 0; i < 300; i++) {
      app.write(insert(1));
      const txid = app.position.txid;
      await store.put({ level: 0, minTxid: txid, maxTxid: txid, timestampMs: 0 }, app.log.get(txid)!.bytes());
    }
    const output = join(bench.folder, 'out.db');
    const result = await restore({ store, output });
    assert.is(result.files, 304);
    assert.ok(readFileSync(output).equals(app.image));
    assert.is(filesBelow(place.folder, '.tmp').length, 0);
  }));

test.run();
