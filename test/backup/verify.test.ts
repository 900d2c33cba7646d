import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  createKeyFile,
  encodeManifest,
  restore,
  type Store,
  type StoreFile,
  type VerifyResult,
  verifyBackup,
} from '../../src/backup/index.js';
import { WrappedStore } from '../../src/backup/wrapped-store.js';
import type { SluiceError } from '../../src/errors.js';
import { runSluice } from '../cmd/run-sluice.js';
import { failure } from './failure.js';
import { Layers, rewrite } from './layers.js';
import { bucketPlace, filledStore, folderPlace } from './scenario.js';
import { type Workbench, withWorkbench } from './workbench.js';

const verify = (store: Store): Promise<VerifyResult> => verifyBackup({ store });

/** `code file` of each problem, the file as `0:2-5`. */
function problemsOf({ problems, problemCount }: VerifyResult): string[] {
  assert.is(problems.length, problemCount);
  return problems.map(({ code, file }) => {
    const match = /^level (\d), ([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(file ?? '');
    const name = match && `${match[1]}:${Number.parseInt(match[2]!, 16)}-${Number.parseInt(match[3]!, 16)}`;
    return name === null ? code : `${code} ${name}`;
  });
}

/** A history of 12 transactions. */
async function withLayers(body: (layers: Layers, bench: Workbench) => Promise<void>): Promise<void> {
  await withWorkbench(async (bench) => {
    const layers = new Layers(bench);
    await layers.writeUpTo(12);
    await body(layers, bench);
  });
}

const LEVEL_0 = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((txid) => `0:${txid}-${txid}`);

for (const [kind, open] of [
  ['folder', async (bench: Workbench) => folderPlace(bench)],
  ['bucket', (bench: Workbench) => bucketPlace(bench)],
] as const) {
  test(`${kind}: a backup as it is made is right, encrypted or not`, () =>
    withWorkbench(async (bench) => {
      const place = await open(bench);
      if (place === undefined) return;
      const keyFile = join(bench.folder, 'backup.key');
      createKeyFile(keyFile);
      const encrypted = { ...place, url: `${place.url}`, open: () => place.open(keyFile) };
      const { app } = await filledStore(bench, encrypted);
      const result = await verify(place.open(keyFile).database('app.db'));
      assert.equal(problemsOf(result), []);
      assert.equal([result.txid, result.checksum], [app.position.txid, app.position.checksum]);
      assert.equal([result.files, result.images, result.looseFiles, result.unnamedFiles], [4, 1, 0, 0]);
      assert.equal([result.pageSize, result.pageCount], [app.pageSize, app.pageCount]);
      assert.is(result.timestampMs, app.positionTimeMs);
      assert.equal(result.notes, []);
      assert.is((await failure(verify(place.open().database('app.db')))).code, 'STORE_KEY');
    }));
}

test('all levels and all snapshots are checked, each file read once', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0, '1:2-5', '1:6-9', '2:2-9', '9:1-7', '9:1-12');
    const counted = new Counted(layers.store);
    const result = await verify(counted);
    assert.equal(problemsOf(result), []);
    assert.equal([result.files, result.images, result.looseFiles], [17, 3, 0]);
    assert.is(new Set(counted.files).size, 17);
    assert.is(counted.files.length, 17);
    assert.is(result.txid, 12);
  }));

test('a snapshot that the smallest steps pass by is tried as a beginning', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', '1:2-5', '1:6-9', '9:1-7', '0:9-9', '0:10-10', '2:10-12', '3:8-12');
    const good = await verify(layers.store);
    assert.equal(problemsOf(good), []);
    assert.is(good.txid, 12);
    // A snapshot that is right in itself, but of another state: what follows it does not lead where it should.
    await layers.putBytes('9:1-7', relabel(layers.bytes(1, 4), 7));
    const bad = await verify(layers.store);
    assert.equal(problemsOf(bad), ['VERIFY_CHAIN 9:1-7']);
    assert.is(bad.txid, 12);
  }));

/** A snapshot under another TXID. */
function relabel(bytes: Uint8Array, maxTxid: number): Uint8Array {
  return rewrite(bytes, () => ({ header: { maxTxid } }));
}

test('a damaged file of any level is found and named, and others lead past it', () =>
  withLayers(async (layers) => {
    const names = ['9:1-1', ...LEVEL_0, '1:2-5', '1:6-9', '2:2-9', '9:1-7'];
    await layers.put(...names);
    for (const name of names) {
      const path = layers.pathOf(name);
      const whole = readFileSync(path);
      const damaged = Buffer.from(whole);
      damaged[150]! ^= 1;
      writeFileSync(path, damaged);
      const result = await verify(layers.store);
      const isTail = ['0:10-10', '0:11-11', '0:12-12'].includes(name);
      assert.equal(problemsOf(result)[0], `VERIFY_CORRUPT ${name}`);
      assert.equal(problemsOf(result).slice(1), isTail ? ['VERIFY_GAP'] : [], name);
      truncateSync(path, 120);
      assert.is(problemsOf(await verify(layers.store))[0], `VERIFY_CORRUPT ${name}`, 'cut');
      writeFileSync(path, whole);
    }
    assert.equal(problemsOf(await verify(layers.store)), []);
  }));

