import { closeSync, mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Config } from '../../src/config/index.js';
import { loadConfig } from '../../src/config/load.js';
import { abortMount, mountKernel, openDevice, prepareMountPoint, unmount } from '../../src/fuse/mount.js';
import { Metrics } from '../../src/http/index.js';
import { createLogger } from '../../src/log.js';
import { startNode } from '../../src/node.js';
import type { RunningNode } from '../../src/node-types.js';
import { cleanUp, contentChecksum, freePort, freshFolder, waitFor } from '../support/cluster.js';
import { python } from './support/python.js';

/*
 * Several nodes, each with its own mount and databases, in one process: nothing of a node may be the process's. Only
 * other processes use the mounts, as always: this one serves them.
 */

const test = suite('several nodes in one process');
const READ_LIMIT_MS = 10_000;

interface Here {
  readonly config: Config;
  readonly node: RunningNode;
  readonly deviceFd: number;
}

const nodes: Here[] = [];
test.after(async () => {
  for (const { config } of nodes) abortMount(config.mount.path);
  for (const { config } of nodes) await unmount(config.mount.path, 0);
  cleanUp();
});

/** A replica if the port of its primary is given. */
async function start(name: string, primaryPort?: number): Promise<Here> {
  const cwd = freshFolder(name);
  const config: Config = { ...loadConfig({ cwd, env: {} }), log: { level: 'silent', format: 'json' } };
  const isPrimary = primaryPort === undefined;
  const replica = { ...config.lease, role: 'replica' as const, primary: `ws://127.0.0.1:${primaryPort}` };
  const own: Config = {
    ...config,
    replication: { ...config.replication, listen: isPrimary ? { host: '127.0.0.1', port: await freePort() } : null },
    lease: isPrimary ? config.lease : replica,
  };
  mkdirSync(own.data, { recursive: true });
  const deviceFd = openDevice();
  mountKernel({ deviceFd, path: prepareMountPoint(own.mount.path), name });
  let tellReady: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    tellReady = resolve;
  });
  const node = await startNode({
    config: own,
    deviceFd,
    takeover: false,
    log: await createLogger(own.log),
    metrics: new Metrics(),
    onAnswering: () => undefined,
    onReady: tellReady,
  });
  const here = { config: own, node, deviceFd };
  nodes.push(here);
  await Promise.race([ready, node.failed]);
  return here;
}

const backing = ({ config }: Here, name: string): string => join(config.data, 'files', name);

async function position({ config }: Here, name: string): Promise<string | undefined> {
  const signal = AbortSignal.timeout(READ_LIMIT_MS);
  return readFile(join(config.mount.path, `${name}-pos`), { encoding: 'utf8', signal }).then(
    (text) => text.trim(),
    () => undefined,
  );
}

const write = (here: Here, name: string, mode: string, text: string): Promise<string> =>
  python(
    `
db.execute('PRAGMA journal_mode = ${mode}')
db.execute('CREATE TABLE IF NOT EXISTS t (a)')
for i in range(20): db.execute("INSERT INTO t VALUES ('${text}')")`,
    join(here.config.mount.path, name),
  );

async function stop(here: Here): Promise<void> {
  nodes.splice(nodes.indexOf(here), 1);
  await here.node.drain();
  assert.is(await unmount(here.config.mount.path, READ_LIMIT_MS), 'clean');
  await here.node.finish();
  closeSync(here.deviceFd);
}

test('two primaries with databases of the same names, a replica of each; one pair ends, the other goes on', async () => {
  const one = await start('one');
  const other = await start('other');
  const ofOne = await start('of-one', one.config.replication.listen!.port);
  const ofOther = await start('of-other', other.config.replication.listen!.port);
  const modes = ['WAL', 'DELETE', 'MEMORY'];
  const allSame = async (pairs: readonly (readonly [Here, Here, string])[]): Promise<void> => {
    for (const mode of modes) {
      for (const [primary, replica, text] of pairs) {
        const name = `${mode}.db`;
        await waitFor(
          async () => {
            const now = await position(primary, name);
            return now?.endsWith(contentChecksum(backing(primary, name))) === true;
          },
          30_000,
          `the position of ${name} of ${text}`,
        );
        const reached = await position(primary, name);
        await waitFor(async () => (await position(replica, name)) === reached, 30_000, `the replica of ${text}`);
        assert.is(contentChecksum(backing(replica, name)), contentChecksum(backing(primary, name)), name);
        const rows = await python(
          "print(db.execute('SELECT DISTINCT a FROM t').fetchall())",
          join(replica.config.mount.path, name),
        );
        assert.is(rows, `[('${text}',)]`);
      }
    }
  };
  const pairs = [[one, ofOne, 'one'] as const, [other, ofOther, 'other'] as const];
  for (let round = 0; round < 2; round++) {
    await Promise.all(
      modes.flatMap((mode) => pairs.map(([primary, , text]) => write(primary, `${mode}.db`, mode, text))),
    );
  }
  await allSame(pairs);
  for (const { node } of nodes) assert.equal(node.state().problems, []);
  await stop(ofOne);
  await stop(one);
  for (const mode of modes) await write(other, `${mode}.db`, mode, 'other');
  await allSame(pairs.slice(1));
  await stop(ofOther);
  await stop(other);
  assert.equal(nodes, []);
});

test.run();
