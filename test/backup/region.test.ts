import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/backup/index.js';
import { type Ran, runSluice } from '../cmd/run-sluice.js';
import { bucketPlace, filledStore } from './scenario.js';
import { type Workbench, withWorkbench } from './workbench.js';

// This machine's own settings are not the test's.
for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];

/** `sluice restore` on a machine that knows of no region: no variable, no profile, no metadata service. */
function restore(bench: Workbench, source: string, env: Record<string, string> = {}): Promise<Ran> {
  const credentials = { AWS_ACCESS_KEY_ID: 'tester', AWS_SECRET_ACCESS_KEY: 'testing-secret' };
  const nothing = { HOME: bench.folder, AWS_EC2_METADATA_DISABLED: 'true' };
  const output = join(bench.folder, 'out.db');
  return runSluice(['restore', '-o', output, source], bench.folder, { ...credentials, ...nothing, ...env });
}

const HINT = "Name the bucket's region: AWS_REGION=…, ?region=… at the end of the address, or region in sluice.yml";

test('AWS, and no region: it says how to name one', () =>
  withWorkbench(async (bench) => {
    const ran = await restore(bench, 's3://bucket/app.db');
    assert.is(ran.code, 1);
    assert.is(ran.stderr, `sluice: cannot read s3://bucket/app.db/manifest.json: Region is missing. ${HINT}\n`);
    const empty = await restore(bench, 's3://bucket/app.db', { AWS_REGION: '', AWS_ENDPOINT_URL: '' });
    assert.is(empty.code, 1);
    assert.match(empty.stderr, /^sluice: cannot read s3:\/\/bucket\/app\.db\/manifest\.json: Region /);
    assert.match(empty.stderr, HINT);
  }));

test('a service of its own, and no region: it works; with the wrong one it says how to name the right one', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place === undefined) return;
    await filledStore(bench, place);
    const [endpoint] = /endpoint=[^&]+/.exec(place.url)!;
    const wrong = await restore(bench, `s3://backups/some/path/app.db?${endpoint}&region=eu-west-1`);
    assert.is(wrong.code, 1);
    assert.match(wrong.stderr, `expecting "us-east-1". ${HINT}\n`);
    const also = await restore(bench, `s3://backups/some/path/app.db?${endpoint}`, { AWS_REGION: 'eu-west-1' });
    assert.match(also.stderr, HINT);
    assert.not(existsSync(join(bench.folder, 'out.db')));
    const right = await restore(bench, `s3://backups/some/path/app.db?${endpoint}`);
    assert.is(right.code, 0, right.stderr);
    assert.ok(existsSync(join(bench.folder, 'out.db')));
  }));

test('a variable that is set to nothing names no region', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place === undefined) return;
    const url = place.url.replace('&region=us-east-1', '');
    const credentials = { accessKeyId: 'tester', secretAccessKey: 'testing-secret' };
    const store = openStore(url, { credentials }, { AWS_REGION: '', AWS_DEFAULT_REGION: '' }).database('app.db');
    assert.equal(await store.listAll(), []);
  }));

test.run();