test('a missing file: what is not reached, and what can be restored until then', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0);
    await layers.remove('0:6-6');
    const result = await verify(layers.store);
    assert.equal(problemsOf(result), ['VERIFY_GAP']);
    assert.is(result.txid, 5);
    assert.match(
      result.problems[0]!.message,
      /lead up to TXID 0000000000000005, but there are some up to 000000000000000c/,
    );
    assert.match(result.problems[0]!.hint, /--txid 0000000000000005/);
    // With a later snapshot the newest state can be restored, but not what is between.
    await layers.put('9:1-9');
    const between = await verify(layers.store);
    assert.equal(problemsOf(between), ['VERIFY_GAP']);
    assert.match(between.problems[0]!.message, /none begins at TXID 0000000000000006/);
    assert.is(between.txid, 12);
    await layers.remove(...LEVEL_0.slice(5, 8));
    const pruned = await verify(layers.store);
    assert.equal(problemsOf(pruned), []);
    assert.match(pruned.notes.join(), /states from TXID 0000000000000006 .* are not kept/);
    await layers.remove('9:1-1', '9:1-9');
    assert.equal([(await verify(layers.store)).txid, problemsOf(await verify(layers.store))], [0, ['VERIFY_GAP']]);
  }));

test('a snapshot that was made after the levels were listed is no hole', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', '0:2-2', '0:3-3', '9:1-5');
    const result = await verify(layers.store);
    assert.equal([problemsOf(result), result.notes, result.txid], [[], [], 5]);
    await layers.put('0:6-6');
    assert.match((await verify(layers.store)).notes.join(), /states from TXID 0000000000000004 .* are not kept/);
  }));

test('a file with right checksums of its own that leads to another database', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0, '1:2-5', '1:6-9');
    // A page of it is another one.
    const changed = rewrite(layers.bytes(6, 9), (_, pages) => ({
      pages: pages.map(({ pgno, data }, i) => ({ pgno, data: i === 0 ? data.map((byte) => byte ^ 1) : data })),
    }));
    await layers.putBytes('1:6-9', changed);
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 1:6-9']);
    // One is left out.
    await layers.putBytes(
      '1:6-9',
      rewrite(layers.bytes(6, 9), (_, pages) => ({ pages: pages.slice(1) })),
    );
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 1:6-9']);
    // It is of another history: it follows another state, and leads to another.
    const other = 0x8000000000000123n;
    await layers.putBytes(
      '1:6-9',
      rewrite(layers.bytes(6, 9), () => ({ header: { preApply: other } })),
    );
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 1:6-9']);
    await layers.putBytes(
      '1:6-9',
      rewrite(layers.bytes(6, 9), () => ({ header: { postApply: other } })),
    );
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 1:6-9']);
    // Its name is another's.
    await layers.putBytes('1:6-9', layers.bytes(6, 8));
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CORRUPT 1:6-9']);
  }));

test('files that nothing leads to are compared with what is known', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', '2:2-9', '0:8-8', '0:9-9', '0:10-10');
    const good = await verify(layers.store);
    assert.equal([problemsOf(good), good.looseFiles], [[], 1]);
    assert.match(good.notes.join(), /nothing leads to, .* checked: 1/);
    const page = rewrite(layers.bytes(9, 9), (_, pages) => ({
      pages: pages.map(({ pgno, data }) => ({ pgno, data: data.map((byte) => byte ^ 1) })),
    }));
    await layers.putBytes('0:9-9', page);
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 0:9-9']);
    await layers.putBytes(
      '0:9-9',
      rewrite(layers.bytes(9, 9), () => ({ header: { preApply: 0x8000000000000123n } })),
    );
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 0:9-9']);
  }));

