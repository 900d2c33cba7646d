import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore, restore, type Store, verifyBackup } from '../../src/backup/index.js';
import { encodeLtx, type LtxPage } from '../../src/ltx/index.js';
import { asStandard, checksumOf, standardChecksumOf } from '../ltx/support.js';
import { failure } from './failure.js';

/* Files with the LTX format's own database checksums, which neither Sluice nor Litestream writes, and `ltx` and LiteFS do. */

const PAGE_SIZE = 4096;

interface Chain {
  readonly store: Store;
  readonly folder: string;
  /** Stores the database as it is now as the next transaction; `follows`: the checksum that it says it follows. */
  put(follows?: bigint): Promise<void>;
  readonly db: Sqlite.Database;
  readonly path: string;
}

async function withChain(body: (chain: Chain) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-standard-'));
  const root = openStore(`file://${join(folder, 'store')}`, {});
  const store = root.database('app.db');
  const path = join(folder, 'app.db');
  const db = new Sqlite(path);
  let txid = 0;
  let last: readonly LtxPage[] = [];
  let checksum = 0n;
  const put = async (follows = checksum): Promise<void> => {
    const bytes = readFileSync(path);
    const commit = bytes.length / PAGE_SIZE;
    const all = Array.from({ length: commit }, (_, i) => ({
      pgno: i + 1,
      data: bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE),
    }));
    const changed = all.filter(({ pgno, data }) => !data.equals(last[pgno - 1]?.data ?? Buffer.alloc(0)));
    const range = { minTxid: ++txid, maxTxid: txid };
    const sums = { preApply: 0n, postApply: 0n };
    const ltx = encodeLtx({ pageSize: PAGE_SIZE, commit, ...range, timestampMs: 1e12 + txid, ...sums }, changed);
    last = all;
    checksum = standardChecksumOf(PAGE_SIZE, all);
    const file = asStandard(ltx, txid === 1 ? 0n : follows, checksum);
    const key = { level: 0, ...range, timestampMs: 1e12 + txid, sizeEstimateBytes: file.length };
    await store.put(key, file);
  };
  try {
    await body({ store, folder, put, db, path });
  } finally {
    db.close();
    root.close();
    rmSync(folder, { recursive: true });
  }
}

test('a chain of them is restored and verified', () =>
  withChain(async ({ store, folder, put, db, path }) => {
    db.exec('CREATE TABLE t (x)');
    await put();
    for (const n of [1, 2]) {
      db.exec(`INSERT INTO t VALUES (${n})`);
      await put();
    }
    const output = join(folder, 'restored.db');
    assert.is((await restore({ store, output })).txid, 3);
    assert.equal(readFileSync(output), readFileSync(path));
    assert.equal((await verifyBackup({ store })).problems, []);
  }));

test('one that follows another history is found by both', () =>
  withChain(async ({ store, folder, put, db }) => {
    db.exec('CREATE TABLE t (x)');
    await put();
    db.exec('INSERT INTO t VALUES (1)');
    await put();
    db.exec('INSERT INTO t VALUES (2)');
    await put((1n << 63n) | 5n);
    const error = await failure(restore({ store, output: join(folder, 'restored.db') }));
    assert.match(`${error.message} ${error.hint}`, '8000000000000005');
    const { problems } = await verifyBackup({ store });
    assert.equal(
      problems.map(({ code }) => code),
      ['VERIFY_CHAIN'],
    );
  }));

for (const kind of ['standard', 'no'] as const) {
  test(`a file with our own behind a snapshot with ${kind} checksums must lead on from what that holds`, async () => {
    for (const wrong of ['nothing', 'what it follows', 'what it leads to']) {
      await withChain(async ({ store, folder, put, db, path }) => {
        const pagesNow = (): LtxPage[] => {
          const bytes = readFileSync(path);
          const page = (i: number) => bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
          return Array.from({ length: bytes.length / PAGE_SIZE }, (_, i) => ({ pgno: i + 1, data: page(i) }));
        };
        const file = async (txid: number, pages: LtxPage[], preApply: bigint, postApply: bigint) => {
          const range = { minTxid: txid, maxTxid: txid, timestampMs: 1e12 + txid };
          const ltx = encodeLtx(
            { pageSize: PAGE_SIZE, commit: pagesNow().length, ...range, preApply, postApply },
            pages,
          );
          await store.put({ level: 0, ...range, sizeEstimateBytes: ltx.length }, ltx);
        };
        db.exec('CREATE TABLE t (x)');
        db.exec('INSERT INTO t VALUES (1)');
        const before = pagesNow();
        if (kind === 'standard') await put();
        else await file(1, before, 0n, 0n);
        db.exec('UPDATE t SET x = 2');
        const after = pagesNow();
        const changed = after.filter(({ pgno, data }) => Buffer.compare(data, before[pgno - 1]!.data) !== 0);
        const other = checksumOf(PAGE_SIZE, before.slice(1));
        const [from, to] = [before, after].map((pages) => checksumOf(PAGE_SIZE, pages));
        await file(2, changed, wrong === 'what it follows' ? other : from!, wrong === 'what it leads to' ? other : to!);
        const output = join(folder, 'restored.db');
        if (wrong === 'nothing') {
          assert.is((await restore({ store, output })).checksum, to);
          assert.equal(readFileSync(output), readFileSync(path));
        } else {
          const error = await failure(restore({ store, output }));
          assert.is(error.code, 'RESTORE_CORRUPT', `${wrong}: ${error.message}`);
        }
      });
    }
  });
}

test.run();
