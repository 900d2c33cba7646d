import { type Node, type NodeOptions, startNode } from './places.js';
import { client } from './processes.js';
import { median, microseconds, table } from './stats.js';

interface Result {
  readonly commit: { readonly p50Us: number; readonly p99Us: number };
}

const VARIANTS: readonly [string, NodeOptions][] = [
  ['local', {}],
  ['local, each write to the WAL a request', { passthrough: 'off' }],
  ['replicas: 1', { durability: { replicas: 1, onTimeout: 'refuse' } }],
  ['backup', { durability: { backup: true, onTimeout: 'refuse' } }],
];

/** What a commit takes that waits until another node, or a store in a folder, has it. */
export async function benchDurability(root: string, count: number, rounds: number): Promise<string> {
  const nodes: Node[] = [];
  const results: Result[][] = [];
  const primaries: Node[] = [];
  try {
    for (const [name, options] of VARIANTS) {
      const folder = `durability-${nodes.length}`;
      const backup = name === 'backup' ? { backup: `${root}/${folder}-store` } : {};
      const primary = await startNode(root, folder, { ...options, ...backup });
      nodes.push(primary);
      primaries.push(primary);
      results.push([]);
      // Each has a replica, which takes its time too.
      nodes.push(await startNode(root, `${folder}-replica`, { follow: primary }));
    }
    // The first round warms up: the nodes' code is compiled while it runs. It is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (const [i, primary] of primaries.entries()) {
        const result = await client<Result>('commits', primary.mount, 'wal', 'normal', count);
        if (round > 0) results[i]!.push(result);
        process.stderr.write(`  round ${round}: ${VARIANTS[i]![0]}: ${microseconds(result.commit.p50Us)}\n`);
      }
    }
  } finally {
    for (const { server } of nodes.reverse()) await server.stop();
  }
  const p50s = results.map((runs) => median(runs.map(({ commit }) => commit.p50Us)));
  const rows = VARIANTS.map(([name], i) => [
    name,
    microseconds(p50s[i]!),
    microseconds(median(results[i]!.map(({ commit }) => commit.p99Us))),
    i === 0 ? '' : microseconds(p50s[i]! - p50s[0]!),
  ]);
  return [
    `Single-row commits (WAL, synchronous=NORMAL), one process, ${count} each, a replica on the same machine; median of ${rounds} runs.`,
    '',
    table(['durability', 'p50', 'p99', 'p50 above local'], rows),
  ].join('\n');
}
