import type { IncomingMessage } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileKey, Store } from '../../src/backup/index.js';
import { PART_BYTES } from '../../src/backup/s3-upload.js';
import { readAll } from '../../src/backup/store.js';
import { errorCode } from '../../src/errors.js';
import type { FaultAnswer } from './fault-proxy.js';
import { withFaultyBucket } from './faulty-bucket.js';

/** Writes that take nothing else's place, on servers that know the conditions for it and on those that do not. */

const BYTES = Buffer.from('some bytes');
const OTHER = Buffer.from('other bytes');
const LARGE = Buffer.alloc(PART_BYTES + 1, 7);

function key(txid: number): FileKey {
  return { level: 0, minTxid: txid, maxTxid: txid };
}

async function put(store: Store, txid: number, bytes: Uint8Array): Promise<string> {
  return code(store.put({ ...key(txid), timestampMs: 0 }, bytes));
}

async function code(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return 'done';
  } catch (error) {
    return errorCode(error) ?? String(error);
  }
}

async function content(store: Store, txid: number): Promise<Buffer> {
  return Buffer.from(await readAll(store.get(key(txid)), LARGE.length));
}

function isConditional({ method, headers }: IncomingMessage): boolean {
  return (method === 'PUT' || method === 'POST') && ('if-none-match' in headers || 'if-match' in headers);
}

function isComplete({ method, url }: IncomingMessage): boolean {
  return method === 'POST' && /uploadId=/.test(url ?? '');
}

test('the answer to a write is lost: the object is there, and the write has succeeded', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    proxy.set('lost-answer', 1, ({ method }) => method === 'PUT');
    assert.is(await put(store, 1, BYTES), 'done');
    assert.is(proxy.faulted, 1);
    proxy.set('lost-answer', 1, isComplete);
    assert.is(await put(store, 2, LARGE), 'done');
    assert.is(proxy.faulted, 1);
    assert.equal(await content(store, 1), BYTES);
    assert.equal(await content(store, 2), LARGE);
    assert.not.ok(
      proxy.requests.some((request) => request.startsWith('DELETE')),
      'nothing is given up',
    );
  }));

test('the answer is lost, and the request sent again: the object is there, and the write has succeeded', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.openWith({ limits: { attempts: 3 } }).database('app.db');
    proxy.set('lost-answer', 1, ({ method }) => method === 'PUT');
    assert.is(await put(store, 1, BYTES), 'done');
    proxy.takeRequests();
    proxy.set('lost-answer', 1, isComplete);
    assert.is(await put(store, 2, LARGE), 'done');
    const completed = proxy.requests.filter((request) => /^POST .*uploadId/.test(request));
    assert.ok(completed.length >= 2, 'it was sent again, and there was no such upload any more');
    proxy.set('lost-answer', 2, (request) => {
      // AWS looks for the upload first, and no longer knows it.
      if (isComplete(request) && proxy.faulted === 1) proxy.fault = { status: 404, code: 'NoSuchUpload' };
      return isComplete(request);
    });
    assert.is(await put(store, 3, LARGE), 'done');
    assert.is(proxy.faulted, 2);
    proxy.set('lost-answer', 1, ({ method }) => method === 'PUT');
    const tag = await store.writeManifest(BYTES, undefined);
    assert.is(await store.readManifest(tag), 'same');
  }));

test('the same bytes once more are no conflict, others are', () =>
  withFaultyBucket(async ({ place }) => {
    assert.is(await put(place.open().database('app.db'), 1, BYTES), 'done');
    assert.is(await put(place.open().database('app.db'), 1, BYTES), 'done');
    assert.is(await put(place.open().database('app.db'), 1, OTHER), 'STORE_EXISTS');
  }));

test('another write of the same name is under way: the request is sent again', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const busy = { status: 409, code: 'ConditionalRequestConflict' };
    proxy.set(busy, 2, isConditional);
    assert.is(await put(store, 1, BYTES), 'done');
    assert.is(proxy.faulted, 2);
    proxy.set(busy, 2, isConditional);
    const tag = await store.writeManifest(BYTES, undefined);
    proxy.set(busy, 1, isComplete);
    assert.is(await put(store, 2, LARGE), 'done');
    proxy.set(busy, Number.POSITIVE_INFINITY, isConditional);
    assert.is(await put(store, 3, BYTES), 'STORE_FAILED', 'not taken for a file that is there');
    assert.is(await code(store.writeManifest(OTHER, tag)), 'STORE_FAILED');
    proxy.set('pass');
    assert.is(await store.readManifest(tag), 'same');
  }));

