import type { IncomingMessage } from 'node:http';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../support/until.js';
import { type Fault, readBody } from './fault-proxy.js';
import { withAppAndFaultyBucket } from './faulty-bucket.js';
import { expectRestored, insert, startBackup, untilStored } from './scenario.js';

/** Whole backups to services without conditional writes. */

function isConditional({ method, headers }: IncomingMessage): boolean {
  return (method === 'PUT' || method === 'POST') && ('if-none-match' in headers || 'if-match' in headers);
}

const REFUSED: Fault = { status: 501, code: 'NotImplemented', message: 'A header you provided is not implemented' };

/** Writes what a request would, whatever its condition. Completions of several parts go on to the server. */
function carryOut(client: S3Client): Fault {
  return async (request) => {
    const [, Bucket = '', ...key] = decodeURIComponent(request.url!.split('?')[0]!).split('/');
    const Body = await readBody(request);
    const Metadata = { 'sluice-upload': String(request.headers['x-amz-meta-sluice-upload']) };
    const { ETag = '' } = await client.send(new PutObjectCommand({ Bucket, Key: key.join('/'), Body, Metadata }));
    return { status: 200, code: '', headers: { etag: ETag }, body: '' };
  };
}

const SERVICES: [string, (client: S3Client) => Fault, (request: IncomingMessage) => boolean][] = [
  ['refuses conditions, like Backblaze B2', () => REFUSED, isConditional],
  [
    'passes over conditions, like Google Cloud Storage',
    carryOut,
    (request) => isConditional(request) && request.method === 'PUT',
  ],
];

for (const [name, fault, only] of SERVICES) {
  test(`a service that ${name}: all is stored and kept in order, and status tells`, () =>
    withAppAndFaultyBucket(async ({ bench, set, app, place, proxy }) => {
      const credentials = { accessKeyId: 'tester', secretAccessKey: 'testing-secret' };
      const client = new S3Client({
        endpoint: proxy.target,
        region: 'us-east-1',
        forcePathStyle: true,
        credentials,
        requestChecksumCalculation: 'WHEN_REQUIRED',
      });
      bench.onEnd(() => client.destroy());
      proxy.set(fault(client), Number.POSITIVE_INFINITY, only);
      const retain = { ageMs: 1e13, snapshots: 1, fineMs: 20 };
      const backup = startBackup(bench, set, place, { policy: { levelsMs: [30, 100], snapshotMs: 1e13, retain } });
      await untilStored(backup, 'app.db', 1);
      await until('status tells', () => backup.problems().some(({ code }) => code === 'STORE_UNFENCED'));
      app.write(insert(1000));
      for (let i = 0; i < 4; i++) {
        app.write(insert(10));
        await untilStored(backup, 'app.db', app.position.txid);
      }
      const store = place.open().database('app.db');
      await until('files are merged', async () => (await store.listAll()).some(({ level }) => level === 2));
      await expectRestored(bench, place, app);
      assert.equal(
        backup.problems().map(({ code }) => code),
        ['STORE_UNFENCED'],
      );
    }));
}

test.run();
