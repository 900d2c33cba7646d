import type { IncomingMessage } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFileName, openConfiguredStore, parseStoreUrl } from '../../src/backup/index.js';
import { S3Connection } from '../../src/backup/s3-client.js';
import { providerNeeds } from '../../src/backup/s3-providers.js';
import { S3Throttle } from '../../src/backup/s3-throttle.js';
import { PART_BYTES } from '../../src/backup/s3-upload.js';
import type { S3Url } from '../../src/backup/urls.js';
import { errorCode, type SluiceError } from '../../src/errors.js';
import { until } from '../support/until.js';
import { failure } from './failure.js';
import type { FaultAnswer } from './fault-proxy.js';
import { type FaultyBucket, withFaultyBucket } from './faulty-bucket.js';

/** What a bucket is asked, and how: clocks, pauses, headers, batches, listings. */

const BYTES = Buffer.from('some bytes');
const KEY = { level: 0, minTxid: 1, maxTxid: 1 };

test("clocks that differ: the SDK goes by the server's; where that does not help the message names both", () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const later = new Date(Date.now() + 7_200_000);
    const skewed = { status: 403, code: 'RequestTimeTooSkewed', headers: { date: later.toUTCString() } };
    proxy.set(skewed);
    const error = await failure(place.open().database('app.db').listAll());
    assert.is(error.code, 'STORE_FAILED');
    const there = `${later.toISOString().slice(0, 19)}.000Z`;
    assert.match(error.message, /^cannot list s3:\/\/backups\/.*: the clocks differ: this machine's says 20\d\d-.*Z,/);
    assert.match(error.message, `the server's ${there}`);
    assert.match(error.hint, "Set this machine's clock");
    proxy.takeRequests();
    await failure(
      place
        .openWith({ limits: { attempts: 2 } })
        .database('app.db')
        .listAll(),
    );
    const dates = proxy.records.map(({ headers }) => String(headers['x-amz-date']).slice(0, 11));
    const wanted = [new Date(), later].map((date) => date.toISOString().replace(/[-:]/g, '').slice(0, 11));
    assert.equal(dates, wanted, "the second request is signed by the server's clock");
  }));

test('a server that asks for fewer requests gets them after pauses; only if it never stops that is an error', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    proxy.set('slow-down', 4);
    await store.put({ ...KEY, timestampMs: 0 }, BYTES);
    assert.is(proxy.faulted, 4);
    proxy.set({ status: 429, code: 'TooManyRequests' }, 4);
    await store.writeManifest(BYTES, undefined);
    proxy.set('slow-down');
    const error = await failure(store.listAll());
    assert.is(error.code, 'STORE_FAILED');
    assert.match(error.message, 'SlowDown');
    assert.match(error.hint, 'Sluice waits longer after each such answer');
    assert.is(proxy.faulted, 6, 'a limited number of times');
  }));

test('a pause holds back all requests, and ends when the store is closed', async () => {
  const throttle = new S3Throttle(3_600_000, 3_600_000);
  await throttle.pass();
  throttle.slowed();
  throttle.passed();
  let through = 0;
  const waiting = [1, 2, 3].map(async () => {
    await throttle.pass();
    through++;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(through, 0);
  throttle.close();
  await Promise.all(waiting);
  assert.is(through, 3);
});

test('a store that is closed while it waits lets go', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const root = place.openWith({ limits: { throttleMinMs: 3_600_000, throttleMaxMs: 3_600_000 } });
    proxy.set('slow-down', 1);
    let ended: SluiceError | undefined;
    void failure(root.database('app.db').listAll()).then((error) => {
      ended = error;
    });
    await until('the server has answered', () => proxy.records[0]?.status === 503);
    root.close();
    await until('it has ended', () => ended !== undefined);
    assert.is(ended?.code, 'STORE_FAILED');
  }));