const REFUSALS: [string, FaultAnswer][] = [
  [
    'Backblaze B2',
    {
      status: 501,
      code: 'NotImplemented',
      message: 'A header you provided implies functionality that is not implemented',
    },
  ],
  ['older servers', { status: 400, code: 'InvalidArgument', message: 'Unsupported header If-None-Match' }],
];

for (const [name, refusal] of REFUSALS) {
  test(`a server that refuses conditions, like ${name}: a look before the write has to do, and it is known`, () =>
    withFaultyBucket(async ({ place, proxy }) => {
      const root = place.open();
      const store = root.database('app.db');
      proxy.set(refusal, Number.POSITIVE_INFINITY, isConditional);
      assert.is(root.warning(), undefined);
      assert.is(await put(store, 1, BYTES), 'done');
      assert.is(root.warning()?.code, 'STORE_UNFENCED');
      assert.match(root.warning()!.message, 's3://backups');
      assert.is(await put(store, 1, OTHER), 'STORE_EXISTS');
      assert.is(await put(store, 2, LARGE), 'done');
      assert.is(await put(store, 2, OTHER), 'STORE_EXISTS');
      assert.is(await put(root.database('other.db'), 1, BYTES), 'done');
      assert.is(proxy.faulted, 2, 'once for each kind of write');
      assert.equal(await content(store, 1), BYTES);
      const first = await store.writeManifest(BYTES, undefined);
      assert.is(await code(store.writeManifest(OTHER, undefined)), 'STORE_CONFLICT');
      const second = await store.writeManifest(OTHER, first);
      assert.is(await code(store.writeManifest(BYTES, first)), 'STORE_CONFLICT');
      assert.is(await store.readManifest(second), 'same');
      assert.is((await store.readManifest(first)) === 'same', false);
    }));
}

test('another refusal does not count as one of conditions', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const root = place.open();
    proxy.set({ status: 400, code: 'BadDigest', message: 'the body is not what the header says' }, 1, isConditional);
    const store = root.database('app.db');
    assert.is(await put(store, 1, BYTES), 'STORE_FAILED');
    assert.is(root.warning(), undefined);
    // As MinIO without keys answers a request to encrypt.
    proxy.set(
      { status: 501, code: 'NotImplemented', message: 'KMS is not configured' },
      2,
      ({ method }) => method === 'PUT',
    );
    assert.is(await put(store, 1, BYTES), 'STORE_FAILED');
    assert.is(root.warning(), undefined);
  }));

test('a server that passes over conditions, like Google Cloud Storage, is found out with the first manifest', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const root = place.open();
    const store = root.database('app.db');
    const other = place.open().database('app.db');
    const tag = await other.writeManifest(BYTES, undefined);
    // Writes whose condition does not hold are carried out.
    proxy.set(
      { status: 200, code: 'none', headers: { etag: tag }, body: '' },
      1,
      ({ method, headers }) => method === 'PUT' && headers['if-none-match'] === '*',
    );
    const second = await store.writeManifest(OTHER, tag);
    assert.is(proxy.faulted, 1);
    assert.is(root.warning()?.code, 'STORE_UNFENCED');
    assert.is(second, tag, 'the tag is the one of the last write');
    proxy.set('pass');
    proxy.takeRequests();
    assert.is(await code(store.writeManifest(BYTES, second)), 'STORE_CONFLICT');
    assert.is(await put(store, 1, BYTES), 'done');
    assert.is(await put(store, 1, OTHER), 'STORE_EXISTS');
    assert.equal(
      proxy.records.filter(isPutOrHead).map(({ method }) => method),
      ['HEAD', 'HEAD', 'PUT', 'HEAD'],
      'it looks before it writes',
    );
  }));

function isPutOrHead({ method }: { method: string }): boolean {
  return method === 'PUT' || method === 'HEAD';
}

test('a server that heeds conditions is asked once, and nothing changes', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const root = place.open();
    const tag = await root.database('app.db').writeManifest(BYTES, undefined);
    assert.is(proxy.takeRequests().length, 3);
    assert.is(root.warning(), undefined);
    await root.database('app.db').writeManifest(OTHER, tag);
    await root.database('other.db').writeManifest(BYTES, undefined);
    assert.is(proxy.takeRequests().length, 2);
  }));

test.run();
