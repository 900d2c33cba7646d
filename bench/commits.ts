import { type Place, type Stoppable, startPlaces, type Variants } from './contenders.js';
import { client } from './processes.js';
import { median, microseconds, ratio, table } from './stats.js';

interface Timing {
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

interface Result {
  readonly commit: Timing;
  readonly read: Timing;
  readonly integrity: string;
}

const MODES = [
  ['wal', 'normal'],
  ['wal', 'full'],
  ['delete', 'full'],
] as const;

export const RAW_VARIANTS: Variants = [
  ['Sluice, kernel locks, wakeups auto', { locks: 'kernel', wakeups: 'auto' }],
  ['Sluice, kernel locks, wakeups off', { locks: 'kernel', wakeups: 'off' }],
  ['Sluice, sluice locks, wakeups auto', { locks: 'sluice', wakeups: 'auto' }],
];

/** Who is not root cannot keep processors awake. */
export const DRIVER_VARIANTS: Variants = [
  ['Sluice, raw, wakeups off', { driver: 'raw', wakeups: 'off' }],
  ['Sluice, libfuse, wakeups off', { driver: 'libfuse', wakeups: 'off' }],
];

/** Single-row commits and point reads: ext4, Sluice in its variants, LiteFS where it is given. */
export async function benchCommits(root: string, count: number, rounds: number, variants: Variants): Promise<string> {
  const servers: Stoppable[] = [];
  try {
    const places = await startPlaces(root, 'commits', variants, servers);
    const commits: string[][] = [];
    const reads: string[][] = [];
    for (const [journal, synchronous] of MODES) {
      const results = await measure(places, journal, synchronous, count, rounds);
      const label = `${journal.toUpperCase()}, synchronous=${synchronous.toUpperCase()}`;
      commits.push([label, ...cells(places, results, ({ commit }) => commit)]);
      reads.push([label, ...cells(places, results, ({ read }) => read)]);
      process.stderr.write(`  ${label}: ${commits.at(-1)!.slice(1).join(', ')}\n`);
    }
    const head = ['', ...places.map(({ name }) => name)];
    return [
      `Single-row commits (insert into a table with one index), one process, ${count} each; mean and p50 of a run, median of ${rounds} runs in turn after one that is not counted, and the median of the mean's ratios to ext4 in the same round.`,
      '',
      table(head, commits),
      '',
      `Point reads by primary key from a cached database of 20,000 rows, ${count} each, the median of nine passes.`,
      '',
      table(head, reads),
    ].join('\n');
  } finally {
    for (const server of servers.reverse()) await server.stop();
  }
}

async function measure(places: readonly Place[], journal: string, synchronous: string, count: number, rounds: number) {
  const results = new Map<Place, Result[]>(places.map((place) => [place, []]));
  // The first round warms up: a node's code is compiled while it runs. It is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (const place of places) {
      const result = await client<Result>('commits', place.folder, journal, synchronous, count);
      if (result.integrity !== 'ok') throw new Error(`${place.name}: integrity_check: ${result.integrity}`);
      if (round > 0) results.get(place)!.push(result);
      process.stderr.write(
        `  ${journal}/${synchronous} round ${round}: ${place.name}: commit ${microseconds(result.commit.meanUs)}, read ${microseconds(result.read.meanUs)}\n`,
      );
    }
  }
  return results;
}

function cells(
  places: readonly Place[],
  results: ReadonlyMap<Place, readonly Result[]>,
  pick: (result: Result) => Timing,
): string[] {
  const base = results.get(places[0]!)!.map(pick);
  return places.map((place, index) => {
    const runs = results.get(place)!.map(pick);
    const mean = `${microseconds(median(runs.map(({ meanUs }) => meanUs)))}, p50 ${microseconds(median(runs.map(({ p50Us }) => p50Us)))}`;
    if (index === 0) return mean;
    return `${mean} (**${ratio(median(runs.map(({ meanUs }, i) => meanUs / base[i]!.meanUs)))}**)`;
  });
}
