import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { databaseUrl, parseStoreUrl } from '../../src/backup/urls.js';

test('a folder by its absolute path', () => {
  assert.equal(parseStoreUrl('file:///srv/backup/app.db'), { scheme: 'file', path: '/srv/backup/app.db' });
  assert.equal(parseStoreUrl('file:///srv/a%20b/'), { scheme: 'file', path: '/srv/a b' });
});

test('a folder relative to the working directory', () => {
  assert.equal(parseStoreUrl('file://./backup'), { scheme: 'file', path: join(process.cwd(), 'backup') });
  assert.equal(parseStoreUrl('file://../x'), { scheme: 'file', path: join(process.cwd(), '../x') });
});

test('a bucket with all its settings', () => {
  const text = 's3://my-bucket/some//path/?endpoint=http://127.0.0.1:7070&region=eu-west-1&path-style=true';
  assert.equal(parseStoreUrl(text), {
    scheme: 's3',
    bucket: 'my-bucket',
    path: 'some/path',
    endpoint: 'http://127.0.0.1:7070',
    region: 'eu-west-1',
    pathStyle: true,
  });
});

test('a bucket alone, and Litestream spellings', () => {
  assert.equal(parseStoreUrl('s3://bucket'), { scheme: 's3', bucket: 'bucket', path: '' });
  const parsed = parseStoreUrl('s3://bucket?endpoint=minio.example&forcePathStyle=0');
  assert.equal(parsed, {
    scheme: 's3',
    bucket: 'bucket',
    path: '',
    endpoint: 'https://minio.example',
    pathStyle: false,
  });
});

for (const [text, message] of [
  ['backup', '"backup" is not a store address'],
  ['gs://bucket', '"gs://bucket" is not a store address'],
  ['file:/srv', '"file:/srv" lacks the two slashes after file:'],
  ['file://', '"file://" names no folder'],
  ['file://host/srv', '"file://host/srv" names a host; a path starts with /, ./ or ../'],
  ['file:///a?x=1', '"file:///a?x=1" has a query, which a file address cannot have'],
  ['file:///a%zz', '"file:///a%zz" has a broken percent-encoding'],
  ['file:///a%00b', '"file:///a%00b" has a NUL character'],
  ['s3:bucket', '"s3:bucket" lacks the two slashes after s3:'],
  ['s3:///path', '"s3:///path" has no valid bucket name'],
  ['s3://key:secret@bucket/p', '"s3://…@bucket/p" holds credentials, which belong in AWS_* variables'],
  ['s3://bucket?regoin=x', '"s3://bucket?regoin=x" has an unknown setting "regoin"'],
  ['s3://bucket?path-style=yes', '"s3://bucket?path-style=yes" has path-style=yes, which must be true or false'],
  ['s3://bucket?endpoint=http://', '"s3://bucket?endpoint=http://" has an invalid endpoint "http://"'],
] as const) {
  test(`refused: ${text}`, () => {
    assert.throws(
      () => parseStoreUrl(text),
      (error: Error & { code: string }) => {
        assert.is(error.message, message);
        return error.code === 'STORE_URL';
      },
    );
  });
}

test("a database's address is below its root's", () => {
  assert.is(databaseUrl('file:///srv/b/', 'app.db'), 'file:///srv/b/app.db');
  assert.is(databaseUrl('file:///srv/b', 'a b/ü?.db'), 'file:///srv/b/a%20b/%C3%BC%3F.db');
  assert.is(databaseUrl('s3://b/p?region=x', 'app.db'), 's3://b/p/app.db?region=x');
  assert.is(databaseUrl('s3://b?region=x', 'app.db'), 's3://b/app.db?region=x');
  assert.is(databaseUrl('s3://b/p?region=x', ''), 's3://b/p?region=x');
});

test.run();
