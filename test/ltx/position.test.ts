import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { formatPosition, parseChecksum, parsePosition, parseTxid, samePosition } from '../../src/ltx/index.js';

test('as text and back', () => {
  const position = { txid: 0x1a2b, checksum: 0x9f00000000000001n };
  assert.is(formatPosition(position), '0000000000001a2b/9f00000000000001');
  assert.equal(parsePosition('0000000000001a2b/9f00000000000001\n'), position);
  assert.ok(samePosition(position, { ...position }));
  assert.not(samePosition(position, { ...position, txid: 1 }));
  assert.not(samePosition(position, { ...position, checksum: 1n }));
});

test('refuses other text', () => {
  const code = (expected: string) => (error: unknown) => error instanceof SluiceError && error.code === expected;
  for (const text of ['', '1', '000000000000000g', '00000000000000001', '0020000000000000', ' 000000000000001']) {
    assert.throws(() => parseTxid(text), code('LTX_TXID'));
  }
  assert.throws(() => parseChecksum('0x00000000000001'), code('LTX_CHECKSUM_TEXT'));
  assert.throws(() => parsePosition('0000000000001a2b'), code('LTX_CHECKSUM_TEXT'));
});

test.run();
