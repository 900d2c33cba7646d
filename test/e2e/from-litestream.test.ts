import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore, restore, type S3Options } from '../../src/backup/index.js';
import { litestreamRestore, type Workbench, withWorkbench } from '../backup/workbench.js';
import { FedReplica } from '../feed/feed-scene.js';
import { type ClusterNode, cleanUp, startPrimary } from '../support/cluster.js';
import { startGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { requireTool } from '../tools.js';
import { stopAll } from './nodes.js';

test.after(cleanUp);

/** A place where Litestream keeps databases, and what a node, Litestream and we need to get in. */
interface Place {
  readonly root: string;
  readonly database: string;
  readonly config: object;
  readonly s3: S3Options;
  readonly env: object;
}

async function bucket(bench: Workbench): Promise<Place | undefined> {
  const gateway = await startGateway(bench.folder);
  if (gateway === undefined) return undefined;
  bench.onEnd(() => gateway.stop());
  const query = `?endpoint=${gateway.endpoint}&region=us-east-1&force-path-style=true`;
  const url = `s3://${gateway.bucket}/apps`;
  const { credentials, env, endpoint } = gateway;
  const config = { endpoint, region: 'us-east-1', pathStyle: true, ...credentials };
  return { root: url, database: `${url}/app.db${query}`, config, s3: { ...config, credentials }, env };
}

function folder(bench: Workbench): Place {
  const url = pathToFileURL(join(bench.folder, 'store')).href;
  return { root: url, database: `${url}/app.db`, config: {}, s3: {}, env: {} };
}

/** Has the real Litestream back up a database of 200 rows; false without Litestream. */
function writeWithLitestream(bench: Workbench, place: Place): boolean {
  const program = requireTool('litestream');
  if (program === undefined) return false;
  const path = join(bench.folder, 'app.db');
  const db = new Database(path);
  db.pragma('journal_mode = wal');
  db.exec('create table t(id integer primary key, x)');
  db.close();
  const writer = fileURLToPath(new URL('../backup/litestream-writer.js', import.meta.url));
  const command = `${process.execPath} ${writer} ${path} 2`;
  execFileSync(program, ['replicate', '-exec', command, path, place.database], {
    stdio: 'pipe',
    timeout: 60_000,
    env: { ...withoutAws(), ...place.env },
  });
  return true;
}

for (const make of [folder, bucket]) {
  test(`from Litestream and back, ${make.name}: restored, followed, a primary starts from it and goes on, and Litestream restores that`, () =>
    withWorkbench(async (bench) => {
      const place = await make(bench);
      if (place === undefined || !writeWithLitestream(bench, place)) return;
      const ours = join(bench.folder, 'ours.db');
      const result = await restore({ store: openStore(place.root, place.s3).database('app.db'), output: ours });
      assert.is(count(ours), 200);
      assert.is(result.checksum, 0n, 'Litestream names no database checksum');

      const fed = await FedReplica.start(bench, openStore(place.root, place.s3));
      await until('it has all', () => fed.sink.positions().get('app.db')?.txid === result.txid);
      assert.ok(fed.image('app.db').equals(readFileSync(ours)));
      await fed.stop();

      const backup = { url: place.root, interval: '50ms', ...place.config };
      const primary = await startPrimary({ backup, restore: 'if-missing' });
      const db = new Database(primary.path('app.db'));
      assert.is(db.prepare('select count(*) from t').pluck().get(), 200);
      db.exec('insert into t(x) values (1), (2)');
      await stored(primary, result.txid + 2);
      db.exec('insert into t(x) values (3)');
      await stored(primary, result.txid + 3);
      db.close();
      await stopAll(primary);
      const after = join(bench.folder, 'after.db');
      const next = await restore({ store: openStore(place.root, place.s3).database('app.db'), output: after });
      assert.is(count(after), 203);
      assert.ok(next.checksum !== 0n && next.txid > result.txid);
      const theirs = join(bench.folder, 'theirs.db');
      litestreamRestore(place.database, theirs, place.env);
      assert.ok(readFileSync(theirs).equals(readFileSync(after)));
    }));
}

/** Without this machine's own AWS settings: they are not the test's. */
function withoutAws(): object {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')));
}

async function stored(primary: ClusterNode, txid: number): Promise<void> {
  await until(`${txid} is stored`, async () => {
    const found = (await primary.status()).backups[0]?.databases[0]?.txid ?? '0';
    return Number.parseInt(found, 16) === txid;
  });
}

function count(path: string): unknown {
  const db = new Database(path);
  assert.equal(db.pragma('integrity_check'), [{ integrity_check: 'ok' }]);
  const rows = db.prepare('select count(*) from t').pluck().get();
  db.close();
  return rows;
}

test.run();
