import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NodeStatus } from '../src/status.js';
import { startNode } from './places.js';
import { client, until } from './processes.js';
import { median, megabytes, ratio, table } from './stats.js';

const SLUICE = fileURLToPath(new URL('../cmd/sluice.js', import.meta.url));
const CATCH_UP_LIMIT_MS = 5 * 60_000;

/** Restore of a database of about 200 MB from a folder: Sluice, Litestream where it is given, and a plain copy. */
export async function benchRestore(root: string, sizeMegabytes: number, rounds: number): Promise<string> {
  const backup = join(root, 'restore-backup');
  mkdirSync(backup, { recursive: true });
  const node = await startNode(root, 'restore', { backup });
  try {
    await client('fill', node.mount, sizeMegabytes);
    await client('touch', node.mount, 20, 500);
    await until('the backup', CATCH_UP_LIMIT_MS, async () => backedUp(await status(node.statusUrl)));
  } finally {
    await node.server.stop();
  }
  const source = `file://${join(backup, 'bench.db')}`;
  const output = join(root, 'restored.db');
  const commands: [string, string, string[]][] = [
    ['cp', 'cp', [join(node.data, 'files', 'bench.db'), output]],
    ['Sluice', process.execPath, [SLUICE, 'restore', '-o', output, source]],
  ];
  const litestream = process.env.LITESTREAM_BIN;
  if (litestream !== undefined) commands.push(['Litestream', litestream, ['restore', '-o', output, source]]);
  const seconds = new Map<string, number[]>(commands.map(([name]) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, command, args] of commands) {
      for (const suffix of ['', '-wal', '-shm']) rmSync(output + suffix, { force: true });
      const start = process.hrtime.bigint();
      const run = spawnSync(command, args, { encoding: 'utf8' });
      const took = Number(process.hrtime.bigint() - start) / 1e9;
      if (run.status !== 0 || !existsSync(output)) throw new Error(`${name}: ${run.stderr}`);
      seconds.get(name)!.push(took);
      process.stderr.write(`  restore, ${name}: ${took.toFixed(2)} s\n`);
    }
  }
  const base = seconds.get('Litestream');
  const rows = commands.map(([name]) => {
    const runs = seconds.get(name)!;
    const against = base === undefined ? '' : ratio(median(runs.map((value, i) => value / base[i]!)));
    return [name, `${median(runs).toFixed(2)} s`, against];
  });
  return [
    `Restore of a ${sizeMegabytes} MB database (one snapshot and about ten increments) from a folder, whole process, median of ${rounds} runs in turn. cp copies the bare file and checks nothing.`,
    '',
    table(['', 'time', 'against Litestream'], rows),
  ].join('\n');
}

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
