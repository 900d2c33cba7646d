import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeStatus } from '../src/status.js';
import { startNode } from './places.js';
import { client, until } from './processes.js';
import { megabytes, table } from './stats.js';

const CATCH_UP_LIMIT_MS = 5 * 60_000;

/** Resident memory of all processes of a primary with a large database, one replica and a backup. */
export async function benchMemory(root: string, sizeMegabytes: number): Promise<string> {
  const backup = join(root, 'memory-backup');
  mkdirSync(backup, { recursive: true });
  const seed = join(root, 'memory-seed');
  mkdirSync(seed, { recursive: true });
  await client('fill', seed, sizeMegabytes);
  const files = join(root, 'memory-primary', 'data', 'files');
  mkdirSync(files, { recursive: true });
  copyFileSync(join(seed, 'bench.db'), join(files, 'bench.db'));
  rmSync(seed, { recursive: true });
  const primary = await startNode(root, 'memory-primary', { backup });
  try {
    let peak = 0;
    let peakPss = 0;
    const look = setInterval(() => {
      const { rssBytes, pssBytes } = primary.server.memory();
      peak = Math.max(peak, rssBytes);
      peakPss = Math.max(peakPss, pssBytes);
    }, 250);
    const replica = await startNode(root, 'memory-replica', { follow: primary });
    let rows: string[][];
    try {
      await client('touch', primary.mount, 200, 20);
      await until('backup and replica', CATCH_UP_LIMIT_MS, async () => {
        const now = await status(primary.statusUrl);
        return backedUp(now) && now.replicas.every(({ databases }) => databases.every(({ state }) => state === 'live'));
      });
      clearInterval(look);
      const rest = primary.server.memory();
      const replicaRest = replica.server.memory();
      rows = [
        ['primary, at rest', megabytes(rest.rssBytes), megabytes(rest.pssBytes)],
        [
          'primary, peak (snapshots to the backup and to the replica, then commits)',
          megabytes(peak),
          megabytes(peakPss),
        ],
        ['replica, at rest', megabytes(replicaRest.rssBytes), megabytes(replicaRest.pssBytes)],
      ];
    } finally {
      clearInterval(look);
      await replica.server.stop();
    }
    return [
      `Memory of all processes of a node with a database of ${sizeMegabytes} MB. RSS counts pages that processes share (the program itself) once for each, PSS once in all.`,
      '',
      table(['', 'sum of RSS', 'sum of PSS'], rows),
    ].join('\n');
  } finally {
    await primary.server.stop();
  }
}

async function status(url: string): Promise<NodeStatus> {
  return (await (await fetch(url)).json()) as NodeStatus;
}

function backedUp({ databases, backups }: NodeStatus): boolean {
  return (
    databases.length > 0 &&
    databases.every(({ name, txid }) =>
      backups.every((store) => store.databases.some((db) => db.name === name && db.txid === txid)),
    )
  );
}
