import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeHeader, encodeLtx, isPageSize, type LtxHeader, snapshotPages } from '../../src/ltx/index.js';
import { headerOf, throwsLtx } from './support.js';

const FULL: LtxHeader = {
  pageSize: 0x1000,
  commit: 0x01020304,
  minTxid: 0x0005060708090a0b,
  maxTxid: 0x000c0d0e0f101112,
  timestampMs: 0x0013141516171819,
  preApply: 0x9a9b9c9d9e9fa0a1n,
  postApply: 0xa2a3a4a5a6a7a8a9n,
  wal: { offset: 0x001a1b1c1d1e1f20, size: 0x0000212223242526, salt1: 0xb1b2b3b4, salt2: 0xc1c2c3c4 },
  nodeId: 0xd1d2d3d4d5d6d7d8n,
};

const HEX =
  '4c54583100000002000010000102030400050607' +
  '08090a0b000c0d0e0f10111200131415161718190000000000000000001a1b1c' +
  '1d1e1f200000212223242526b1b2b3b4c1c2c3c4d1d2d3d4d5d6d7d8' +
  '9a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a900000001';

function patched(offset: number, hex: string): Uint8Array {
  const bytes = Buffer.from(HEX, 'hex');
  bytes.write(hex, offset, 'hex');
  return bytes;
}

test('each field has its place', () => {
  const bytes = encodeLtx(FULL, []);
  assert.is(Buffer.from(bytes.subarray(0, 100)).toString('hex'), HEX);
  assert.equal(decodeHeader(bytes), { ...FULL, flags: 2 });
});

test('checksums of another kind count as unknown, whatever they are', () => {
  for (const kind of ['00000000', '00000002']) {
    const { preApply, postApply } = decodeHeader(patched(96, kind));
    assert.equal([preApply, postApply], [0n, 0n]);
  }
  const standard = patched(4, '00000000');
  Buffer.from(standard.buffer, standard.byteOffset).write('8000000000000001', 40, 'hex');
  const header = decodeHeader(standard);
  assert.equal([header.preApply, header.postApply, header.standardPreApply], [0n, 0n, 0x8000000000000001n]);
});

test('times before 1970', () => {
  const header = headerOf({ timestampMs: -5 });
  assert.is(decodeHeader(encodeLtx(header, [])).timestampMs, -5);
});

const WRONG: readonly (readonly [string, number, string, RegExp])[] = [
  ['unknown flags', 4, '00000006', /unknown flags 0x6/],
  ['page size 0', 8, '00000000', /page size 0/],
  ['page size 256', 8, '00000100', /page size 256/],
  ['page size 4097', 8, '00001001', /page size 4097/],
  ['page size 131072', 8, '00020000', /page size 131072/],
  ['min TXID 0', 16, '0000000000000000', /TXID range/],
  ['min over max TXID', 16, '000c0d0e0f101113', /TXID range/],
  ['huge TXID', 24, 'ffffffffffffffff', /TXID/],
  ['max TXID over 2^53', 24, '0020000000000000', /max TXID out of range/],
  ['pre-apply in spite of the flag', 40, '8000000000000001', /flag 0x2/],
  ['negative WAL offset', 48, 'ffffffffffffffff', /negative/],
  ['negative WAL size', 56, 'ffffffffffffffff', /negative/],
  ['salt without WAL offset', 48, '0000000000000000', /without an offset/],
  ['malformed pre-apply', 80, '1a', /malformed pre-apply/],
  ['malformed post-apply', 88, '1a', /malformed post-apply/],
  ['pre-apply on a snapshot', 16, '0000000000000001', /snapshot/],
];

for (const [name, offset, hex, message] of WRONG) {
  test(`refuses: ${name}`, () => throwsLtx(() => decodeHeader(patched(offset, hex)), 'LTX_HEADER', message));
}

test('refuses a file without flag and without pre-apply checksum', () => {
  throwsLtx(() => decodeHeader(patched(4, '00000000')), 'LTX_HEADER', /missing/);
});

test('refuses other files and cut ones', () => {
  throwsLtx(() => decodeHeader(Buffer.from('SQLite format 3\0')), 'LTX_MAGIC');
  throwsLtx(() => decodeHeader(Buffer.from(HEX, 'hex').subarray(0, 99)), 'LTX_TRUNCATED');
  throwsLtx(() => decodeHeader(new Uint8Array(0)), 'LTX_TRUNCATED');
});

test('refuses to write what it would not read', () => {
  for (const fields of [
    { pageSize: 1000 },
    { commit: -1 },
    { commit: 2 ** 32 },
    { minTxid: 0 },
    { maxTxid: 6 },
    { preApply: 5n },
  ]) {
    throwsLtx(() => encodeLtx(headerOf(fields), []), 'LTX_HEADER');
  }
});

test('page sizes and the pages of a snapshot', () => {
  assert.equal([512, 1024, 65536].map(isPageSize), [true, true, true]);
  assert.equal([0, 1, 511, 768, 131072, Number.NaN].map(isPageSize), [false, false, false, false, false, false]);
  assert.equal(
    [16384, 16385, 16386].map((commit) => snapshotPages(65536, commit)),
    [16384, 16384, 16385],
  );
});

test.run();
