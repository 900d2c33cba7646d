import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Runs a program to its end; rejects with what it wrote if it fails or takes longer. Returns its stdout. */
export function run(
  program: string,
  args: readonly string[],
  options: { env?: object; cwd?: string; limitMs?: number } = {},
): Promise<string> {
  const { env = {}, cwd, limitMs = 120_000 } = options;
  return new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      { env: { ...process.env, ...env }, cwd, timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        reject(new Error(`${program} ${args.join(' ')}: ${error.message}\n${stdout}\n${stderr}`));
      },
    );
  });
}

/** A program that runs until it is stopped, with all it says; killed with all that it started when this process ends. */
export class Program {
  output = '';
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;
  #alive = true;

  constructor(program: string, args: readonly string[], options: { env?: object; cwd?: string } = {}) {
    const { env = {}, cwd } = options;
    this.#child = spawn(program, [...args], {
      env: { ...process.env, ...env },
      cwd,
      // A group of its own, so that signals reach what it starts.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const atExit = (): void => this.kill();
    process.once('exit', atExit);
    const add = (chunk: string): void => {
      this.output += chunk;
    };
    this.#child.stdout?.setEncoding('utf8').on('data', add);
    this.#child.stderr?.setEncoding('utf8').on('data', add);
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => add(error.message));
      this.#child.once('close', (code, signal) => {
        this.#alive = false;
        process.off('exit', atExit);
        resolve(code ?? signal ?? 'unknown');
      });
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** To the whole group, as a terminal's Ctrl-C goes. */
  signal(name: NodeJS.Signals): void {
    if (this.#alive && this.#child.pid !== undefined) process.kill(-this.#child.pid, name);
  }

  /** Ends it and all that it started, also what is in sessions of its own. */
  kill(): void {
    if (!this.#alive || this.#child.pid === undefined) return;
    for (const pid of treeOf(this.#child.pid)) killQuietly(pid);
  }

  /** To this process alone. */
  signalAlone(name: NodeJS.Signals): void {
    if (this.#alive) this.#child.kill(name);
  }

  /** Asks it to end; kills it when it does not. Resolves with its exit code. */
  async stop(name: NodeJS.Signals = 'SIGTERM', limitMs = 30_000): Promise<number | string> {
    this.signal(name);
    const late = setTimeout(() => this.kill(), limitMs);
    const code = await this.ended;
    clearTimeout(late);
    return code;
  }
}

/** Process ids of a process and of all below it. */
export function treeOf(root: number): number[] {
  const found = [root];
  for (const pid of found) found.push(...childrenOf(pid));
  return found;
}

/** Of all its threads: each has the children that it started. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}
