import { betterSqlite3, dbd, python, sqlalchemy } from './binding-suites.js';
import { calls } from './calls-suite.js';
import type { Suite } from './campaign.js';
import { django, djangoPart } from './django-suite.js';
import { fsx } from './fsx-suite.js';
import { figures, mptester, threadtest3 } from './program-suites.js';
import type { Staged } from './staged.js';
import { type LockBytes, readBaseline, readList, runTcl } from './tcl-suite.js';

const MINUTE_MS = 60_000;

export interface SuiteOptions {
  readonly lockBytes: readonly LockBytes[];
  /** A checkout of better-sqlite3's repository. */
  readonly betterSqlite3: string | undefined;
  /** How much longer than on a quiet machine things may take. */
  readonly patience: number;
}

type Make = (staged: Staged, options: SuiteOptions) => (Suite | string)[];

/** The suites by name. Each gives one or more, or the reason why it cannot run here. */
export const SUITES: Readonly<Record<string, Make>> = {
  core: (staged, options) => tcl('core', staged, options),
  extra: (staged, options) => tcl('extra', staged, options),
  mptester: (staged, { patience }) => [mptester(staged, 3 * MINUTE_MS * patience)],
  threadtest3: (staged, { patience }) => [threadtest3(staged, 3 * MINUTE_MS * patience)],
  python: (staged, { patience }) => [python(staged, 3 * MINUTE_MS * patience)],
  dbd: (staged, { patience }) => [dbd(staged, 5 * MINUTE_MS * patience)],
  sqlalchemy: (staged, { patience }) => [sqlalchemy(staged, 20 * MINUTE_MS * patience)],
  django: (staged, { patience }) => [django(staged, 20 * MINUTE_MS * patience)],
  'django-part': (staged, { patience }) => [djangoPart(staged, 5 * MINUTE_MS * patience)],
  'better-sqlite3': (staged, options) => [
    betterSqlite3(staged, 5 * MINUTE_MS * options.patience, options.betterSqlite3),
  ],
  fsx: (staged, { patience }) => [fsx(staged, 3 * MINUTE_MS * patience)],
  calls: (staged, { patience }) => [calls(staged, 5 * MINUTE_MS * patience)],
  figures: (staged, { patience }) => [figures(staged, 3 * MINUTE_MS * patience)],
};

function tcl(list: string, staged: Staged, { lockBytes, patience }: SuiteOptions): Suite[] {
  const limitMs = 2 * MINUTE_MS * patience;
  return lockBytes.map((place) => {
    const baseline = readBaseline(place);
    return {
      name: `${list}, ${place} lock bytes`,
      tests: readList(list).map((name) => {
        const known = baseline.get(name);
        const run = (folder: string) => runTcl(name, place, folder, staged, limitMs);
        return { name, run, ...(known === undefined ? {} : { baseline: known }) };
      }),
    };
  });
}
