import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkForwarded, type ForwardedFile, type Ground } from '../../src/forwarding/forwarded-transaction.js';
import { DatabaseSums, encodeLtx, type LtxHeader, pageChecksum } from '../../src/ltx/index.js';

const test = suite('checkForwarded');
const folder = mkdtempSync(join(tmpdir(), 'sluice-forwarded-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const PAGE_SIZE = 512;

function page(fill: number): Buffer {
  return Buffer.alloc(PAGE_SIZE, fill);
}

function sumsOf(pages: readonly number[]): DatabaseSums {
  const sums = new DatabaseSums(PAGE_SIZE);
  const sum = { high: 0, low: 0 };
  pages.forEach((fill, i) => {
    pageChecksum(i + 1, page(fill), 0, PAGE_SIZE, sum);
    sums.set(i + 1, sum.high, sum.low);
  });
  return sums;
}

/** Three pages, at transaction 7. */
function ground(): Ground {
  const sums = sumsOf([1, 2, 3]);
  const position = { txid: 7, checksum: sums.checksum() };
  return { name: 'a.db', position, pageSize: PAGE_SIZE, pageCount: 3, sums };
}

/** Page 2 becomes another, page 4 is new. */
function transaction(
  more: Partial<LtxHeader> = {},
  fills: readonly (readonly [number, number])[] = [
    [2, 9],
    [4, 4],
  ],
): Uint8Array {
  const header: LtxHeader = {
    pageSize: PAGE_SIZE,
    commit: 4,
    minTxid: 8,
    maxTxid: 8,
    timestampMs: 1,
    preApply: ground().position.checksum,
    postApply: sumsOf([1, 9, 3, 4]).checksum(),
    ...more,
  };
  return encodeLtx(
    header,
    fills.map(([pgno, fill]) => ({ pgno, data: Buffer.alloc(header.pageSize, fill) })),
  );
}

async function failure(bytes: Uint8Array): Promise<string | undefined> {
  const file: ForwardedFile = { kind: 'bytes', bytes };
  try {
    await checkForwarded(file, ground());
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

test('one that follows on is taken, and the table stays as it is', async () => {
  const before = ground();
  const checksum = before.sums.checksum();
  const header = await checkForwarded({ kind: 'bytes', bytes: transaction() }, before);
  assert.is(header.maxTxid, 8);
  assert.is(before.sums.checksum(), checksum);
  const path = join(folder, 'file');
  writeFileSync(path, transaction());
  assert.is((await checkForwarded({ kind: 'file', path }, before)).commit, 4);
});

test('one that makes the database smaller', async () => {
  const bytes = transaction({ commit: 2, postApply: sumsOf([1, 9]).checksum() }, [[2, 9]]);
  assert.is(await failure(bytes), undefined);
});

const REFUSED: readonly (readonly [string, Uint8Array, string])[] = [
  ['of an older position', transaction({ minTxid: 7, maxTxid: 7 }), 'FORWARD_STALE'],
  ['of a later position', transaction({ minTxid: 9, maxTxid: 9 }), 'FORWARD_STALE'],
  ['of another history', transaction({ preApply: ground().position.checksum ^ 1n }), 'FORWARD_STALE'],
  ['several in one', transaction({ maxTxid: 9 }), 'FORWARD_STALE'],
  ['with another page size', transaction({ pageSize: 1024 }), 'FORWARD_BAD'],
  ['that does not lead where it says', transaction({ postApply: sumsOf([1, 9, 3, 5]).checksum() }), 'FORWARD_BAD'],
  ['that says nothing of where it leads', transaction({ postApply: 0n }), 'FORWARD_BAD'],
  [
    'without a page that it adds',
    transaction({ commit: 6, postApply: sumsOf([1, 9, 3, 4]).checksum() }),
    'FORWARD_BAD',
  ],
];
for (const [name, bytes, code] of REFUSED) {
  test(`refused: ${name}`, async () => assert.is(await failure(bytes), code));
}

test('refused: any byte that is another, and any end that is missing', async () => {
  const good = transaction();
  for (let at = 0; at < good.length; at++) {
    const bytes = Buffer.from(good);
    bytes[at]! ^= 0x40;
    // What says when it was made may be anything; the checksum of the file tells.
    assert.ok(await failure(bytes), `byte ${at}`);
  }
  for (let length = 0; length < good.length; length += 7)
    assert.ok(await failure(good.subarray(0, length)), `cut at ${length}`);
});

test.run();
