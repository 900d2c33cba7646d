import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Crc64, joinChecksum, pageChecksum, pageChecksumFrom, pageCrc } from '../../src/ltx/index.js';

/** Bit by bit, as the polynomial says. */
function slowCrc(bytes: Uint8Array): bigint {
  let crc = 0xffffffffffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let i = 0; i < 8; i++) crc = (crc & 1n) === 0n ? crc >> 1n : (crc >> 1n) ^ 0xd800000000000000n;
  }
  return crc ^ 0xffffffffffffffffn;
}

const value = (crc: Crc64): bigint => (BigInt(crc.high) << 32n) | BigInt(crc.low);

test('check value', () => {
  const crc = new Crc64();
  crc.update(Buffer.from('123456789'));
  assert.is(value(crc), 0xb90956c775a41001n);
  assert.is(crc.checksum, 0xb90956c775a41001n);
  crc.reset();
  assert.is(value(crc), 0n);
  assert.is(crc.checksum, 0x8000000000000000n);
});

test('any bytes, any parts, any place in a buffer', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), fc.nat(100), fc.nat(7), (bytes, a, b, shift) => {
      const shifted = new Uint8Array(bytes.length + 20).subarray(shift, shift + bytes.length + 2);
      shifted.set(bytes, 2);
      const cuts = [a, b].map((cut) => Math.min(cut, bytes.length)).sort((x, y) => x - y);
      const crc = new Crc64();
      crc.update(shifted, 2, 2 + cuts[0]!);
      crc.update(shifted, 2 + cuts[0]!, 2 + cuts[1]!);
      crc.update(shifted, 2 + cuts[1]!, 2 + bytes.length);
      assert.is(value(crc), slowCrc(bytes));
    }),
  );
});

test('bytes whose checksum is known count as if they were added', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.constantFrom(0, 1, 7, 64), (before, size) => {
      const added = fc.sample(fc.uint8Array({ minLength: size, maxLength: size }), 1)[0]!;
      const known = new Crc64();
      known.update(added);
      const crc = new Crc64();
      crc.update(before);
      crc.append(known.high, known.low, size);
      assert.is(value(crc), slowCrc(Uint8Array.from([...before, ...added])));
      crc.update(before);
      assert.is(value(crc), slowCrc(Uint8Array.from([...before, ...added, ...before])), 'and it goes on from there');
    }),
  );
});

test("a page's checksum, from its bytes' or at once, for every page size", () => {
  for (let size = 512; size <= 65536; size *= 2) {
    const page = Buffer.alloc(size + 3);
    for (let i = 0; i < page.length; i++) page[i] = (i * 2654435761) >>> 13;
    const [whole, known] = [
      { high: 0, low: 0 },
      { high: 0, low: 0 },
    ];
    pageChecksum(7, page, 3, size, whole);
    pageCrc(page, 3, size, known);
    pageChecksumFrom(7, size, known, known);
    assert.equal(known, whole, `${size}`);
  }
});

test('a number is its four bytes', () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), (number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(number);
      const crc = new Crc64();
      crc.updateU32(number);
      assert.is(value(crc), slowCrc(bytes));
    }),
  );
});

test('joined halves have bit 63 set', () => {
  assert.is(joinChecksum(0, 1), 0x8000000000000001n);
  assert.is(joinChecksum(-1, -2), 0xfffffffffffffffen);
});

test.run();