test('files without database checksums are compared with each other', () =>
  withLayers(async (layers) => {
    const unnamed = (min: number, max: number): Uint8Array =>
      rewrite(layers.bytes(min, max), () => ({ header: { preApply: 0n, postApply: 0n } }));
    await layers.putBytes('9:1-1', unnamed(1, 1));
    for (let txid = 2; txid <= 8; txid++) await layers.putBytes(`0:${txid}-${txid}`, unnamed(txid, txid));
    await layers.putBytes('1:2-5', unnamed(2, 5));
    await layers.putBytes('9:1-6', unnamed(1, 6));
    const good = await verify(layers.store);
    assert.equal([problemsOf(good), good.txid, good.checksum], [[], 8, layers.checksum(8)]);
    assert.is(good.unnamedFiles, good.files);
    assert.match(good.notes.join(), /name no database checksum, .*: 10/);
    await layers.putBytes(
      '1:2-5',
      rewrite(unnamed(2, 5), (_, pages) => ({ pages: pages.slice(0, -1) })),
    );
    assert.is(problemsOf(await verify(layers.store)).length, 1);
    // A page that is in no file at all.
    await layers.remove('1:2-5', '9:1-6');
    const grows = [2, 3, 4, 5, 6, 7, 8].find((txid) => pageCount(layers, txid) > pageCount(layers, txid - 1))!;
    await layers.putBytes(
      `0:${grows}-${grows}`,
      rewrite(unnamed(grows, grows), (header, pages) => ({
        pages: pages.filter(({ pgno }) => pgno !== header.commit),
      })),
    );
    const lacking = await verify(layers.store);
    assert.is(problemsOf(lacking)[0], `VERIFY_CHAIN 0:${grows}-${grows}`);
    assert.match(lacking.problems[0]!.message, /1 of the \d+ pages .* in no file/);
  }));

function pageCount(layers: Layers, txid: number): number {
  return new DataView(Uint8Array.from(layers.bytes(1, txid)).buffer).getUint32(12);
}

test('a file of a primary that lost the store is no problem, since restores look at the manifest', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0.slice(0, 5));
    const left = rewrite(layers.bytes(7, 7), () => ({ header: { preApply: 0x8000000000000123n } }));
    await layers.putBytes('0:7-7', left);
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_CHAIN 0:7-7', 'VERIFY_GAP']);
    const files = (await layers.store.listAll()).filter(({ maxTxid }) => maxTxid <= 6);
    const way = [files.at(-1)!, ...files.slice(0, -1)].map((file) => ({
      ...file,
      checksum: layers.checksum(file.maxTxid),
    }));
    const position = { txid: 6, checksum: layers.checksum(6) };
    const manifest = { generation: 2, owner: 'node/1', writtenMs: 0, position, files: way };
    const tag = await layers.store.writeManifest(encodeManifest(manifest), undefined);
    const noted = await verify(layers.store);
    assert.equal(problemsOf(noted), []);
    assert.match(noted.notes.join(), /0007\.ltx is of another history, and no restore uses it/);
    assert.is(noted.txid, 6);

    // And what can be wrong with a manifest.
    const wrong = { ...manifest, position: { txid: 6, checksum: 0x8000000000000123n } };
    const second = await layers.store.writeManifest(encodeManifest(wrong), tag);
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_MANIFEST']);
    const ahead = { ...manifest, position: { txid: 66, checksum: 0n } };
    const third = await layers.store.writeManifest(encodeManifest(ahead), second);
    assert.ok(problemsOf(await verify(layers.store)).includes('VERIFY_MANIFEST'));
    const missing = { ...manifest, files: [...way, { ...way[1]!, minTxid: 7, maxTxid: 9 }] };
    const fourth = await layers.store.writeManifest(encodeManifest(missing), third);
    assert.equal(problemsOf(await verify(layers.store)), ['VERIFY_MANIFEST 0:7-9']);
    await layers.store.writeManifest(Buffer.from('{'), fourth);
    assert.ok(problemsOf(await verify(layers.store)).includes('VERIFY_MANIFEST'));
  }));

test('files that are deleted meanwhile, as retention does, are no problem; what took their place is read', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0);
    const store = new Counted(layers.store);
    // Each time at another file: level 0 gives way to a compaction.
    for (const name of ['0:2-2', '0:4-4', '0:7-7', '0:9-9']) {
      await layers.put('1:2-9');
      store.onGet = async (file) => {
        if (file !== name) return;
        store.onGet = undefined;
        await layers.remove(...LEVEL_0.slice(0, 8));
      };
      const result = await verify(store);
      assert.equal(problemsOf(result), [], name);
      assert.is(result.txid, 12);
      assert.match(result.notes.join(), /deleted meanwhile/);
      await layers.remove('1:2-9');
      await layers.put(...LEVEL_0.slice(0, 8));
    }
    // One that is listed and is not there is a problem.
    store.onGet = async (file) => {
      if (file === '0:4-4') rmSync(layers.pathOf('0:4-4'));
    };
    store.ghost = '0:4-4';
    assert.equal(problemsOf(await verify(store)), ['VERIFY_UNREADABLE 0:4-4', 'VERIFY_GAP']);
  }));

