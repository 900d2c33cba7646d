import { type Stoppable, startPlaces } from './contenders.js';
import { startLitefs, startNode } from './places.js';
import { client } from './processes.js';
import { median, microseconds, ratio, table } from './stats.js';

interface Lag {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** From a commit's return on the primary to the row being seen on a replica on the same machine. */
export async function benchVisibility(root: string, count: number): Promise<string> {
  const rows: string[][] = [];
  for (const wakeups of ['auto', 'off'] as const) {
    const primary = await startNode(root, `lag-primary-${wakeups}`, { wakeups });
    try {
      const replica = await startNode(root, `lag-replica-${wakeups}`, { wakeups, follow: primary });
      try {
        rows.push(await lagRow(`Sluice, wakeups ${wakeups}`, primary.mount, replica.mount, count));
      } finally {
        await replica.server.stop();
      }
    } finally {
      await primary.server.stop();
    }
  }
  const binary = process.env.LITEFS_BIN;
  if (binary !== undefined) {
    const primary = await startLitefs(binary, root, 'litefs-lag-primary');
    const replica = await startLitefs(binary, root, 'litefs-lag-replica', primary.port);
    try {
      rows.push(await lagRow('LiteFS', primary.mount, replica.mount, count));
    } finally {
      await replica.server.stop();
      await primary.server.stop();
    }
  }
  return [
    `From the commit's return on the primary to the row being visible on the replica (loopback, WAL, synchronous=NORMAL), polled without sleep, ${count} commits after as many that are not counted: one after the other, and with 20 ms between them.`,
    '',
    table(['', 'p50', 'p99', 'p50, with pauses', 'p99, with pauses'], rows),
  ].join('\n');
}

async function lagRow(name: string, primary: string, replica: string, count: number): Promise<string[]> {
  // Warms up: the nodes' code is compiled while it runs. It is not counted.
  await client<Lag>('visibility', primary, replica, count, 0);
  const busy = await client<Lag>('visibility', primary, replica, count, 0);
  const calm = await client<Lag>('visibility', primary, replica, Math.min(count, 500), 20);
  const cells = [name, ...[busy.p50Us, busy.p99Us, calm.p50Us, calm.p99Us].map(microseconds)];
  process.stderr.write(`  ${cells.join('  ')}\n`);
  return cells;
}

/** Four processes that read and one that writes, at once. */
export async function benchMixed(root: string, seconds: number, rounds: number): Promise<string> {
  const servers: Stoppable[] = [];
  try {
    const places = await startPlaces(root, 'mixed', [['Sluice', {}]], servers);
    const rows: string[][] = [];
    for (const journal of ['wal', 'delete']) {
      const results = new Map<string, { reads: number; commits: number }[]>(places.map(({ name }) => [name, []]));
      for (let round = 0; round < rounds; round++) {
        for (const { name, folder } of places) {
          await client('commits', folder, journal, 'normal', 200);
          const readers = Array.from({ length: 4 }, () => client<{ perSecond: number }>('reader', folder, seconds));
          const writer = await client<{ perSecond: number }>('writer', folder, journal, 'normal', seconds);
          const reads = (await Promise.all(readers)).reduce((sum, { perSecond }) => sum + perSecond, 0);
          results.get(name)!.push({ reads, commits: writer.perSecond });
          process.stderr.write(
            `  mixed ${journal}: ${name}: ${Math.round(reads)} reads/s, ${Math.round(writer.perSecond)} commits/s\n`,
          );
        }
      }
      const base = results.get('ext4')!;
      for (const { name } of places) {
        const runs = results.get(name)!;
        const against = (pick: (run: { reads: number; commits: number }) => number) =>
          name === 'ext4' ? '' : ` (${ratio(median(runs.map((run, i) => pick(run) / pick(base[i]!))))})`;
        rows.push([
          journal.toUpperCase(),
          name,
          `${Math.round(median(runs.map((run) => run.reads)))}${against((run) => run.reads)}`,
          `${Math.round(median(runs.map((run) => run.commits)))}${against((run) => run.commits)}`,
        ]);
      }
    }
    return [
      `Four processes reading (point reads) and one writing (single-row commits, synchronous=NORMAL) at once for ${seconds} s on two cores, median of ${rounds} rounds; in brackets the share of ext4's rate.`,
      '',
      table(['journal mode', '', 'reads/s', 'commits/s'], rows),
    ].join('\n');
  } finally {
    for (const server of servers.reverse()) await server.stop();
  }
}
