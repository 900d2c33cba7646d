import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createKeyFile } from '../../src/backup/index.js';
import { cleanUp, freshFolder, startPrimary } from '../support/cluster.js';
import { until } from '../support/until.js';

const test = suite('node/verify');
test.after(cleanUp);

async function metricsOf(httpUrl: string): Promise<string> {
  return (await fetch(`${httpUrl}/metrics`, { signal: AbortSignal.timeout(10_000) })).text();
}

test('a primary restores its backups on trial, with their key, and tells what came of it', async () => {
  const dir = freshFolder('verify');
  createKeyFile(join(dir, 'backup.key'));
  const backup = { url: './backup', interval: '50ms', verify: '1s', encryption: { key: './backup.key' } };
  const node = await startPrimary({ dir, backup });
  const db = new Database(node.path('app.db'));
  db.pragma('journal_mode = wal');
  db.exec('create table t(x); insert into t values (1)');
  await until('a trial', async () => /^sluice_backup_verify_ok\{.*"app\.db"\} 1$/m.test(await metricsOf(node.httpUrl)));
  assert.match(await metricsOf(node.httpUrl), /^sluice_backup_verified_timestamp_seconds\{.*"app\.db"\} \d{10}/m);
  assert.match(node.log, /"database":"app\.db".*the backup was restored on trial, and is right/);
  assert.equal((await node.status()).problems, []);
  db.close();
  await node.stop();
  assert.equal(readdirSync(join(node.data, 'spool')), []);
});

test.run();
