import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanUp } from './run-clean-up.js';
import { type FileOutcome, limitMinutes, runFile } from './run-file.js';

/**
 * The test runner: each test file in a process of its own with a time limit, two at a time (SLUICE_TEST_JOBS), failures shown whole, the sum at the end.
 * Words on the command line choose files whose path has one of them. With CI=true a skipped test is a failure.
 */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SUFFIX = '.test.ts';
/** Files at a time: most of them wait more than they work. */
const JOBS = Number(process.env.SLUICE_TEST_JOBS ?? Math.min(2, availableParallelism()));

async function main(words: readonly string[]): Promise<void> {
  const inCi = process.env.CI === 'true';
  const files = listTests(join(ROOT, 'test')).filter(
    (file) => words.length === 0 || words.some((word) => file.includes(word)),
  );
  if (files.length === 0) {
    console.log(`no test file has ${words.join(' or ')} in its path`);
    process.exitCode = 1;
    return;
  }
  const scratch = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  stopOnSignals(scratch);
  const outcomes: FileOutcome[] = [];
  const left = longestFirst(files);
  const runner = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) {
      const outcome = await runFile(ROOT, file, scratch, inCi);
      console.log(describe(outcome));
      outcomes.push(outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: JOBS }, runner));
  } finally {
    cleanUp(scratch);
    rmSync(scratch, { recursive: true, force: true });
  }
  summarise(outcomes);
}

/** Those that say that they take long, then the others by name: so that none of them is left alone at the end. */
function longestFirst(files: readonly string[]): string[] {
  const minutes = new Map(files.map((file) => [file, limitMinutes(join(ROOT, file))]));
  return [...files].sort((a, b) => minutes.get(b)! - minutes.get(a)! || (a < b ? -1 : 1));
}

function listTests(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => relative(ROOT, join(folder, name)))
    .filter((file) => existsSync(join(ROOT, file)))
    .sort();
}

function describe(outcome: FileOutcome): string {
  const counts = [
    `${outcome.passed} passed`,
    ...(outcome.failed > 0 ? [`${outcome.failed} failed`] : []),
    ...(outcome.skipped > 0 ? [`${outcome.skipped} skipped`] : []),
  ].join(', ');
  const line = `${outcome.failed > 0 ? 'FAIL' : 'ok  '} ${outcome.file}  ${counts}  (${(outcome.elapsedMs / 1000).toFixed(1)} s)`;
  const notes = outcome.notes.map((note) => `     ${note}`);
  const shown = outcome.failed > 0 ? [outcome.output.trimEnd()] : [];
  return [line, ...notes, ...shown].join('\n');
}

function summarise(outcomes: readonly FileOutcome[]): void {
  const sum = (key: 'passed' | 'failed' | 'skipped') => outcomes.reduce((total, outcome) => total + outcome[key], 0);
  const failed = outcomes.filter((outcome) => outcome.failed > 0);
  console.log(failed.length === 0 ? '' : `\nfailed: ${failed.map((outcome) => outcome.file).join(', ')}`);
  const skipped = sum('skipped');
  console.log(`${sum('passed')} passed, ${sum('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

function stopOnSignals(scratch: string): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      cleanUp(scratch);
      rmSync(scratch, { recursive: true, force: true });
      process.exit(1);
    });
  }
}

await main(process.argv.slice(2));
