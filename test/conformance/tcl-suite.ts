import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runLimited } from './limited-run.js';
import type { Baseline, Outcome } from './outcome.js';
import { DATA, type Staged } from './staged.js';
import { asNobody } from './unprivileged.js';

/** SQLite's own tests in Tcl: their lists, what ext4 gives, and how one is run. */

const DETAIL_CHARS = 160;

/** Where SQLite's lock bytes are: as in applications, or as SQLite's tests put them, at 0x10000. */
export type LockBytes = 'real' | 'stock';

/** The words of a list, without its comments. */
export function readList(name: string): string[] {
  return readFileSync(join(DATA, `${name}.txt`), 'utf8')
    .replace(/#.*$/gm, '')
    .split(/\s+/)
    .filter(Boolean);
}

/** What ext4 gives for each test. */
export function readBaseline(lockBytes: LockBytes): Map<string, Baseline> {
  const lines = readFileSync(join(DATA, `baseline-${lockBytes}.tsv`), 'utf8').split('\n');
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [test = '', cases = '', failed = ''] = line.split('\t');
        return [test, { cases: Number(cases), failed: failed.split(' ').filter(Boolean) }];
      }),
  );
}

/** Runs one test, a file's name or PERMUTATION:FILE,FILE…, with its databases in `folder`. */
export async function runTcl(
  test: string,
  lockBytes: LockBytes,
  folder: string,
  staged: Staged,
  limitMs: number,
): Promise<Outcome> {
  const [permutation, files] = test.split(':') as [string, string | undefined];
  const script = (name: string): string => join(staged.tests, `${name}.test`);
  const scripts =
    files === undefined
      ? [script(test)]
      : [script('permutations'), permutation, ...files.split(',').map((file) => `${file}.test`)];
  const helpers = staged.helperFolder();
  const command = [staged.program('testfixture'), staged.preamble, ...scripts, `--testdir=${folder}`];
  const run = await runLimited(asNobody(command), {
    cwd: helpers,
    env: { LOCK_BYTES: lockBytes, HELPER_FILES: helpers },
    logFile: staged.logFile(`${test}-${lockBytes}`),
    limitMs,
  });
  return { ...judgeTcl(run.output, run.end), seconds: run.seconds };
}

/** Reads what a test printed: its last lines say how many cases there were and which failed. */
export function judgeTcl(output: string, end: 'exit' | 'timeout' | 'hung'): Omit<Outcome, 'seconds'> {
  const sum = last(output, /^(\d+) errors out of (\d+) tests/gm);
  if (sum !== undefined) {
    const names = last(output, /^!Failures on these tests:(.*)$/gm)?.[1] ?? '';
    const failed = names.split(' ').filter(Boolean);
    // Those beyond the names, if ever: none may be lost.
    const unnamed = Number(sum[1]) - failed.length;
    return {
      cases: Number(sum[2]),
      failed: [...failed, ...(unnamed > 0 ? [`${unnamed} more`] : [])],
    };
  }
  const failed = [...output.matchAll(/^! (\S+) expected:/gm)].map((match) => match[1]!);
  const passed = [...output.matchAll(/\.\.\. Ok$/gm)].length;
  const line =
    output
      .split('\n')
      .filter((text) => text !== '' && !text.endsWith('... Ok'))
      .at(-1) ?? '';
  const how = end === 'timeout' ? 'took too long' : end === 'hung' ? 'hangs in the file system' : 'ended early';
  return { cases: passed + failed.length, failed, problem: `${how}: ${line.slice(0, DETAIL_CHARS)}` };
}

function last(text: string, pattern: RegExp): RegExpExecArray | undefined {
  return [...text.matchAll(pattern)].at(-1);
}
