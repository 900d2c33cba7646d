import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openConfiguredStore, openStore, type Store } from '../../src/backup/index.js';
import { PART_BYTES } from '../../src/backup/s3-upload.js';
import { readAll } from '../../src/backup/store.js';
import { describeError } from '../../src/errors.js';
import { type Certificate, newCertificate } from '../support/certificate.js';
import { FaultProxy } from './fault-proxy.js';
import { bucketPlace } from './scenario.js';
import { withWorkbench } from './workbench.js';

/** Servers with certificates of an authority of one's own. */

interface TlsBucket {
  readonly url: string;
  readonly own: Certificate;
  readonly other: Certificate;
  readonly folder: string;
}

const [accessKeyId, secretAccessKey] = ['tester', 'testing-secret'];
const CREDENTIALS = { accessKeyId, secretAccessKey };

function withTlsBucket(body: (bucket: TlsBucket) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const own = newCertificate(bench.folder, 'own');
    const other = newCertificate(bench.folder, 'other');
    const place = await bucketPlace(bench, async (endpoint) => {
      const proxy = new FaultProxy(endpoint, own);
      await proxy.start();
      bench.onEnd(() => proxy.stop());
      return proxy.endpoint;
    });
    if (place !== undefined) await body({ url: place.url, own, other, folder: bench.folder });
  });
}

/** Also for what is sent in another way: a request with `Expect`. */
async function expectUsable(store: Store): Promise<void> {
  for (const [index, size] of [10, PART_BYTES / 2].entries()) {
    const file = { level: 0, minTxid: index + 1, maxTxid: index + 1 };
    await store.put({ ...file, timestampMs: 0 }, Buffer.alloc(size, index));
    assert.is((await readAll(store.get(file), size)).length, size);
  }
  await store.delete([1, 2].map((txid) => ({ level: 0, minTxid: txid, maxTxid: txid })));
}

async function failure(store: Store): Promise<string> {
  try {
    await store.listAll();
    return 'it succeeded';
  } catch (error) {
    return describeError(error);
  }
}

test('a certificate of an unknown authority is refused, and the message says how to name it', () =>
  withTlsBucket(async ({ url }) => {
    const said = await failure(openStore(url, { credentials: CREDENTIALS }, {}).database('app.db'));
    assert.match(said, /certificate/);
    assert.match(said, 'caFile in sluice.yml, or AWS_CA_BUNDLE');
  }));

test('caFile in the configuration, or AWS_CA_BUNDLE, names the authority', () =>
  withTlsBucket(async ({ url, own }) => {
    await expectUsable(openConfiguredStore({ url, ...CREDENTIALS, caFile: own.path }).database('app.db'));
    await expectUsable(openStore(url, { credentials: CREDENTIALS }, { AWS_CA_BUNDLE: own.path }).database('app.db'));
  }));

test('what NODE_EXTRA_CA_CERTS names counts beside it', () =>
  withTlsBucket(async ({ url, own, other }) => {
    const options = { credentials: CREDENTIALS, caFile: other.path };
    assert.match(await failure(openStore(url, options, {}).database('app.db')), /certificate/);
    await expectUsable(openStore(url, options, { NODE_EXTRA_CA_CERTS: own.path }).database('app.db'));
  }));

test('a file of certificates that is none is named', () =>
  withTlsBucket(async ({ url, folder }) => {
    const path = join(folder, 'none.pem');
    const open = (): Store => openStore(url, { credentials: CREDENTIALS, caFile: path }, {}).database('app.db');
    assert.match(await failure(open()), `cannot read the certificates in ${path}: ENOENT`);
    writeFileSync(path, 'nothing');
    assert.match(await failure(open()), `${path} holds no certificate. caFile in sluice.yml`);
  }));

test.run();
