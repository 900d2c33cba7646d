import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Suite } from './campaign.js';
import { type LimitedRun, runLimited } from './limited-run.js';
import type { Outcome } from './outcome.js';
import { installed, ROOT, type Staged } from './staged.js';
import { asNobody, withoutCapabilities } from './unprivileged.js';

/** Suites of what others built on SQLite, each with its databases in the working folder. One run is one test. */

/** Of SQLAlchemy's tests those that use the database rather than compile SQL. */
const SQLALCHEMY = [
  'test/dialect/sqlite',
  'test/dialect/test_suite.py',
  ...['execute', 'reflection', 'transaction', 'ddlevents'].map((name) => `test/engine/test_${name}.py`),
  ...['query', 'insert_exec', 'returning', 'defaults', 'resultset'].map((name) => `test/sql/test_${name}.py`),
  ...['unitofworkv2', 'transaction', 'versioning'].map((name) => `test/orm/test_${name}.py`),
];

const OPEN_TO_ALL = 0o777;

/** Python's own tests of its sqlite3 module. */
export function python(staged: Staged, limitMs: number): Suite {
  const command = asPython(['-m', 'unittest', 'test.test_sqlite3']);
  return suite('python', staged, limitMs, (folder) => ({ command, env: { TMPDIR: folder } }), judgeUnittest);
}