test('whatever is left out of a store or damaged in it: where nothing is wrong a restore is right', () =>
  withLayers(async (layers, bench) => {
    const all = ['9:1-1', '9:1-4', '9:1-9', ...LEVEL_0, '1:2-4', '1:5-7', '1:8-10', '2:2-7', '2:8-12'];
    await layers.put(...all);
    const shelf = join(bench.folder, 'shelf');
    const output = join(bench.folder, 'restored.db');
    const seen = { right: 0, wrong: 0 };
    const some = fc.record({
      gone: fc.subarray(all, { maxLength: 14 }),
      swap: fc.option(fc.tuple(fc.constantFrom(...all), fc.nat(1)), { freq: 3 }),
    });
    const property = fc.asyncProperty(some, async ({ gone, swap }) => {
      for (const name of gone) renameSync(layers.pathOf(name), join(shelf + name.replace(':', '_')));
      const [name, kind] = swap ?? [];
      const changed = name !== undefined && !gone.includes(name) ? name : undefined;
      const [minTxid, maxTxid] = (changed ?? '0:0-0').slice(2).split('-').map(Number) as [number, number];
      if (changed !== undefined) {
        const bytes = layers.bytes(minTxid, maxTxid);
        const pages = rewrite(bytes, (header, list) => {
          if (header.minTxid > 1) return { pages: list.slice(1) };
          return { header: { postApply: layers.checksum(Math.max(2, maxTxid - 1)) } };
        });
        await layers.putBytes(changed, kind === 0 ? bytes.subarray(0, -1) : pages);
      }
      const result = await verify(layers.store).catch((error: SluiceError) => error);
      if (result instanceof Error) {
        assert.is(result.code, 'RESTORE_EMPTY');
      } else if (result.problemCount === 0) {
        seen.right++;
        const restored = await restore({ store: layers.store, output, force: true });
        assert.is(restored.txid, result.txid);
        assert.is(restored.checksum, result.checksum);
        assert.is(result.checksum, layers.checksum(result.txid));
        for (const txid of [3, 8]) {
          const earlier = await restore({ store: layers.store, output, txid, force: true }).catch(() => undefined);
          if (earlier !== undefined) assert.is(earlier.checksum, layers.checksum(earlier.txid));
        }
      } else {
        seen.wrong++;
      }
      if (changed !== undefined) await layers.putBytes(changed, layers.bytes(minTxid, maxTxid));
      for (const back of gone) renameSync(join(shelf + back.replace(':', '_')), layers.pathOf(back));
    });
    await fc.assert(property, { numRuns: Number(process.env.SLUICE_VERIFY_RUNS ?? 15) });
    assert.ok(seen.right > 0 && seen.wrong > 0, JSON.stringify(seen));
  }));

test('sluice verify: what it says, exit code, --json', () =>
  withLayers(async (layers) => {
    await layers.put('9:1-1', ...LEVEL_0);
    const { url } = layers.store;
    const good = await runSluice(['verify', url], layers.place.folder);
    assert.is(good.stderr, '');
    assert.is(good.code, 0);
    assert.match(good.stdout, /app\.db: every checksum is right\nread +12 files, 1 a whole database/);
    assert.match(good.stdout, /newest state +TXID 000000000000000c of 2023-11-14/);
    truncateSync(layers.pathOf('0:6-6'), 150);
    const bad = await runSluice(['verify', url], layers.place.folder);
    assert.is(bad.code, 1);
    assert.match(bad.stdout, /2 problems\n/);
    assert.match(bad.stdout, /VERIFY_CORRUPT {2}level 0, 0000000000000006-0000000000000006\.ltx: LTX file is cut/);
    const json = JSON.parse((await runSluice(['verify', '--json', url], layers.place.folder)).stdout);
    assert.equal([json.ok, json.txid, json.problemCount], [false, '0000000000000005', 2]);
    assert.is(json.problems[0].code, 'VERIFY_CORRUPT');
    const above = await runSluice(['verify', layers.place.url], layers.place.folder);
    assert.is(above.code, 1);
    assert.match(above.stderr, /there is no backup\. There are backups of app\.db below it/);
  }));

/** Which files are read, as `0:2-5`. */
class Counted extends WrappedStore {
  readonly files: string[] = [];
  onGet: ((file: string) => Promise<void>) | undefined;
  /** Is listed though it is gone, as a stale listing may. */
  ghost: string | undefined;

  override async *get(...[file, range]: Parameters<Store['get']>): AsyncGenerator<Uint8Array> {
    const name = `${file.level}:${file.minTxid}-${file.maxTxid}`;
    this.files.push(name);
    await this.onGet?.(name);
    yield* this.inner.get(file, range);
  }

  override async *list(range: Parameters<Store['list']>[0]): AsyncGenerator<StoreFile> {
    if (this.ghost !== undefined) {
      const [level, minTxid, maxTxid] = this.ghost.split(/[:-]/).map(Number) as [number, number, number];
      yield { level, minTxid, maxTxid, sizeBytes: 1, timeMs: 0 };
    } else {
      yield* this.inner.list(range);
    }
  }
}

test.run();
