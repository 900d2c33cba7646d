/** `npm run conformance`: what others wrote to test SQLite and file systems, on ext4 and on Sluice's mounts. */
import { parseArgs } from 'node:util';
import { stopAll } from '../support/cluster.js';
import { type Baselines, runSuites } from './campaign.js';
import { type Locks, MountedPlace, type Place, PlainPlace, type Side } from './place.js';
import { Report } from './report.js';
import { Staged } from './staged.js';
import { SUITES } from './suites.js';
import type { LockBytes } from './tcl-suite.js';

const USAGE = `Usage: npm run conformance [-- SUITE…] [options]

Suites: ${Object.keys(SUITES).join(', ')}. Default: all.

  --locks kernel|sluice        who keeps the locks on the mount (default: one after the other)
  --place primary|replica      whose mount (default: the primary's; on a replica's no test can remove a file, which Django's do without)
  --pending real|stock         where SQLite's own tests have the lock bytes (default: one after the other)
  --test NAME                  only the test of this name; may be repeated
  --no-ext4                    leave out ext4; only SQLite's own tests know what it gives
  --better-sqlite3 FOLDER      a checkout of better-sqlite3, for its tests
  --logs FOLDER                keep what the tests print
  --patience N                 time limits are N times those of a quiet machine (default 3)`;

const DEFAULT_PATIENCE = 3;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      locks: { type: 'string' },
      place: { type: 'string', default: 'primary' },
      pending: { type: 'string' },
      test: { type: 'string', multiple: true, default: [] },
      ext4: { type: 'boolean', default: true },
      'better-sqlite3': { type: 'string' },
      logs: { type: 'string' },
      patience: { type: 'string', default: `${DEFAULT_PATIENCE}` },
      help: { type: 'boolean', default: false },
    },
  });
  const locks = among<Locks>('--locks', values.locks, ['kernel', 'sluice']);
  const [side] = among<Side>('--place', values.place, ['primary', 'replica']);
  if (side === 'replica' && values.locks === 'kernel')
    throw new UsageError('a replica takes writes with --locks sluice');
  const lockBytes = among<LockBytes>('--pending', values.pending, ['real', 'stock']);
  const unknown = positionals.find((name) => !(name in SUITES));
  if (values.help) return console.log(USAGE);
  if (unknown !== undefined) throw new UsageError(`there is no suite ${unknown}`);
  const chosen = positionals.length > 0 ? positionals : Object.keys(SUITES);
  const patience = Number(values.patience);
  if (!(patience > 0)) throw new UsageError('--patience takes a number');

  const staged = new Staged();
  const options = { lockBytes, patience, betterSqlite3: values['better-sqlite3'] };
  const isWanted = (test: string): boolean => values.test.length === 0 || values.test.includes(test);
  const report = new Report();
  const suites = chosen.flatMap((name) =>
    SUITES[name]!(staged, options).flatMap((suite) => {
      if (typeof suite !== 'string')
        return [{ ...suite, tests: suite.tests.filter(({ name: test }) => isWanted(test)) }];
      report.skip(name, suite);
      return [];
    }),
  );
  const keepers = side === 'replica' ? (['sluice'] as const) : locks;
  const places: (() => Promise<Place>)[] = keepers.map((each) => () => MountedPlace.open(each, side));
  if (values.ext4) places.unshift(async () => new PlainPlace());
  const baselines: Baselines = new Map();
  try {
    for (const open of places) {
      const place = await open();
      await runSuites(suites, place, baselines, (suite, verdict) => report.add(suite.name, verdict));
      report.end(place.name, await place.close());
    }
  } finally {
    if (values.logs !== undefined) staged.keepLogs(values.logs);
    await stopAll();
  }
  report.print();
}

class UsageError extends Error {}

function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  return error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
}

function among<T extends string>(option: string, value: string | undefined, values: readonly T[]): readonly T[] {
  if (value === undefined) return values;
  const found = values.find((each) => each === value);
  if (found === undefined) throw new UsageError(`${option} takes ${values.join(' or ')}`);
  return [found];
}

try {
  await main();
} catch (error) {
  if (!isUsageError(error)) throw error;
  console.error(`${error.message}\n\n${USAGE}`);
  process.exitCode = 2;
}
