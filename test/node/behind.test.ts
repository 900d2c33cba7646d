import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, cleanUp, startPrimary, startReplica, waitFor, waitForReplica } from '../support/cluster.js';

if (process.getuid?.() !== 0 || !existsSync('/dev/fuse')) {
  console.log('SKIP behind: mounting needs root and /dev/fuse');
  process.exit(0);
}

const test = suite('a replica that is behind');
const NAME = 'a.db';

async function stateOf(node: ClusterNode): Promise<string | undefined> {
  return (await node.status()).databases.find(({ name }) => name === NAME)?.state;
}

test('is shown as such, goes unfit when its lag passes the limit, and is ok again', async () => {
  const primary = await startPrimary({ replication: { heartbeat: '100ms' } });
  const replica = await startReplica(primary, { replication: { heartbeat: '100ms' }, http: { healthLag: '3s' } });
  const health = async () => (await fetch(`${replica.httpUrl}/health`)).status;
  const db = new Sqlite(primary.path(NAME));
  db.exec('CREATE TABLE t (x)');
  db.close();
  await waitForReplica(primary, replica, NAME);
  await waitFor(async () => (await stateOf(replica)) === 'ok');
  assert.is(await health(), 200);
  assert.is(await primary.stop(), 0);
  await waitFor(async () => (await stateOf(replica)) === 'behind', 15_000, 'the replica to be behind');
  const { problems, upstream } = await replica.status();
  const lost = problems.find(({ code }) => code === 'UPSTREAM_LOST');
  assert.is(lost?.since, upstream?.lastHeartbeatAt, 'lost since it was last heard');
  await waitFor(async () => (await health()) === 503, 15_000, 'the replica to be unfit');
  assert.is(await stateOf(primary).catch(() => 'gone'), 'gone');
  await primary.start();
  await waitFor(async () => (await stateOf(replica)) === 'ok', 30_000, 'the replica to be ok again');
  assert.is(await health(), 200);
  assert.is(await stateOf(primary), 'ok');
});

test('files that are no databases are listed by a status right after they came', async () => {
  const primary = await startPrimary();
  for (let i = 0; i < 3; i++) writeFileSync(join(primary.mount, `${i}.txt`), '');
  const { localFiles, localFileCount } = await primary.status();
  assert.equal(localFiles, ['0.txt', '1.txt', '2.txt']);
  assert.is(localFileCount, 3);
});

test.after(cleanUp);
test.run();
