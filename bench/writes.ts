import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ForwardedFigures } from './forwarded.js';
import { microseconds, ratio, table } from './stats.js';
import { measureTogether } from './together.js';

const PROGRAM = fileURLToPath(new URL('./forwarded.js', import.meta.url));
const ROUND_TRIPS_MS = [0, 10, 80];
const LIMIT_MS = 5 * 60_000;

/** Writes on a replica whose primary is so far away: a relay carries each byte later, where a kernel has no netem. */
export async function benchWrites(root: string): Promise<string> {
  const rows: string[][] = [];
  for (const ms of ROUND_TRIPS_MS) {
    const figures = atDistance(ms, root);
    const { singleUs, loopUs, read, readBeside } = figures;
    const trips = (us: number) => (ms === 0 ? '' : ` (${(us / 1000 / ms).toFixed(2)} round trips)`);
    const row = [
      `${ms} ms`,
      `${microseconds(singleUs)}${trips(singleUs)}`,
      `${microseconds(loopUs)}${trips(loopUs)}`,
      `${microseconds(read.p50Us)}, ${microseconds(readBeside.p50Us)} (${ratio(readBeside.p50Us / read.p50Us)}; mean ${ratio(readBeside.meanUs / read.meanUs)})`,
    ];
    rows.push(row);
    process.stderr.write(`  ${row.join('  ')}\n`);
  }
  const { alone, taking, commits } = await measureTogether(root);
  return [
    'A replica and its primary with a round trip of so much between them (a relay that carries each byte later). WAL, synchronous=NORMAL, `locks: sluice` on the replica, kernel locks on the primary. A forwarded commit is durable on the primary when it returns.',
    '',
    table(
      [
        'round trip',
        'one autocommit insert',
        'each of a loop of inserts',
        'point read on the replica, p50: alone, while another process of it writes',
      ],
      rows,
    ),
    '',
    `A commit on a primary that takes no writes (\`writes.forward: false\`), and on one with two replicas that have written and do not now, by turns: p50 ${microseconds(alone)} and ${microseconds(taking)} (${ratio(taking / alone)}).`,
    '',
    `All three write as fast as they can for 10 s, with a busy time-out: ${commits.map(({ node, count, longestMs }) => `${count} commits on the ${node} (the longest took ${Math.round(longestMs)} ms)`).join(', ')}.`,
  ].join('\n');
}

function atDistance(roundTripMs: number, root: string): ForwardedFigures {
  const ran = spawnSync(process.execPath, [PROGRAM, root, String(roundTripMs)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: LIMIT_MS,
  });
  if (ran.status !== 0) throw new Error(`${PROGRAM}: ${ran.error?.message ?? `exit code ${ran.status}`}`);
  return JSON.parse(ran.stdout) as ForwardedFigures;
}
