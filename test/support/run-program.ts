import { spawn } from 'node:child_process';

const LIMIT_MS = 30_000;

/** How a program ended, and what it said. */
export interface Ran {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end in `cwd`, with `env` over this process's own; killed after half a minute, if nothing else is
 * said. `user`: as whom, if not as this process's own.
 */
export function runProgram(
  program: string,
  args: readonly string[],
  cwd: string,
  env: object,
  user: { readonly uid?: number; readonly gid?: number } = {},
  limitMs = LIMIT_MS,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args], {
      ...user,
      cwd,
      env: { ...process.env, SLUICE_DEBUG: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}
