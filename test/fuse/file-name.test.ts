import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytesOf, isUnicode, nameOf, onDisk } from '../../src/fuse/file-name.js';

test('a name that is UTF-8 is its text', () => {
  assert.is(nameOf(Buffer.from('Grüße 你好 🚰.db')), 'Grüße 你好 🚰.db');
  assert.is(nameOf(Buffer.from('in the middle'), 3, 6), 'the');
  assert.is(nameOf(Buffer.from('a \ufffd of its own')), 'a \ufffd of its own');
  assert.is(onDisk('app.db'), 'app.db');
  assert.ok(isUnicode('🚰'));
});

test('a byte that is no UTF-8 is a lone surrogate, and comes back', () => {
  const bytes = Buffer.from('636166e920fffe2e6462', 'hex');
  assert.is(nameOf(bytes), 'caf\udce9 \udcff\udcfe.db');
  assert.not.ok(isUnicode(nameOf(bytes)));
  assert.equal(onDisk(`/data/${nameOf(bytes)}`), Buffer.concat([Buffer.from('/data/'), bytes]));
  const surrogate = Buffer.from('eda080', 'hex');
  assert.equal(bytesOf(nameOf(surrogate)), surrogate, 'nor is what would be a surrogate');
});

test('any bytes come back, and no two names become one', () => {
  const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
  const names = fc.oneof(
    bytes,
    fc.tuple(bytes, fc.string({ unit: 'binary' })).map(([a, b]) => Buffer.concat([Buffer.from(b), a])),
  );
  fc.assert(
    fc.property(names, names, (a, b) => {
      assert.equal(bytesOf(nameOf(a)), a);
      assert.is(nameOf(a) === nameOf(b), a.equals(b));
    }),
    { numRuns: 2000 },
  );
});

test.run();
