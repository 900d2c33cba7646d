import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withFaultyBucket } from './faulty-bucket.js';
import { countRequests } from './request-count.js';

test('requests are told apart', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const key = (txid: number) => ({ level: 0, minTxid: txid, maxTxid: txid });
    const tag = await store.writeManifest(Buffer.from('{}'), undefined);
    proxy.takeRequests();
    await store.put({ ...key(1), timestampMs: 0 }, Buffer.from('one'));
    await store.put({ ...key(2), timestampMs: 0 }, Buffer.alloc(9 * 1024 * 1024));
    await store.readManifest();
    await store.readManifest(tag);
    await store.writeManifest(Buffer.from('{ }'), tag);
    await store.listAll();
    for await (const _ of store.get(key(1), { offsetBytes: 0, lengthBytes: 2 }));
    await store.setAside(key(1));
    await store.delete([key(2), key(3)]);
    const expected = { put: 4, multipart: 2, head: 1, get: 2, notModified: 1, list: 1, copy: 1, delete: 2, other: 0 };
    assert.equal(countRequests(proxy.records), { ...expected, total: 14 });
  }));

test.run();
