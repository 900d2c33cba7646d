import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type ClusterNode, waitFor } from '../support/cluster.js';
import { treeOf } from './programs.js';

/** Waits until every store of a node has what is committed in a database now. Returns that TXID. */
export async function backedUp(node: ClusterNode, database: string, limitMs = 60_000): Promise<string> {
  let txid = '';
  await waitFor(
    async () => {
      // Each time anew: a commit to a WAL that the kernel writes is in the position a moment later.
      txid = (await node.position(database))?.split('/')[0] ?? 'no position';
      const { backups } = await node.status();
      return backups.every((store) => store.databases.find((db) => db.name === database)?.txid === txid);
    },
    limitMs,
    () => `a backup of ${database} up to ${txid}\n${node.log.slice(-4000)}`,
  );
  return txid;
}

/** Stops nodes in this order; each must have nothing to complain of, and end well. */
export async function stopAll(...nodes: ClusterNode[]): Promise<void> {
  for (const node of nodes) assert.equal((await node.status()).problems, [], node.mount);
  for (const node of nodes) assert.is(await node.stop(), 0, node.log.slice(-4000));
}

/** Process ids of a node: its keeper's and those of all that it started. */
export function processesOf(node: ClusterNode): number[] {
  const nodePid = node.nodePid();
  const keeper = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${nodePid}/status`, 'utf8'))?.[1]);
  return treeOf(keeper);
}

/** What is mounted at or below a folder, deepest first. */
export function mountsIn(folder: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => `${path}/`.startsWith(`${folder}/`))
    .reverse();
}

/** Takes away what is mounted there, whoever uses it. */
export function unmountAll(folder: string): void {
  for (const path of mountsIn(folder)) spawnSync('umount', ['-l', path], { timeout: 10_000 });
}

/** Paths of all files and folders below a folder with their sizes, sorted. */
export function listing(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
