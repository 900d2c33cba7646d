import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPageRoom, type LtxHeader, lockPage } from '../../src/ltx/index.js';

const header = (commit: number, pageSize = 4096): LtxHeader => ({
  pageSize,
  commit,
  minTxid: 2,
  maxTxid: 2,
  timestampMs: 0,
  preApply: 1n << 63n,
  postApply: 1n << 63n,
});
const LOCK = lockPage(65536);

const table: [what: string, header: LtxHeader, sizeBytes: number, pagesBefore: number, fits: boolean][] = [
  ['no growth', header(10), 0, 10, true],
  ['a shrink', header(1), 0, 10, true],
  ['one page', header(11), 11, 10, true],
  ['one page that does not fit', header(11), 10, 10, false],
  ['many', header(1010), 11_000, 10, true],
  ['one more than many', header(1011), 11_000, 10, false],
  ['the most pages there can be', header(0xffffffff), 300, 1, false],
  ['only the lock page', header(LOCK, 65536), 0, LOCK - 1, true],
  ['over the lock page', header(LOCK + 1, 65536), 11, LOCK - 1, true],
  ['behind the lock page', header(LOCK + 1, 65536), 0, LOCK, false],
];
for (const [what, facts, sizeBytes, pagesBefore, fits] of table) {
  test(what, () => {
    const check = () => checkPageRoom(facts, sizeBytes, pagesBefore);
    if (fits) check();
    else assert.throws(check, (error: { code?: string }) => error.code === 'LTX_HEADER');
  });
}

test.run();
