import { createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  decryptBytes,
  ENCRYPTED_HEADER_BYTES,
  encryptBytes,
  encryptedSize,
  FileDecryptor,
  FileEncryptor,
  isEncrypted,
  plainSize,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
} from '../../src/backup/encrypted-file.js';
import { backupKey } from '../../src/backup/key-file.js';
import type { SluiceError } from '../../src/errors.js';

const KEY = backupKey(Uint8Array.from({ length: 32 }, (_, i) => i));
const OTHER = backupKey(Uint8Array.from({ length: 32 }, (_, i) => 255 - i));
const SALT = Uint8Array.from({ length: 32 }, (_, i) => 7 * i);
const PLACE = '0009/0000000000000001-000000000000002a.ltx';

/** Sizes at which something changes. */
const SIZES = [
  0,
  1,
  15,
  SEGMENT_BYTES - 1,
  SEGMENT_BYTES,
  SEGMENT_BYTES + 1,
  2 * SEGMENT_BYTES,
  2 * SEGMENT_BYTES + 99,
];

function bytes(size: number): Buffer {
  const all = Buffer.alloc(size);
  for (let i = 0; i < size; i++) all[i] = i * 7 + (i >>> 8);
  return all;
}

function code(action: () => unknown): string {
  try {
    action();
    return 'no error';
  } catch (error) {
    return (error as SluiceError).code;
  }
}

/** What the layout in encrypted-file.ts says, in other words: the last segment is the one that ends the file. */
function readByTheBook(file: Uint8Array, keyBytes: Uint8Array, place: string): Buffer {
  const header = file.subarray(0, 56);
  assert.is(Buffer.from(header.subarray(0, 16)).toString('latin1'), 'SLUICE-E\x01\0\0\0\0\0\0\0');
  assert.equal(
    Buffer.from(header.subarray(16, 24)),
    Buffer.from(hkdfSync('sha256', keyBytes, '', 'sluice backup key id', 8)),
  );
  const info = `sluice encrypted file 1\0${place}`;
  const fileKey = Buffer.from(hkdfSync('sha256', keyBytes, header.subarray(24, 56), info, 32));
  const parts: Buffer[] = [];
  for (let n = 0, at = 56; at < file.length; n++, at += 65_552) {
    const sealed = file.subarray(at, at + 65_552);
    const nonce = Buffer.concat([Buffer.alloc(7), Buffer.alloc(4), Buffer.from([at + 65_552 >= file.length ? 1 : 0])]);
    nonce.writeUInt32BE(n, 7);
    const decipher = createDecipheriv('aes-256-gcm', fileKey, nonce);
    decipher.setAAD(header);
    decipher.setAuthTag(sealed.subarray(sealed.length - 16));
    parts.push(decipher.update(sealed.subarray(0, sealed.length - 16)), decipher.final());
  }
  return Buffer.concat(parts);
}

test('the layout is the one that is documented', () => {
  for (const size of SIZES) {
    const plain = bytes(size);
    const file = encryptBytes(KEY, PLACE, plain);
    assert.ok(readByTheBook(file, KEY.bytes, PLACE).equals(plain), `${size} bytes`);
  }
});

test('the bytes of a version stay what they were', () => {
  const encryptor = new FileEncryptor(KEY, PLACE, SALT);
  const plain = bytes(SEGMENT_BYTES + 100);
  const file = Buffer.concat([encryptor.header, encryptor.push(plain), encryptor.end()]);
  assert.is(createHash('sha256').update(file).digest('hex'), GOLDEN);
});

/** Of what another implementation (Python's cryptography) makes of the same key, salt, name and bytes. */
const GOLDEN = '683d6965e9449785d98c0006cebd5253daace7dfd50458312f824963f383377b';

test('whatever the size and the pieces: the same bytes come out, and the sizes are right', () => {
  const sizes = fc.oneof(fc.constantFrom(...SIZES), fc.nat(3 * SEGMENT_BYTES));
  fc.assert(
    fc.property(
      sizes,
      fc.integer({ min: 1, max: 100_000 }),
      fc.integer({ min: 1, max: 100_000 }),
      (size, inBytes, outBytes) => {
        const plain = bytes(size);
        const encryptor = new FileEncryptor(KEY, PLACE);
        const parts: Uint8Array[] = [encryptor.header];
        for (let at = 0; at < size; at += inBytes) parts.push(encryptor.push(plain.subarray(at, at + inBytes)));
        const file = Buffer.concat([...parts, encryptor.end()]);
        assert.is(file.length, encryptedSize(size));
        assert.is(plainSize(file.length), size);
        const decryptor = new FileDecryptor(KEY, PLACE);
        const found: Uint8Array[] = [];
        for (let at = 0; at < file.length; at += outBytes) found.push(decryptor.push(file.subarray(at, at + outBytes)));
        assert.ok(Buffer.concat([...found, decryptor.end(true)]).equals(plain));
      },
    ),
    { numRuns: 60 },
  );
});

