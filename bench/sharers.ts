import { type Stoppable, startPlaces } from './contenders.js';
import { client } from './processes.js';
import { median, ratio, table } from './stats.js';

const PROCESSES = 4;
const MODES = [
  ['wal', 'normal'],
  ['wal', 'full'],
  ['delete', 'full'],
] as const;

/** Four processes on one database, each with the same amount of reads and single-row updates. */
export async function benchSharers(root: string, count: number, rounds: number): Promise<string> {
  const servers: Stoppable[] = [];
  try {
    const places = await startPlaces(root, 'sharers', [['Sluice', {}]], servers);
    const rows: string[][] = [];
    for (const [journal, synchronous] of MODES) {
      const seconds = new Map<string, number[]>(places.map(({ name }) => [name, []]));
      for (let round = 0; round <= rounds; round++) {
        for (const { name, folder } of places) {
          const taken = await once(folder, journal, synchronous, count);
          if (round > 0) seconds.get(name)!.push(taken);
          process.stderr.write(`  sharers ${journal}: ${name}: ${taken.toFixed(2)} s\n`);
        }
      }
      const base = seconds.get('ext4')!;
      for (const [name, runs] of seconds) {
        rows.push([
          `${journal.toUpperCase()}, synchronous=${synchronous.toUpperCase()}`,
          name,
          `${median(runs).toFixed(2)} s`,
          ratio(median(runs.map((run, i) => run / base[i]!))),
        ]);
      }
    }
    return [
      `${PROCESSES} processes at once, each ${count} operations on one database of 20,000 rows: four point reads, then a single-row update that commits. The slowest of them; median of ${rounds} rounds after one that is not counted.`,
      '',
      table(['journal mode', '', 'time', 'against ext4'], rows),
    ].join('\n');
  } finally {
    for (const server of servers.reverse()) await server.stop();
  }
}

/** Seconds until the last one has done its part. */
async function once(folder: string, journal: string, synchronous: string, count: number): Promise<number> {
  await client('seed', folder, journal, synchronous);
  const running = Array.from({ length: PROCESSES }, (_, i) =>
    client<{ elapsedMs: number }>('sharer', folder, journal, synchronous, count, i * 4999),
  );
  return Math.max(...(await Promise.all(running)).map(({ elapsedMs }) => elapsedMs)) / 1000;
}
