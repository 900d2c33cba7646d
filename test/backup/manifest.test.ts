import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeManifest, encodeManifest, type Manifest } from '../../src/backup/index.js';
import { errorCode } from '../../src/errors.js';

const MANIFEST: Manifest = {
  generation: 3,
  owner: 'b1c2/7',
  writtenMs: 1_700_000_000_001,
  position: { txid: 0x2a, checksum: 0x8000000000000102n },
  files: [
    { level: 9, minTxid: 1, maxTxid: 0x20, sizeBytes: 4711, timeMs: 1_600_000_000_000, checksum: 0x8000000000000099n },
    { level: 0, minTxid: 0x21, maxTxid: 0x2a, sizeBytes: 300, timeMs: 1_700_000_000_000, checksum: 0n },
  ],
};

test('what is written is read', () => {
  assert.equal(decodeManifest(encodeManifest(MANIFEST)), MANIFEST);
  const empty = { ...MANIFEST, position: { txid: 0, checksum: 0n }, files: [] };
  assert.equal(decodeManifest(encodeManifest(empty)), empty);
});

test('the bytes are JSON that a person can read', () => {
  assert.is(
    Buffer.from(encodeManifest(MANIFEST)).toString(),
    `{"version":2,"generation":3,"owner":"b1c2/7","written":1700000000001,"txid":"000000000000002a","checksum":"8000000000000102","files":[
[9,"0000000000000001","0000000000000020",4711,1600000000000,"8000000000000099"],
[0,"0000000000000021","000000000000002a",300,1700000000000,"0000000000000000"]
]}
`,
  );
});

test('of version 1 the checksums count as unknown', () => {
  const old = Buffer.from(encodeManifest(MANIFEST)).toString().replace('"version":2', '"version":1');
  const { position, files, ...rest } = decodeManifest(Buffer.from(old));
  const { position: now, files: wanted, ...others } = MANIFEST;
  assert.equal(position, { ...now, checksum: 0n });
  assert.equal(
    files,
    wanted.map((file) => ({ ...file, checksum: 0n })),
  );
  assert.equal(rest, others);
});

test('anything else is refused', () => {
  const text = Buffer.from(encodeManifest(MANIFEST)).toString();
  for (const wrong of [
    '',
    'null',
    '[]',
    text.slice(0, -4),
    text.replace('"version":2', '"version":3'),
    text.replace('"generation":3', '"generation":0'),
    text.replace('000000000000002a', '2a'),
    text.replace('[0,"0000000000000021"', '[0,"0000000000000031"'),
    text.replace('[9,', '[10,'),
    text.replace('4711', '"4711"'),
  ]) {
    let code: string | undefined;
    try {
      decodeManifest(Buffer.from(wrong));
    } catch (error) {
      code = errorCode(error);
    }
    assert.is(code, 'STORE_MANIFEST', wrong);
  }
});

test.run();
