import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Stoppable, startBindfs, startPlaces, type Variants } from './contenders.js';
import { median, ratio, table } from './stats.js';

/** Where `npm run conformance` builds them. */
const TOOLS = process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools');
const PROGRAMS = process.env.SQLITE_PROGRAMS ?? join(TOOLS, 'sqlite-conformance', '3.40.1', 'build');
const LIMIT_MS = 15 * 60_000;
const SIZE = '100';
const BLOBS = 2000;

interface Program {
  readonly name: string;
  /** Before the time is taken. */
  readonly prepare?: readonly string[];
  readonly command: readonly string[];
}

const VARIANTS: Variants = [
  ['Sluice, kernel locks', { locks: 'kernel' }],
  ['Sluice, sluice locks', { locks: 'sluice' }],
];
const FILE = 'program.db';
const PROGRAMS_RUN: readonly Program[] = [
  { name: `speedtest1 --size ${SIZE}, DELETE`, command: ['speedtest1', '--size', SIZE, '--journal', 'delete', FILE] },
  { name: `speedtest1 --size ${SIZE}, WAL`, command: ['speedtest1', '--size', SIZE, '--journal', 'wal', FILE] },
  ...(['delete', 'wal'] as const).flatMap((journal) => [kvtest(journal, 'update'), kvtest(journal, 'read')]),
];

function kvtest(journal: string, kind: 'update' | 'read'): Program {
  const run = ['kvtest', 'run', FILE, '--random', '--jmode', journal];
  return {
    name: `kvtest, ${kind === 'update' ? `${BLOBS / 4} updates, a transaction each` : `${BLOBS * 5} reads`}, ${journal.toUpperCase()}`,
    prepare: ['kvtest', 'init', FILE, '--count', String(BLOBS), '--size', '2000', '--pagesize', '4096'],
    command: [
      ...run,
      ...(kind === 'update'
        ? ['--count', String(BLOBS / 4), '--update', '--multitrans']
        : ['--count', String(BLOBS * 5)]),
    ],
  };
}

/** speedtest1 and kvtest, as whole programs. */
export async function benchPrograms(root: string, rounds: number): Promise<string> {
  if (!existsSync(join(PROGRAMS, 'speedtest1'))) {
    return `Not measured: there is no speedtest1 in ${PROGRAMS}. \`npm run conformance\` builds it, or name a folder in SQLITE_PROGRAMS.`;
  }
  const servers: Stoppable[] = [];
  try {
    const places = await startPlaces(root, 'programs', VARIANTS, servers);
    places.push(...(await startBindfs(root, 'programs', servers)));
    const rows: string[][] = [];
    for (const program of PROGRAMS_RUN) {
      const seconds = places.map((): number[] => []);
      for (let round = 0; round <= rounds; round++) {
        for (const [index, { name, folder }] of places.entries()) {
          const taken = run(folder, program);
          if (round > 0) seconds[index]!.push(taken);
          process.stderr.write(`  ${program.name}: ${name}: ${taken.toFixed(2)} s\n`);
        }
      }
      rows.push([
        program.name,
        ...seconds.map((runs, index) => {
          const text = `${median(runs).toFixed(2)} s`;
          return index === 0 ? text : `${text} (**${ratio(median(runs.map((run, i) => run / seconds[0]![i]!)))}**)`;
        }),
      ]);
    }
    return [
      `SQLite's own programs, whole processes; median of ${rounds} rounds in turn after one that is not counted, and of the ratios to ext4.`,
      '',
      table(['', ...places.map(({ name }) => name)], rows),
    ].join('\n');
  } finally {
    for (const server of servers.reverse()) await server.stop();
  }
}

/** Seconds. */
function run(folder: string, { prepare, command }: Program): number {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(join(folder, FILE + suffix), { force: true });
  const start = ([name = '', ...args]: readonly string[]) =>
    execFileSync(join(PROGRAMS, name), args, { cwd: folder, stdio: 'pipe', timeout: LIMIT_MS });
  if (prepare !== undefined) start(prepare);
  const begin = performance.now();
  start(command);
  return (performance.now() - begin) / 1000;
}
