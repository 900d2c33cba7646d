import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PathPatterns, pathOf } from '../../src/proxy/path-pattern.js';
import { RequestKinds } from '../../src/proxy/request-kind.js';

const test = suite('proxy/path-pattern');
const matches = (pattern: string, path: string) => new PathPatterns([pattern]).matches(path);

for (const [pattern, yes, no] of [
  ['/a', ['/a'], ['/', '/a/', '/ab', '/b/a']],
  ['/a/*', ['/a/', '/a/b', '/a/b/c'], ['/a', '/b/a/']],
  ['*.css', ['/x.css', '/a/b.css'], ['/x.css/', '/css']],
  ['/a/*/c', ['/a//c', '/a/b/c', '/a/b/b/c'], ['/a/c', '/a/b/c/d']],
  ['/*a*a*', ['/aa', '/bab/a/'], ['/a', '/ba']],
  ['*', ['/', '/x'], []],
  ['/a.b', ['/a.b'], ['/axb']],
] as const) {
  test(`${pattern}`, () => {
    for (const path of yes) assert.ok(matches(pattern, path), path);
    for (const path of no) assert.not.ok(matches(pattern, path), path);
  });
}

test('patterns mean what regular expressions would', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
  const path = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 });
  fc.assert(
    fc.property(text, path, (pattern, value) => {
      const expected = new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(value);
      assert.is(matches(pattern, value), expected);
    }),
    { numRuns: 2000 },
  );
});

test('a path is as the application will read it', () => {
  for (const [target, path] of [
    ['/a/b?c=/d', '/a/b'],
    ['/a/../b', '/b'],
    ['/a/./b/', '/a/b/'],
    ['/%61dmin/x', '/admin/x'],
    ['/a%2F..%2Fb', '/b'],
    ['//a///b', '/a/b'],
    ['/../../a', '/a'],
    ['/a/..', '/'],
    ['/%zz', '/%zz'],
    ['http://host:1/a?b', '/a'],
    ['*', '/'],
    ['/', '/'],
  ] as const) {
    assert.is(pathOf(target), path, target);
  }
});

test('passthrough goes before always-forward, and both before the method', () => {
  const kinds = new RequestKinds({ passthrough: ['*.css'], alwaysForward: ['/admin/*'] });
  assert.is(kinds.of('POST', '/admin/x.css'), 'passthrough');
  assert.is(kinds.of('GET', '/admin/x'), 'write');
  assert.is(kinds.of('GET', '/x'), 'read');
  assert.is(kinds.of('OPTIONS', '*'), 'read');
  assert.is(kinds.of('QUERY', '/x'), 'write');
});

test.run();
