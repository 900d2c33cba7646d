import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { asPython, lastLine } from './binding-suites.js';
import type { Suite } from './campaign.js';
import { runLimited } from './limited-run.js';
import type { Outcome } from './outcome.js';
import { DATA, installed, type Staged } from './staged.js';

/** Django's own tests of its database layer, with its databases as files. They remove no file: a replica takes them too. */

const DJANGO = 'django-5.2.7';
/** Has what Django needs. */
const LIBRARIES = 'pytest-9.2.0';

/** A minute's worth. */
const PART = [
  ...['basic', 'bulk_create', 'constraints', 'delete', 'force_insert_update', 'get_or_create'],
  ...['indexes', 'lookup', 'ordering', 'select_for_update', 'transaction_hooks', 'transactions'],
];
const ALL = [
  ...PART,
  ...['aggregation', 'annotations', 'backends', 'expressions', 'inspectdb', 'introspection'],
  ...['migrations', 'queries', 'schema', 'update'],
];

const JOURNALS = ['delete', 'wal'] as const;
type Journal = (typeof JOURNALS)[number];

interface Noted {
  readonly test: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly why: string;
}

/** All of them, with a rollback journal and in WAL mode. */
export function django(staged: Staged, limitMs: number): Suite | string {
  return suite('django', ALL, JOURNALS, staged, limitMs);
}

/** The part, in WAL mode. */
export function djangoPart(staged: Staged, limitMs: number): Suite | string {
  return suite('django-part', PART, ['wal'], staged, limitMs);
}

function suite(
  name: string,
  applications: readonly string[],
  journals: readonly Journal[],
  staged: Staged,
  limitMs: number,
): Suite | string {
  const source = installed(DJANGO);
  const libraries = installed(LIBRARIES);
  if (source === undefined || libraries === undefined) return 'Django is not installed';
  const tests = journals.map((journal) => ({
    name: `${applications.length} applications, ${journal}`,
    async run(folder: string): Promise<Outcome> {
      const copy = staged.copy(source);
      copyFileSync(join(DATA, 'django', 'on_folder.py'), join(copy, 'tests', 'on_folder.py'));
      const helpers = staged.helperFolder();
      const outcomes = join(helpers, 'outcomes.jsonl');
      const options = ['--settings=on_folder', '--parallel=1', '--noinput', '--keepdb'];
      const ran = await runLimited(asPython([join(copy, 'tests', 'runtests.py'), ...options, ...applications]), {
        // Some of them want no folder above their temporary ones.
        cwd: join(copy, 'tests'),
        env: {
          PYTHONDONTWRITEBYTECODE: '1',
          PYTHONPATH: `${copy}:${staged.copy(libraries)}`,
          TMPDIR: helpers,
          SLUICE_FOLDER: folder,
          SLUICE_OUTCOMES: outcomes,
          SLUICE_JOURNAL: journal,
        },
        logFile: staged.logFile(`django-${applications.length}-${journal}`),
        limitMs,
      });
      const noted = existsSync(outcomes) ? readFileSync(outcomes, 'utf8') : '';
      const problem = problemOf(ran.end, ran.output);
      return { ...judgeNoted(noted), seconds: ran.seconds, ...(problem === undefined ? {} : { problem }) };
    },
  }));
  return { name, tests };
}

function problemOf(end: string, output: string): string | undefined {
  if (end !== 'exit') return `${end}: ${lastLine(output)}`;
  return /^Ran \d+ tests? in /m.test(output) ? undefined : lastLine(output);
}

/** What the runner noted. A test with several outcomes, of its parts or of its end, has the worst of them. */
export function judgeNoted(text: string): Omit<Outcome, 'seconds'> {
  const byTest = new Map<string, Noted['outcome']>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const { test, outcome } = JSON.parse(line) as Noted;
    const before = byTest.get(test);
    if (before !== 'failed' && !(before === 'passed' && outcome === 'skipped')) byTest.set(test, outcome);
  }
  const named = (wanted: Noted['outcome']): string[] =>
    [...byTest].filter(([, outcome]) => outcome === wanted).map(([test]) => test);
  const [passed, failed] = [named('passed'), named('failed')];
  return { cases: passed.length + failed.length, passed, failed, skipped: named('skipped') };
}
