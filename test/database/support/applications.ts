import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Mode } from './load.js';

const LOAD = fileURLToPath(new URL('./load.js', import.meta.url));
const LIMIT_MS = 60_000;

export interface Application {
  readonly pid: number;
  /** What it printed; rejects if it failed by itself. */
  readonly done: Promise<string>;
  kill(): Promise<void>;
}

/** A load process on `file`; ended after a minute in any case. */
export function startLoad(file: string, mode: Mode, seconds: number, seed: number): Application {
  const child: ChildProcess = spawn(process.execPath, [LOAD, file, mode, `${seconds}`, `${seed}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  let out = '';
  let killed = false;
  child.stdout?.on('data', (text) => {
    out += text;
  });
  child.stderr?.on('data', (text) => {
    out += text;
  });
  const ended = new Promise<number | string>((resolve) =>
    child.once('close', (code, signal) => resolve(code ?? signal ?? '')),
  );
  const done = ended.then((end) => {
    if (end !== 0 && !killed) throw new Error(`${mode} load ended with ${end}: ${out}`);
    return out.trim();
  });
  done.catch(() => undefined);
  return {
    pid: child.pid!,
    done,
    async kill() {
      killed = true;
      child.kill('SIGKILL');
      await ended;
    },
  };
}
