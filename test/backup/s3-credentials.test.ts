import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/backup/index.js';
import { failure } from './failure.js';
import { withFaultyBucket } from './faulty-bucket.js';

/** Where a bucket's credentials come from, and how they are renewed. */

// This machine's own settings are not the test's.
for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
process.env.AWS_EC2_METADATA_DISABLED = 'true';

const BYTES = Buffer.from('some bytes');
const KEY = { level: 0, minTxid: 1, maxTxid: 1 };

/** Runs `body` with more environment variables. */
async function withEnv(more: Record<string, string>, body: () => Promise<void>): Promise<void> {
  const before = { ...process.env };
  Object.assign(process.env, more);
  try {
    await body();
  } finally {
    for (const name of Object.keys(more)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

function profileFile(secret: string): string {
  return `[default]\naws_access_key_id = tester\naws_secret_access_key = ${secret}\n`;
}

test('credentials of a profile that change are read again', () =>
  withFaultyBucket(async ({ bench, place }) => {
    const path = join(bench.folder, 'credentials');
    await withEnv({ AWS_SHARED_CREDENTIALS_FILE: path, AWS_CONFIG_FILE: `${path}.none` }, async () => {
      writeFileSync(path, profileFile('not-the-secret'));
      const store = openStore(place.url).database('app.db');
      const error = await failure(store.listAll());
      assert.is(error.code, 'STORE_ACCESS');
      assert.match(error.message, 'SignatureDoesNotMatch');
      assert.not.match(error.message, 'not-the-secret');
      writeFileSync(path, profileFile('testing-secret'));
      assert.equal(await store.listAll(), []);
    });
  }));

/** Answers as the services do that give credentials to containers and instances; counts how often they did. */
async function withRole(body: (role: { readonly url: string; given: number }) => Promise<void>): Promise<void> {
  const role = { url: '', given: 0 };
  const server = createServer((request, answer) => {
    if (request.url === '/latest/api/token')
      answer.setHeader('x-aws-ec2-metadata-token-ttl-seconds', '600').end('token');
    else if (request.url === '/latest/meta-data/iam/security-credentials/') answer.end('a-role');
    else {
      role.given++;
      const Expiration = new Date(Date.now() + 3_600_000).toISOString();
      const keys = { AccessKeyId: 'tester', SecretAccessKey: 'testing-secret', Token: '' };
      answer.end(JSON.stringify({ Code: 'Success', Type: 'AWS-HMAC', LastUpdated: Expiration, Expiration, ...keys }));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  role.url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  try {
    await body(role);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const NO_FILES = { AWS_SHARED_CREDENTIALS_FILE: '/nonexistent', AWS_CONFIG_FILE: '/nonexistent' };
const ROLES: [string, (url: string) => Record<string, string>][] = [
  ["a container's role", (url) => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/role` })],
  ["an instance's role", (url) => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: url, AWS_EC2_METADATA_DISABLED: 'false' })],
];

for (const [name, variables] of ROLES) {
  test(`credentials of ${name} that expire mid-run are asked for again, and nobody sees an error`, () =>
    withFaultyBucket(async ({ place, proxy }) =>
      withRole(async (role) =>
        withEnv({ ...NO_FILES, ...variables(role.url) }, async () => {
          const store = openStore(place.url).database('app.db');
          await store.put({ ...KEY, timestampMs: 0 }, BYTES);
          assert.is(role.given, 1);
          proxy.set('denied', 1);
          assert.is((await store.listAll()).length, 1);
          assert.is(proxy.faulted, 1);
          assert.is(role.given, 2);
          proxy.set('denied');
          assert.is((await failure(store.listAll())).code, 'STORE_ACCESS');
        }),
      ),
    ));
}

test.run();