function headersOf({ proxy }: FaultyBucket, pattern: RegExp): (string | undefined)[] {
  const found = proxy.records.filter(({ method, url }) => pattern.test(`${method} ${url}`));
  assert.ok(found.length > 0, String(pattern));
  return found.map(({ headers }) =>
    [headers['x-amz-server-side-encryption'], headers['x-amz-server-side-encryption-aws-kms-key-id']].join(' '),
  );
}

test('the server is asked to encrypt each object that is made', () =>
  withFaultyBucket(async (bucket) => {
    const { place, proxy } = bucket;
    // The server here knows no keys: what it would refuse is answered for it.
    const settings = { sse: 'aws:kms' as const, sseKeyId: 'a-key' };
    const [accessKeyId, secretAccessKey] = ['tester', 'testing-secret'];
    const store = openConfiguredStore({ url: place.url, accessKeyId, secretAccessKey, ...settings }).database('app.db');
    await store.put({ ...KEY, timestampMs: 0 }, BYTES);
    await store.put({ ...KEY, level: 1, timestampMs: 0 }, Buffer.alloc(PART_BYTES + 1));
    await store.writeManifest(BYTES, undefined);
    await store.setAside(KEY);
    const wanted = 'aws:kms a-key';
    for (const made of [/^PUT .*0000\/[0-9a-f-]+\.ltx\?/, /^POST .*uploads/, /^PUT .*manifest/, /^PUT .*set-aside/])
      assert.ok(headersOf(bucket, made).every((found) => found === wanted));
    proxy.takeRequests();
    const plain = place.open().database('other.db');
    await plain.put({ ...KEY, timestampMs: 0 }, BYTES);
    assert.equal(headersOf(bucket, /^PUT/), [' ']);
  }));

test('a bucket with Object Lock wants the hash of what is written', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const root = place.open();
    const store = root.database('app.db');
    const message =
      'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters';
    const lacksHash = ({ method, headers }: IncomingMessage) => method === 'PUT' && !('content-md5' in headers);
    proxy.set({ status: 400, code: 'InvalidRequest', message }, Number.POSITIVE_INFINITY, lacksHash);
    await store.put({ ...KEY, timestampMs: 0 }, BYTES);
    await store.put({ ...KEY, level: 1, timestampMs: 0 }, Buffer.alloc(PART_BYTES + 1));
    await store.writeManifest(BYTES, undefined);
    assert.is(proxy.faulted, 1, 'it is remembered');
    assert.is(root.warning(), undefined);
    assert.is((await store.listAll()).length, 2);
  }));

test('files are deleted a thousand with a request; one by one where the server refuses that', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const keys = Array.from({ length: 20 }, (_, i) => ({ level: 0, minTxid: i + 1, maxTxid: i + 1 }));
    const absent = { level: 3, minTxid: 7, maxTxid: 8 };
    const fill = async (): Promise<void> => {
      for (const key of keys) await store.put({ ...key, timestampMs: 0 }, BYTES);
      proxy.takeRequests();
    };
    await fill();
    await store.delete([...keys, absent]);
    assert.is(proxy.takeRequests().length, 1);
    assert.equal(await store.listAll(), []);
    await fill();
    proxy.set({ status: 501, code: 'NotImplemented' }, 1, ({ method }) => method === 'POST');
    await store.delete([...keys, absent]);
    assert.is(proxy.takeRequests().length, 22);
    assert.equal(await store.listAll(), []);
    await fill();
    await store.delete(keys);
    assert.is(proxy.takeRequests().length, 20, 'it is remembered');
  }));

test('of a batch some cannot be deleted: the error says why', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const keys = [1, 2].map((txid) => ({ level: 0, minTxid: txid, maxTxid: txid }));
    for (const key of keys) await store.put({ ...key, timestampMs: 0 }, BYTES);
    const name = 'some/path/app.db/0000/0000000000000001-0000000000000001.ltx';
    const locked = `<Key>${name}</Key><Code>AccessDenied</Code>`;
    proxy.set({ status: 200, code: '', body: `<DeleteResult><Error>${locked}</Error></DeleteResult>` }, 1);
    await store.delete(keys.slice(0, 2));
    assert.is((await store.listAll()).length, 1, 'what failed is tried by itself');
    proxy.set({ status: 403, code: 'AccessDenied' });
    assert.is(errorCode(await failure(store.delete(keys))), 'STORE_ACCESS');
  }));

