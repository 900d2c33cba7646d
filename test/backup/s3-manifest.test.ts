import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withFaultyBucket } from './faulty-bucket.js';

/** A manifest in a bucket whose server mixes two versions up. */

test('the bytes of one version under the tag of the next are not believed', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const old = Buffer.from('{"version":1,"generation":1}');
    const next = Buffer.from('{"version":1,"generation":2}');
    const tag = await store.writeManifest(next, await store.writeManifest(old, undefined));
    assert.is(tag, `"${createHash('md5').update(next).digest('hex')}"`);
    const mixed = { status: 200, code: '', body: old.toString(), headers: { etag: tag } };
    proxy.set(mixed, 1, ({ method, url }) => method === 'GET' && url?.includes('manifest') === true);
    const read = await store.readManifest();
    assert.is(proxy.faulted, 1);
    assert.ok(read !== undefined && read !== 'same');
    assert.is(Buffer.from(read.bytes).toString(), next.toString());
    assert.is(read.tag, tag);
  }));

test('a server whose tags are no sums is believed after a while', () =>
  withFaultyBucket(async ({ place, proxy }) => {
    const store = place.open().database('app.db');
    const bytes = Buffer.from('{"version":1}');
    await store.writeManifest(bytes, undefined);
    const tag = `"${'ab'.repeat(16)}"`;
    const answer = { status: 200, code: '', body: bytes.toString(), headers: { etag: tag } };
    proxy.set(answer, Number.POSITIVE_INFINITY, ({ method }) => method === 'GET');
    assert.equal(await store.readManifest(), { bytes, tag });
  }));

test.run();