/** Perl's DBD::SQLite. */
export function dbd(staged: Staged, limitMs: number): Suite | string {
  const source = installed('dbd-sqlite-1.72');
  if (source === undefined) return 'DBD::SQLite is not installed';
  const copy = staged.copy(source);
  const script = `exec prove -j1 -I${copy}/t/lib -I${copy}/inc ${copy}/t/*.t`;
  const command = asNobody(['sh', '-c', script]);
  return suite(
    'dbd',
    staged,
    limitMs,
    (folder) => ({ command, env: { TMPDIR: folder } }),
    ({ output }) => ({
      cases: Number(/^Files=\d+, Tests=(\d+)/m.exec(output)?.[1] ?? 0),
      failed: [...output.matchAll(/^\S*\/t\/(\S+)\s+\(Wstat: .*$/gm)].map((match) => match[1]!),
      ...(/^Files=/m.test(output) ? {} : { problem: lastLine(output) }),
    }),
  );
}

/** SQLAlchemy's tests. */
export function sqlalchemy(staged: Staged, limitMs: number): Suite | string {
  const source = installed('sqlalchemy-2.0.58');
  const pytest = installed('pytest-9.2.0');
  if (source === undefined || pytest === undefined) return 'SQLAlchemy or pytest is not installed';
  const copy = staged.copy(source);
  const options = [
    ...['-m', 'pytest', '-c', `${copy}/pyproject.toml`, '--rootdir', copy, '-o', 'addopts=-p warnings -p logging'],
    ...['-p', 'no:cacheprovider', '--tb=line', '-q', '-rfE', '--maxfail=1000'],
  ];
  const tests = SQLALCHEMY.map((path) => join(copy, path));
  return suite(
    'sqlalchemy',
    staged,
    limitMs,
    (folder) => ({
      command: asPython([...options, '--dburi', `sqlite:///${folder}/test.db`, ...tests]),
      env: { PYTHONPATH: staged.copy(pytest), TMPDIR: folder },
    }),
    judgePytest,
  );
}

/**
 * better-sqlite3's own tests, from a checkout of its repository: the package in npm has none. They run with the addon that
 * Sluice itself uses.
 */
export function betterSqlite3(staged: Staged, limitMs: number, checkout: string | undefined): Suite | string {
  const mocha = installed('mocha-11.7.5');
  if (mocha === undefined) return 'mocha is not installed';
  if (checkout === undefined) return 'give a checkout of better-sqlite3 with --better-sqlite3 FOLDER';
  const project = betterSqlite3Project(staged, mocha, checkout);
  const options = ['--exit', '--slow=10000', '--timeout=60000', '--reporter=tap', 'test'];
  return suite(
    'better-sqlite3',
    staged,
    limitMs,
    (folder) => {
      // A program that one of them writes beside its databases asks for the package as '../.'.
      writeFileSync(join(folder, 'index.js'), `module.exports = require('${project}');\n`);
      const mochaCommand = `${process.execPath} node_modules/.bin/mocha ${options.join(' ')}`;
      return {
        command: asNobody(['sh', '-c', `cd ${project} && exec ${mochaCommand}`]),
        env: { DATABASES: join(folder, 'temp') },
      };
    },
    ({ output }) => ({
      cases: Number(/^# tests (\d+)/m.exec(output)?.[1] ?? 0),
      failed: [...output.matchAll(/^not ok \d+ (.*)$/gm)].map((match) => match[1]!),
      ...(/^# tests/m.test(output) ? {} : { problem: lastLine(output) }),
    }),
  );
}

/** The package as it is installed, with its tests; but for where their databases are these are as they were. */
function betterSqlite3Project(staged: Staged, mocha: string, checkout: string): string {
  const project = join(staged.root, 'better-sqlite3-project');
  const own = (name: string): string => join(ROOT, 'node_modules', name);
  cpSync(own('better-sqlite3'), project, { recursive: true, dereference: true });
  cpSync(join(checkout, 'test'), join(project, 'test'), { recursive: true });
  cpSync(join(mocha, 'node_modules'), join(project, 'node_modules'), { recursive: true, verbatimSymlinks: true });
  for (const name of ['bindings', 'file-uri-to-path'])
    cpSync(own(name), join(project, 'node_modules', name), { recursive: true });
  const setup = join(project, 'test', '00.setup.js');
  const text = readFileSync(setup, 'utf8');
  const moved = text.replace("path.join(__dirname, '..', 'temp')", 'process.env.DATABASES');
  if (moved === text) throw new Error(`${setup} is not as expected: where are its databases?`);
  writeFileSync(setup, moved);
  // One of them copies the addon.
  chmodSync(join(project, 'build', 'Release'), OPEN_TO_ALL);
  return project;
}

function suite(
  name: string,
  staged: Staged,
  limitMs: number,
  prepare: (folder: string) => { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> },
  judge: (run: LimitedRun) => Omit<Outcome, 'seconds'>,
): Suite {
  const run = async (folder: string): Promise<Outcome> => {
    const { command, env } = prepare(folder);
    const logFile = staged.logFile(name);
    const ran = await runLimited(command, {
      cwd: folder,
      env: { PYTHONDONTWRITEBYTECODE: '1', ...env },
      logFile,
      limitMs,
    });
    const judged = { ...judge(ran), seconds: ran.seconds };
    return ran.end === 'exit' ? judged : { ...judged, problem: `${ran.end}: ${lastLine(ran.output)}` };
  };
  return { name, tests: [{ name, run }] };
}

function judgeUnittest({ output }: LimitedRun): Omit<Outcome, 'seconds'> {
  const cases = /^Ran (\d+) tests? in /m.exec(output)?.[1];
  const failed = [...output.matchAll(/^(?:FAIL|ERROR): (.+)$/gm)].map((match) => match[1]!.replaceAll(' ', '_'));
  return { cases: Number(cases ?? 0), failed, ...(cases === undefined ? { problem: lastLine(output) } : {}) };
}

function judgePytest({ output }: LimitedRun): Omit<Outcome, 'seconds'> {
  const sum = [...output.matchAll(/^(?:=+ )?((?:\d+ \w+,? ?)+) in [\d.]+s/gm)].at(-1)?.[1];
  const count = (word: string): number => Number(new RegExp(`(\\d+) ${word}`).exec(sum ?? '')?.[1] ?? 0);
  const failed = [...output.matchAll(/^(?:FAILED|ERROR) (\S+)/gm)].map((match) => match[1]!);
  const cases = count('passed') + count('failed') + count('error');
  return { cases, failed, ...(sum === undefined ? { problem: lastLine(output) } : {}) };
}

export function lastLine(output: string): string {
  return output.trimEnd().split('\n').at(-1) ?? '';
}

/** A command of Python's, by a user who may not more than others. Python itself may lie where only root comes. */
export function asPython(args: readonly string[]): string[] {
  const probe = ['-c', 'import sys; print(sys.executable, sys.prefix, sep="\\n")'];
  const printed = (command: readonly string[]): string => {
    const [program = '', ...words] = command;
    return spawnSync(program, words, { encoding: 'utf8' }).stdout;
  };
  const own = printed(['python3', ...probe]);
  const path = own.split('\n')[0]!;
  // It may start and find another one's library.
  const open = printed(asNobody([path, ...probe])) === own;
  return open ? asNobody([path, ...args]) : withoutCapabilities([path, ...args]);
}
