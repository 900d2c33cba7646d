import { createHmac } from 'node:crypto';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Bookmark,
  cookieValue,
  decodeBookmark,
  encodeBookmark,
  mergeBookmarks,
  withoutCookie,
} from '../../src/proxy/bookmark.js';
import { keysOf } from '../../src/proxy/keys.js';

const test = suite('proxy/bookmark');
const KEY = keysOf('k').bookmark;
const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;

const of = (positions: Record<string, number> | null, lineage = 'aa'): Bookmark => ({
  lineage,
  positions: positions === null ? null : new Map(Object.entries(positions)),
});
const plain = (bookmark: Bookmark | undefined) =>
  bookmark && [bookmark.lineage, bookmark.positions && Object.fromEntries(bookmark.positions)];

test('what is encoded is decoded, whatever the names', () => {
  const names = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 });
  const positions = fc.array(fc.tuple(names, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })), { maxLength: 5 });
  fc.assert(
    fc.property(positions, (entries) => {
      const bookmark = { lineage: '0123456789abcdef', positions: new Map(entries) };
      const text = encodeBookmark(bookmark, KEY, NOW_MS);
      assert.match(text, /^[\w.-]+$/);
      assert.equal(decodeBookmark(text, KEY, NOW_MS, MINUTE_MS), bookmark);
    }),
  );
});

test('its bytes', () => {
  const [payload = '', mac] = encodeBookmark(of({ 'app.db': 300 }), KEY, NOW_MS).split('.');
  assert.is(Buffer.from(payload, 'base64url').toString(), '1 aa s44we8\n8c app.db');
  const expected = createHmac('sha256', KEY).update('1 aa s44we8\n8c app.db').digest().subarray(0, 16);
  assert.is(mac, expected.toString('base64url'));
});

test('too many databases, or too long names, are told as not known', () => {
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`${i}.db`, i + 1]));
  const long = { ['x'.repeat(3000)]: 1 };
  for (const positions of [many, long, null]) {
    assert.equal(plain(decodeBookmark(encodeBookmark(of(positions), KEY, NOW_MS), KEY, NOW_MS, MINUTE_MS)), [
      'aa',
      null,
    ]);
  }
});

test('no other bytes are taken, and none after their time', () => {
  const text = encodeBookmark(of({ 'app.db': 300 }), KEY, NOW_MS);
  assert.ok(decodeBookmark(text, KEY, NOW_MS + MINUTE_MS, MINUTE_MS));
  assert.ok(decodeBookmark(text, KEY, NOW_MS - MINUTE_MS, MINUTE_MS), 'a clock that is behind');
  assert.is(decodeBookmark(text, KEY, NOW_MS + MINUTE_MS + 1000, MINUTE_MS), undefined);
  assert.is(decodeBookmark(text, keysOf('other').bookmark, NOW_MS, MINUTE_MS), undefined);
  assert.is(decodeBookmark(text, keysOf('k').mark, NOW_MS, MINUTE_MS), undefined);
  for (let i = 0; i < text.length; i++) {
    const other = text.slice(0, i) + (text[i] === 'A' ? 'B' : 'A') + text.slice(i + 1);
    const read = decodeBookmark(other, KEY, NOW_MS, MINUTE_MS);
    // The last characters of base64 have bits that count for nothing.
    if (read !== undefined) assert.equal(plain(read), ['aa', { 'app.db': 300 }]);
  }
  fc.assert(fc.property(fc.string(), (any) => decodeBookmark(any, KEY, NOW_MS, MINUTE_MS) === undefined));
});

test('a client keeps what it knew of other databases, as far as the primary has it', () => {
  const at = (name: string) => ({ 'a.db': 10, 'b.db': 20, 'c.db': 3 })[name];
  const merged = mergeBookmarks(of({ 'a.db': 4, 'c.db': 5, 'gone.db': 1 }, 'old'), 'new', new Map([['b.db', 20]]), at);
  assert.equal(plain(merged), ['new', { 'a.db': 4, 'b.db': 20 }]);
  assert.equal(plain(mergeBookmarks(of({ 'a.db': 4 }), 'new', null, at)), ['new', null]);
  assert.equal(plain(mergeBookmarks(undefined, 'new', new Map([['a.db', 1]]), at)), ['new', { 'a.db': 1 }]);
});

test('cookies are found and taken out', () => {
  assert.is(cookieValue('a=1; __sluice=x.y; b=2', '__sluice'), 'x.y');
  assert.is(cookieValue('__sluice="x.y"', '__sluice'), 'x.y');
  assert.is(cookieValue('a__sluice=1; __sluice2=3', '__sluice'), undefined);
  assert.is(cookieValue(undefined, '__sluice'), undefined);
  assert.is(withoutCookie('a=1; __sluice=x.y; b=2', '__sluice'), 'a=1; b=2');
  assert.is(withoutCookie('__sluice=x.y', '__sluice'), undefined);
  assert.is(withoutCookie('a__sluice=1', '__sluice'), 'a__sluice=1');
});

test.run();
