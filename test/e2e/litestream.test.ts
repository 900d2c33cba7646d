import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { filesBelow, ltxVerify } from '../backup/workbench.js';
import { type ClusterNode, cleanUp, freshFolder, startPrimary } from '../support/cluster.js';
import { startGateway } from '../support/gateway.js';
import { requireTool } from '../tools.js';
import { assertIntact, assertSameBytes, settle } from './equality.js';
import { backedUp, stopAll } from './nodes.js';
import { run } from './programs.js';

/** What a primary's mount was backed up to, in a folder and in a bucket at once, restored by the real Litestream. */

const NAMES = ['wal.db', 'rollback.db', 'in a folder/ä.db'];
const INTERVAL = '50ms';

function open(primary: ClusterNode, name: string): Database.Database {
  const db = new Database(primary.path(name), { timeout: 10_000 });
  db.pragma(`journal_mode = ${name === 'rollback.db' ? 'delete' : 'wal'}`);
  return db;
}

/** Transactions of all sizes, of which some are taken back. */
function write(db: Database.Database, rounds: number): void {
  db.exec('create table if not exists t(id integer primary key, x blob); create index if not exists t_x on t(x)');
  const insert = db.prepare('insert into t(x) values (randomblob(?))');
  for (let i = 0; i < rounds; i++) {
    insert.run(20 + i);
    if (i % 10 !== 9) continue;
    db.exec('begin');
    for (let j = 0; j < 400; j++) insert.run(10 + j);
    db.exec(i % 20 === 9 ? 'commit' : 'rollback');
    db.exec('update t set x = randomblob(30) where id % 7 = 0');
  }
}

function vacuumAndShrink(db: Database.Database): void {
  db.exec('vacuum');
  db.exec('delete from t where id % 10 <> 0');
  db.exec('vacuum');
}

/** Everything that may happen to a database, in four lives of its node. */
async function live(primary: ClusterNode, place: (round: number) => Promise<void>): Promise<void> {
  for (let round = 0; round < 4; round++) {
    for (const name of NAMES) {
      const db = open(primary, name);
      write(db, 60);
      if (round % 2 === 1) vacuumAndShrink(db);
      if (name !== 'rollback.db' && round === 2) db.pragma('wal_checkpoint(truncate)');
      write(db, 10);
      db.close();
    }
    await place(round);
  }
}

/** By a config file: an address on its command line cannot have spaces and the like. */
async function litestreamRestore(program: string, replica: object, output: string): Promise<void> {
  const config = `${output}.yml`;
  // JSON is YAML.
  writeFileSync(config, JSON.stringify({ dbs: [{ path: output, replica }] }));
  // Without this machine's own AWS settings: they are not the test's.
  const names = Object.keys(process.env).filter((name) => name.startsWith('AWS_'));
  const env = Object.fromEntries(names.map((name) => [name, undefined]));
  await run(program, ['restore', '-config', config, output], { env });
}

test('Litestream restores what a mount was backed up to, and ltx accepts every file', async () => {
  const litestream = requireTool('litestream');
  if (litestream === undefined || requireTool('ltx') === undefined) {
    console.log('SKIP litestream: litestream or ltx is not installed');
    return;
  }
  const folder = freshFolder('litestream');
  const gateway = await startGateway(folder);
  if (gateway === undefined) {
    console.log('SKIP litestream: versitygw is not installed');
    return;
  }
  try {
    const store = join(folder, 'store');
    const { endpoint, credentials } = gateway;
    const bucket = { url: `s3://${gateway.bucket}/some/path`, endpoint, region: 'us-east-1', pathStyle: true };
    const primary = await startPrimary({
      backup: [
        { url: store, interval: INTERVAL },
        { ...bucket, ...credentials, interval: INTERVAL },
      ],
    });
    mkdirSync(primary.path('in a folder'));
    await live(primary, async (round) => {
      if (round === 0) assert.is(await primary.stop(), 0, primary.log.slice(-4000));
      if (round === 0) await primary.start();
      if (round === 1) await primary.killNode();
      if (round === 2) await primary.killAll();
      if (round === 2) await primary.start();
    });
    const txids = new Map<string, string>();
    for (const name of NAMES) txids.set(name, await backedUp(primary, name));
    await stopAll(primary);

    for (const name of NAMES) {
      const keys = { 'access-key-id': credentials.accessKeyId, 'secret-access-key': credentials.secretAccessKey };
      const key = { type: 's3', bucket: gateway.bucket, path: `some/path/${name}`, endpoint, region: 'us-east-1' };
      const sources = [
        { type: 'file', path: join(store, name) },
        { ...key, ...keys, 'force-path-style': true },
      ];
      settle(primary.backing(name));
      for (const [i, source] of sources.entries()) {
        const restored = join(folder, `restored-${i}-${name.replace('/', '-')}`);
        await litestreamRestore(litestream, source, restored);
        assertIntact(restored);
        assertSameBytes(restored, primary.backing(name));
      }
    }
    for (const root of [store, gateway.folder]) {
      const files = filesBelow(root, '.ltx').map((path) => join(root, path));
      assert.ok(files.length > 3 * NAMES.length, `${files.length} files in ${root}`);
      ltxVerify(files);
    }
  } finally {
    await gateway.stop();
  }
});

test.after(cleanUp);
test.run();
