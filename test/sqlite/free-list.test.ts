import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { freeLeaves } from '../../src/sqlite/index.js';

const test = suite('sqlite/free-list');

const SIZE = 512;

function file(pages: Record<number, readonly number[]>): (pgno: number) => Buffer {
  return (pgno) => {
    const page = Buffer.alloc(SIZE);
    for (const [i, word] of (pages[pgno] ?? []).entries())
      page.writeUInt32BE(word >>> 0, (pgno === 1 ? 32 : 0) + 4 * i);
    return page;
  };
}

test('the leaves of all trunks, and no trunk', () => {
  assert.equal([...freeLeaves(file({ 1: [5], 5: [7, 2, 8, 9], 7: [0, 1, 3] }), 10)], [8, 9, 3]);
});

test('a list that is empty, damaged, or a circle ends', () => {
  assert.is(freeLeaves(file({ 1: [0] }), 10).size, 0);
  assert.is(freeLeaves(file({ 1: [11] }), 10).size, 0, 'behind the end');
  assert.equal([...freeLeaves(file({ 1: [5], 5: [5, 1, 6] }), 10)], [6]);
  assert.ok(freeLeaves(file({ 1: [5], 5: [0, 0xffff_ffff, 6] }), 10).size <= SIZE / 4);
});

test.run();
