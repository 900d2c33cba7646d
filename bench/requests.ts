import { startNode } from './places.js';
import { client } from './processes.js';
import { table } from './stats.js';

/** The difference of two runs, so that what a run does besides does not count. */
const FEW = 500;
const MANY = 2500;

const OPERATIONS = [
  ['commit', 'wal', 'normal'],
  ['commit', 'wal', 'full'],
  ['commit', 'delete', 'full'],
  ['commit', 'truncate', 'full'],
  ['commit', 'persist', 'full'],
  ['commit of 100 rows', 'wal', 'normal'],
  ['commit of 100 rows', 'delete', 'full'],
  ['point read', 'wal', 'normal'],
  ['point read', 'delete', 'full'],
  ['open, read, close', 'wal', 'normal'],
  ['open, read, close', 'delete', 'full'],
] as const;

/** What each operation of SQLite asks of the file system, in requests of the kernel. */
export async function benchRequests(root: string): Promise<string> {
  const rows: string[][] = OPERATIONS.map(([operation, journal, synchronous]) => [
    operation,
    `${journal.toUpperCase()}, ${synchronous.toUpperCase()}`,
  ]);
  for (const locks of ['kernel', 'sluice'] as const) {
    const node = await startNode(root, `requests-${locks}`, { locks });
    try {
      for (const [index, [operation, journal, synchronous]] of OPERATIONS.entries()) {
        const of = (count: number) =>
          counted(node.statusUrl, () => client('repeat', node.mount, operation, journal, synchronous, count));
        const [few, many] = [await of(FEW), await of(MANY)];
        // A shorter run may read more of a file that was not in the kernel's cache yet.
        const per = (name: string, n: number) => Math.max(0, (n - (few.get(name) ?? 0)) / (MANY - FEW));
        const each = new Map([...many].map(([name, n]) => [name, per(name, n)]));
        rows[index]!.push(describe(each));
        process.stderr.write(`  requests, ${locks} locks: ${rows[index]!.join(', ')}\n`);
      }
    } finally {
      await node.server.stop();
    }
  }
  return [
    'Requests of the kernel for one operation, checkpoints included, counted by `GET /status` over 2,000 of them by one process.',
    '',
    table(['operation', 'journal mode, synchronous', 'kernel locks', 'sluice locks'], rows),
  ].join('\n');
}

async function counted(statusUrl: string, work: () => Promise<unknown>): Promise<Map<string, number>> {
  const before = await requests(statusUrl);
  await work();
  const after = await requests(statusUrl);
  return new Map([...after].map(([name, count]) => [name, count - (before.get(name) ?? 0)]));
}

async function requests(statusUrl: string): Promise<Map<string, number>> {
  const status = (await (await fetch(statusUrl)).json()) as { requests: Record<string, number> };
  return new Map(Object.entries(status.requests));
}

/** `4.4: WRITE 4.1, SETATTR 0.2`: the sum, and what is at least a twentieth of a request. */
function describe(each: ReadonlyMap<string, number>): string {
  const sum = [...each.values()].reduce((total, count) => total + count, 0);
  const shown = [...each].filter(([, count]) => count >= 0.05).sort(([, a], [, b]) => b - a);
  if (shown.length === 0) return sum.toFixed(1);
  return `${sum.toFixed(1)}: ${shown.map(([name, count]) => `${name} ${count.toFixed(1)}`).join(', ')}`;
}
