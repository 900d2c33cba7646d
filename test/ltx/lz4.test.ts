import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlockCompressor, blockBound, inflateBlock } from '../../src/ltx/lz4.js';
import { makePage } from './support.js';

const GUARD = 16;
const compressors = [new BlockCompressor('thorough'), new BlockCompressor('fast')];

/** With either effort; the larger size. */
function roundTrip(page: Uint8Array): number {
  return Math.max(...compressors.map((compressor) => roundTripWith(compressor, page)));
}

/** Compresses and lets lz4-napi, another implementation, inflate it; nothing may be written around the block. */
function roundTripWith(compressor: BlockCompressor, page: Uint8Array): number {
  const bound = blockBound(page.length);
  const target = Buffer.alloc(GUARD + bound + GUARD, 0xee);
  const source = Buffer.concat([Buffer.alloc(3), page, Buffer.alloc(5, 1)]);
  const size = compressor.compress(source, 3, page.length, target, GUARD);
  assert.ok(size <= bound);
  assert.ok(target.subarray(0, GUARD).every((byte) => byte === 0xee));
  assert.ok(target.subarray(GUARD + size).every((byte) => byte === 0xee));
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(page.length);
  const block = target.subarray(GUARD, GUARD + size);
  assert.equal(new Uint8Array(lz4.uncompressSync(Buffer.concat([prefix, block]))), page);
  const inflated = new Uint8Array(page.length);
  inflateBlock(target, GUARD, GUARD + size, inflated, page.length);
  assert.equal(inflated, page);
  return size;
}

test('pages of every kind and size', () => {
  for (const pageSize of [512, 1024, 4096, 65536]) {
    for (let pgno = 1; pgno <= 8; pgno++) roundTrip(makePage(pageSize, pgno));
    assert.ok(roundTrip(new Uint8Array(pageSize)) < 30 + pageSize / 250);
    assert.ok(roundTrip(new Uint8Array(pageSize).map((_, i) => i % 7)) < 40 + pageSize / 250);
  }
});

test('small and odd inputs', () => {
  for (let size = 1; size < 80; size++) {
    roundTrip(new Uint8Array(size));
    roundTrip(new Uint8Array(size).map((_, i) => i));
    roundTrip(new Uint8Array(size).map((_, i) => i % 5));
  }
});

test('lengths around the steps of the length code', () => {
  for (const literals of [14, 15, 16, 269, 270, 271, 524, 525, 526]) {
    for (const match of [4, 18, 19, 20, 273, 274, 275, 390]) {
      const start = makePage(512, 4).subarray(0, 400);
      const random = Uint8Array.from({ length: literals }, (_, i) => (i * i * 37 + i * 11) >>> 2);
      roundTrip(new Uint8Array(Buffer.concat([start, random, start.subarray(3, 3 + match), Buffer.alloc(20, 9)])));
    }
  }
});

test('any mixture of repeats', () => {
  const part = fc.record({
    bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
    times: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 40 }), (parts) => {
      roundTrip(new Uint8Array(Buffer.concat(parts.flatMap(({ bytes, times }) => Array(times).fill(bytes)))));
    }),
    { numRuns: 300 },
  );
});

test('the table of matches starts anew after 2^31 bytes', () => {
  const page = makePage(65536, 5);
  const own = new BlockCompressor('thorough');
  const target = Buffer.alloc(blockBound(512));
  const first = Buffer.from(target.subarray(0, own.compress(page, 0, 512, target, 0)));
  for (let i = 0; i < 32800; i++) own.compress(page, 512, 16, target, 0);
  assert.equal(target.subarray(0, own.compress(page, 0, 512, target, 0)), first);
});

test('what does not inflate to one page throws', () => {
  const page = makePage(512, 1);
  const block = lz4.compressSync(Buffer.from(page)).subarray(4);
  const target = new Uint8Array(2048);
  inflateBlock(block, 0, block.length, target, 512);
  assert.equal(target.subarray(0, 512), page);
  for (const size of [0, 511, 513, 1024]) assert.throws(() => inflateBlock(block, 0, block.length, target, size));
  assert.throws(() => inflateBlock(block, 0, block.length - 1, target, 512));
  assert.throws(() => inflateBlock(Buffer.concat([block, Buffer.alloc(1)]), 0, block.length + 1, target, 512));
});

test.run();
