import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

/** A killed process that is still there after so long waits in the kernel: its file system does not answer. */
const KILL_LIMIT_MS = 15_000;
/** Of what a program prints, the last so much is looked at. */
const MAX_OUTPUT_CHARS = 32 * 1024 * 1024;

export interface LimitedRun {
  /** `hung`: it did not even end when it was killed. */
  readonly end: 'exit' | 'timeout' | 'hung';
  /** Null unless it ended by itself, and by no signal. */
  readonly code: number | null;
  readonly seconds: number;
  readonly output: string;
}

export interface LimitedRunOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly limitMs: number;
}

const running = new Set<number>();
process.once('exit', () => running.forEach(killGroup));

/** Runs a program in a process group of its own, which is killed at its end or when the time is up. */
export async function runLimited(command: readonly string[], options: LimitedRunOptions): Promise<LimitedRun> {
  const startMs = performance.now();
  const log = openSync(options.logFile, 'w');
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const { pid } = child;
  if (pid !== undefined) running.add(pid);
  try {
    let code = await within(ended, options.limitMs);
    let end: LimitedRun['end'] = 'exit';
    if (code === LATE) {
      if (pid !== undefined) killGroup(pid);
      end = (await within(ended, KILL_LIMIT_MS)) === LATE ? 'hung' : 'timeout';
      code = null;
    }
    const output = readFileSync(options.logFile, 'latin1').slice(-MAX_OUTPUT_CHARS);
    return { end, code, seconds: (performance.now() - startMs) / 1000, output };
  } finally {
    // What it started and left behind would meddle with the next one.
    if (pid !== undefined) killGroup(pid);
    if (pid !== undefined) running.delete(pid);
  }
}

const LATE = Symbol('late');

async function within<T>(result: Promise<T>, limitMs: number): Promise<T | typeof LATE> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(() => resolve(LATE), limitMs);
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // nothing is left of it
  }
}
