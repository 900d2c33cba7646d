import type { Suite, SuiteTest } from './campaign.js';
import { type LimitedRun, runLimited } from './limited-run.js';
import type { Outcome } from './outcome.js';
import type { Staged } from './staged.js';
import { asNobody } from './unprivileged.js';

/** SQLite's own programs: many processes, many threads, and figures. Each makes its database in the working folder. */

const JOURNAL_MODES = ['DELETE', 'WAL', 'PERSIST', 'TRUNCATE'];
const MPTESTER_SCRIPTS = ['multiwrite01', 'crash01'];
const MPTESTER_REPEAT = 3;
const MPTESTER_BUSY_MS = 20_000;
const THREAD_TESTS = [
  'walthread1',
  'cgt_pager_1',
  'checkpoint_starvation_1',
  'create_drop_index_1',
  'vacuum1',
  'stress1',
];
const SPEEDTEST_SIZE = 100;
const KV_ROWS = 2000;
const KV_UPDATES = 500;

/** SQLite's test of several processes with one database. */
export function mptester(staged: Staged, limitMs: number): Suite {
  const tests = MPTESTER_SCRIPTS.flatMap((script) =>
    JOURNAL_MODES.map((mode) => {
      const name = `${script} ${mode}`;
      const options = ['--repeat', `${MPTESTER_REPEAT}`, '--journalmode', mode, '--timeout', `${MPTESTER_BUSY_MS}`];
      const command = [staged.program('mptester'), 'mptest.db', staged.mptest(script), ...options];
      return programTest(staged, limitMs, name, command, ({ code, output }) => {
        const sum = /Summary: (\d+) errors out of (\d+) tests/.exec(output);
        return {
          cases: Number(sum?.[2] ?? 0),
          failed: lines(output, /^.*(?:ERROR|error:).*$/gim, sum?.[1] === '0' ? 0 : 5),
          problem: code === 0 && sum?.[1] === '0' ? undefined : `${sum?.[0] ?? 'no summary'}, exit code ${code}`,
        };
      });
    }),
  );
  return { name: 'mptester', tests };
}

/** SQLite's test of several threads with one database. */
export function threadtest3(staged: Staged, limitMs: number): Suite {
  const tests = THREAD_TESTS.map((name) =>
    programTest(staged, limitMs, name, [staged.program('threadtest3'), name], ({ code, output }) => {
      const sum = /^(\d+) errors out of (\d+) tests/m.exec(output);
      return {
        cases: Number(sum?.[2] ?? 0),
        failed: [],
        problem: code === 0 && sum?.[1] === '0' ? undefined : `${sum?.[0] ?? 'no summary'}, exit code ${code}`,
      };
    }),
  );
  return { name: 'threadtest3', tests };
}

/** speedtest1 and kvtest; what counts is their time beside ext4's. */
export function figures(staged: Staged, limitMs: number): Suite {
  const speed = ['delete', 'wal'].map((mode) =>
    programTest(
      staged,
      limitMs,
      `speedtest1 --size ${SPEEDTEST_SIZE}, ${mode}`,
      [staged.program('speedtest1'), '--size', `${SPEEDTEST_SIZE}`, '--journal', mode, 'speed.db'],
      ({ code, output }) => measured(code, /TOTAL\.+\s*([\d.]+)s/.exec(output)?.[1]),
    ),
  );
  const updates = ['delete', 'wal'].map((mode) => {
    const kvtest = staged.program('kvtest');
    const init = `${kvtest} init kv.db --count ${KV_ROWS} --size 2000 --pagesize 4096`;
    const run = `${kvtest} run kv.db --count ${KV_UPDATES} --random --update --multitrans --jmode ${mode} --integrity-check`;
    const command = ['sh', '-c', `${init} && ${run}`];
    return programTest(staged, limitMs, `kvtest, ${KV_UPDATES} updates, ${mode}`, command, ({ code, output }) =>
      measured(code, /Total elapsed time: ([\d.]+)/.exec(output)?.[1]),
    );
  });
  return { name: 'figures', tests: [...speed, ...updates] };
}

interface Judged extends Pick<Outcome, 'cases' | 'failed' | 'measuredSeconds'> {
  readonly problem: string | undefined;
}

function programTest(
  staged: Staged,
  limitMs: number,
  name: string,
  command: readonly string[],
  judge: (run: LimitedRun) => Judged,
): SuiteTest {
  return {
    name,
    async run(folder) {
      const run = await runLimited(asNobody(command), { cwd: folder, logFile: staged.logFile(name), limitMs });
      const { problem, ...judged } = judge(run);
      const wrong = run.end === 'exit' ? problem : run.end;
      return { ...judged, seconds: run.seconds, ...(wrong === undefined ? {} : { problem: wrong }) };
    },
  };
}

function measured(code: number | null, seconds: string | undefined): Judged {
  if (code !== 0 || seconds === undefined) return { cases: 1, failed: [], problem: `exit code ${code}` };
  return { cases: 1, failed: [], problem: undefined, measuredSeconds: Number(seconds) };
}

function lines(output: string, pattern: RegExp, max: number): string[] {
  return (output.match(pattern) ?? []).slice(0, max);
}