test('no two files are alike, and nothing of the content shows', () => {
  const plain = Buffer.from('a text that nobody else is to read'.repeat(10));
  const one = Buffer.from(encryptBytes(KEY, PLACE, plain));
  const two = Buffer.from(encryptBytes(KEY, PLACE, plain));
  assert.ok(isEncrypted(one));
  assert.not.ok(one.subarray(24).equals(two.subarray(24)));
  assert.not.ok(one.includes('text'));
});

test('a byte that changed anywhere is found', () => {
  const file = encryptBytes(KEY, PLACE, bytes(SEGMENT_BYTES + 50));
  const regions: [string, number, number, string][] = [
    ['magic', 0, 8, 'STORE_KEY'],
    ['version', 8, 9, 'STORE_KEY'],
    ['zeros', 9, 16, 'LTX_CHECKSUM'],
    ['key id', 16, 24, 'STORE_KEY'],
    ['salt', 24, 56, 'LTX_CHECKSUM'],
    ['first segment', 56, 56 + 65_536, 'LTX_CHECKSUM'],
    ['its tag', 56 + 65_536, 56 + 65_552, 'LTX_CHECKSUM'],
    ['last segment', 56 + 65_552, 56 + 65_552 + 50, 'LTX_CHECKSUM'],
    ['its tag', file.length - 16, file.length, 'LTX_CHECKSUM'],
  ];
  for (const [name, from, to, expected] of regions) {
    for (const at of new Set([from, Math.floor((from + to) / 2), to - 1])) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 0x10;
      assert.is(
        code(() => decryptBytes(KEY, PLACE, damaged)),
        expected,
        `${name}, byte ${at}`,
      );
    }
  }
  fc.assert(
    fc.property(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Buffer.from(file);
      damaged[at]! ^= change;
      assert.not.equal(
        code(() => decryptBytes(KEY, PLACE, damaged)),
        'no error',
      );
    }),
    { numRuns: 100 },
  );
});

test('a file that is cut anywhere is found, at the end of a segment too', () => {
  const file = encryptBytes(KEY, PLACE, bytes(2 * SEGMENT_BYTES));
  const second = ENCRYPTED_HEADER_BYTES + SEALED_SEGMENT_BYTES;
  for (const at of [0, 7, 55, 56, 57, 71, 72, 1000, second - 1, second, second + 15, second + 16, file.length - 1]) {
    const found = code(() => decryptBytes(KEY, PLACE, file.subarray(0, at)));
    assert.ok(['LTX_TRUNCATED', 'LTX_CHECKSUM'].includes(found), `cut at ${at}: ${found}`);
  }
  assert.is(
    code(() => decryptBytes(KEY, PLACE, file.subarray(0, second))),
    'LTX_TRUNCATED',
  );
  assert.is(
    code(() => decryptBytes(KEY, PLACE, Buffer.concat([file, file.subarray(56)]))),
    'LTX_CHECKSUM',
    'longer',
  );
});

test('segments in another order, twice, or from another file are found', () => {
  const file = encryptBytes(KEY, PLACE, bytes(3 * SEGMENT_BYTES));
  const other = encryptBytes(KEY, PLACE, bytes(3 * SEGMENT_BYTES));
  const segment = (from: Uint8Array, n: number): Uint8Array =>
    from.subarray(ENCRYPTED_HEADER_BYTES + n * SEALED_SEGMENT_BYTES).subarray(0, SEALED_SEGMENT_BYTES);
  const header = file.subarray(0, ENCRYPTED_HEADER_BYTES);
  const build = (...parts: Uint8Array[]): Buffer => Buffer.concat([header, ...parts]);
  const [a, b, c] = [segment(file, 0), segment(file, 1), segment(file, 2)];
  assert.is(
    code(() => decryptBytes(KEY, PLACE, build(a, b, c))),
    'no error',
  );
  for (const mixed of [build(b, a, c), build(a, c), build(a, b, b, c), build(c), build(a, segment(other, 1), c)]) {
    assert.is(
      code(() => decryptBytes(KEY, PLACE, mixed)),
      'LTX_CHECKSUM',
    );
  }
});

test('another name, another key, no encryption', () => {
  const file = encryptBytes(KEY, PLACE, bytes(100));
  assert.is(
    code(() => decryptBytes(KEY, PLACE.replace('2a', '2b'), file)),
    'LTX_CHECKSUM',
  );
  assert.is(
    code(() => decryptBytes(KEY, 'manifest', file)),
    'LTX_CHECKSUM',
  );
  assert.throws(
    () => decryptBytes(OTHER, PLACE, file),
    (error: SluiceError) =>
      error.code === 'STORE_KEY' && error.message.includes(KEY.id) && error.message.includes(OTHER.id),
  );
  assert.is(
    code(() => decryptBytes(KEY, PLACE, Buffer.from('LTX1 and so on'))),
    'STORE_KEY',
  );
  const newer = Buffer.from(file);
  newer[8] = 2;
  assert.throws(
    () => decryptBytes(KEY, PLACE, newer),
    (error: SluiceError) => error.code === 'STORE_KEY' && error.message.includes('version 2'),
  );
});

test.run();
