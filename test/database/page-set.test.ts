import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PageSet } from '../../src/database/page-set.js';

test('is a set of numbers in ascending order, whatever comes in whichever order', () => {
  const pages = fc.array(fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 2_000_000 })));
  const set = new PageSet();
  fc.assert(
    fc.property(pages, pages, (first, absent) => {
      const expected = new Set(first);
      for (const page of first) set.add(page);
      assert.is(set.size, expected.size);
      assert.equal(
        [...set.toArray()],
        [...expected].sort((a, b) => a - b),
      );
      for (const page of absent) assert.is(set.has(page), expected.has(page));
      set.clear();
      assert.is(set.size, 0);
      assert.equal([...set.toArray()], []);
      for (const page of first) assert.is(set.has(page), false);
    }),
  );
});

test.run();
