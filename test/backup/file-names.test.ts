import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  compareFiles,
  formatFileName,
  formatFilePath,
  formatObjectKey,
  parseFileName,
  parseObjectKey,
} from '../../src/backup/file-names.js';

const key = { level: 9, minTxid: 1, maxTxid: 0x2ab };

test('names are as Litestream has them', () => {
  assert.is(formatFileName(key), '0000000000000001-00000000000002ab.ltx');
  assert.is(formatFilePath(key), 'ltx/9/0000000000000001-00000000000002ab.ltx');
  assert.is(formatObjectKey(key), '0009/0000000000000001-00000000000002ab.ltx');
});

test('names are read back', () => {
  fc.assert(
    fc.property(fc.nat(9), fc.maxSafeNat(), fc.nat(1000), (level, min, more) => {
      const file = {
        level,
        minTxid: Math.max(1, min),
        maxTxid: Math.min(Number.MAX_SAFE_INTEGER, Math.max(1, min) + more),
      };
      assert.equal(parseObjectKey(formatObjectKey(file)), file);
      assert.equal(parseFileName(formatFileName(file)), { minTxid: file.minTxid, maxTxid: file.maxTxid });
    }),
  );
});

for (const name of [
  '',
  'manifest.json',
  '0000000000000001-00000000000002ab.ltx.tmp',
  '0000000000000001-00000000000002AB.ltx',
  '1-2.ltx',
  '0000000000000000-0000000000000002.ltx',
  '0000000000000003-0000000000000002.ltx',
  'ffffffffffffffff-ffffffffffffffff.ltx',
]) {
  test(`is no LTX file name: ${JSON.stringify(name)}`, () => {
    assert.is(parseFileName(name), undefined);
    assert.is(parseObjectKey(`0000/${name}`), undefined);
  });
}

test('objects elsewhere are no LTX files', () => {
  for (const folder of ['000a', '0010', '00', 'x/0000', 'ltx/0', '']) {
    assert.is(parseObjectKey(`${folder}/${formatFileName(key)}`), undefined);
  }
});

test('a listing is in order of level, min and max TXID', () => {
  const files = [
    { level: 0, minTxid: 1, maxTxid: 9 },
    { level: 0, minTxid: 2, maxTxid: 3 },
    { level: 0, minTxid: 2, maxTxid: 4 },
    { level: 1, minTxid: 1, maxTxid: 1 },
  ];
  assert.equal([...files].reverse().sort(compareFiles), files);
});

test.run();
