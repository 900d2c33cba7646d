import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LtxFile } from '../../src/apply/ltx-file.js';
import { createDatabase, incomingPath } from '../../src/apply/new-file.js';
import { Turn } from '../../src/apply/turn.js';
import { DatabaseSums, encodeLtx, pageChecksum } from '../../src/ltx/index.js';

const PAGE_BYTES = 4096;
const PAGES = 3000;

/** A snapshot whose pages are zeros but for these. */
function snapshot(pages: ReadonlyMap<number, Buffer>): LtxFile {
  const zeros = Buffer.alloc(PAGE_BYTES);
  const sums = new DatabaseSums(PAGE_BYTES);
  const sum = { high: 0, low: 0 };
  const all = Array.from({ length: PAGES }, (_, n) => ({ pgno: n + 1, data: pages.get(n + 1) ?? zeros }));
  for (const { pgno, data } of all) {
    pageChecksum(pgno, data, 0, PAGE_BYTES, sum);
    sums.set(pgno, sum.high, sum.low);
  }
  const header = {
    pageSize: PAGE_BYTES,
    commit: PAGES,
    minTxid: 1,
    maxTxid: 1,
    timestampMs: 0,
    preApply: 0n,
    postApply: sums.checksum(),
    wal: undefined,
  };
  return new LtxFile({ kind: 'bytes', bytes: encodeLtx(header, all) });
}

test('pages of zeros are holes in a new file, which is as long as it must be', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-new-file-'));
  try {
    const pages = new Map([1, 2, 700, 701, 2000].map((pgno) => [pgno, Buffer.alloc(PAGE_BYTES, pgno & 0xff)]));
    const path = join(folder, 'x.db');
    const ltx = snapshot(pages);
    await createDatabase(path, ltx, new Turn());
    ltx.close();
    const bytes = readFileSync(path);
    assert.is(bytes.length, PAGES * PAGE_BYTES);
    const expected = Buffer.alloc(PAGES * PAGE_BYTES);
    for (const [pgno, page] of pages) page.copy(expected, (pgno - 1) * PAGE_BYTES);
    assert.ok(bytes.equals(expected));
    assert.ok(statSync(path).blocks * 512 <= 16 * PAGE_BYTES, `${statSync(path).blocks} blocks`);
    assert.equal(readdirSync(folder), ['x.db']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the name beside a long one is no longer than a name may be, and each has its own', () => {
  const names = ['x.db', `${'n'.repeat(252)}.db`, `${'n'.repeat(251)}m.db`, `${'你'.repeat(84)}.db`];
  const beside = names.map((name) => incomingPath(`folder/${name}`));
  for (const path of beside) {
    assert.ok(path.startsWith('folder/.sluice-incoming-'), path);
    assert.ok(Buffer.byteLength(path) <= 'folder/'.length + 255);
  }
  assert.is(new Set(beside).size, names.length);
});

test.run();