test('names that addresses have signs for', () =>
  withFaultyBucket(async ({ place }) => {
    const store = place.open().database("a+b ?#&%='ü.db");
    await store.put({ ...KEY, timestampMs: 0 }, BYTES);
    await store.put({ ...KEY, level: 1, timestampMs: 0 }, BYTES);
    await store.setAside(KEY);
    assert.equal(
      (await store.listAll()).map(({ level }) => level),
      [1],
    );
    await store.delete([KEY, { ...KEY, level: 1 }]);
    assert.equal(await store.listAll(), []);
  }));

test('what services need that others do not', () => {
  assert.is(providerNeeds(undefined).pathStyle, false);
  assert.is(providerNeeds('https://s3.eu-central-1.amazonaws.com').pathStyle, false);
  assert.is(providerNeeds('http://127.0.0.1:9000').pathStyle, true);
  assert.is(providerNeeds('https://0123.r2.cloudflarestorage.com').pathStyle, true);
  for (const tigris of ['https://t3.storage.dev', 'https://fly.storage.tigris.dev'])
    assert.equal(providerNeeds(tigris), { pathStyle: false, headers: { 'x-tigris-consistent': 'true' } });
  assert.is(providerNeeds('https://not-tigris.dev.example.com').pathStyle, true);
});

test('the headers that a service needs are in each request, and the bucket in the name of the host', async () => {
  const place = parseStoreUrl('s3://bucket/path?endpoint=https://t3.storage.dev') as S3Url;
  const credentials = { accessKeyId: 'tester', secretAccessKey: 'testing-secret' };
  const connection = new S3Connection(place, { credentials, limits: { attempts: 1 } }, {});
  const seen: unknown[] = [];
  const error = await failure(
    connection.run('ask', (client, sdk) => {
      client.middlewareStack.add(
        () => (args) => {
          const { hostname, headers } = args.request as { hostname: string; headers: Record<string, string> };
          seen.push(hostname, headers['x-tigris-consistent'], headers.authorization?.includes('x-tigris-consistent'));
          throw new Error('it was seen');
        },
        { step: 'finalizeRequest', priority: 'low' },
      );
      return client.send(new sdk.HeadObjectCommand({ Bucket: 'bucket', Key: 'key' }));
    }),
  );
  assert.match(error.message, 'it was seen');
  assert.equal(seen, ['bucket.t3.storage.dev', 'true', true]);
});

function listing(keys: readonly string[], token = ''): FaultAnswer {
  const contents = keys.map((key) => `<Contents><Key>some/path/app.db/${key}</Key><Size>1</Size></Contents>`);
  const more = token === '' ? '' : `<NextContinuationToken>${token}</NextContinuationToken>`;
  const body = `<ListBucketResult><Name>backups</Name>${contents.join('')}${more}</ListBucketResult>`;
  return { status: 200, code: '', body };
}

test('a server that does not know where a listing starts: what was not asked for is passed over', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const name = (txid: number): string => formatFileName({ minTxid: txid, maxTxid: txid, level: 0 });
    proxy.set(listing([`0000/${name(1)}`, `0000/${name(2)}`, `0000/${name(3)}`, `0001/${name(1)}`, `0009/${name(1)}`]));
    const files: string[] = [];
    for await (const { level, minTxid } of place
      .open()
      .database('app.db')
      .list({ firstLevel: 0, lastLevel: 8, afterMinTxid: 2 }))
      files.push(`${level}:${minTxid}`);
    assert.equal(files, ['0:3', '1:1']);
    proxy.set(listing([`0000/${name(1)}`], 'always-the-same'));
    assert.match((await failure(place.open().database('app.db').listAll())).message, 'the list has no end');
  }));

test.run();
