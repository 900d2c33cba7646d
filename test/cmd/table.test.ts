import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatTable, visible } from '../../cmd/table.js';

test('each column is as wide as its widest cell', () => {
  assert.equal(formatTable(['A', 'B'], [['long', '1'], ['x']]), ['A     B', 'long  1', 'x']);
});

test('a name cannot break a line, or speak to the terminal', () => {
  assert.is(visible('two\nlines \x1b[2Jé'), 'two\\nlines \\x1b[2Jé');
  assert.equal(formatTable(['A', 'B'], [['a\nb', '1']]), ['A     B', 'a\\nb  1']);
});

test.run();
