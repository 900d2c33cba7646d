import { fileURLToPath } from 'node:url';
import { type Ran, runProgram } from '../support/run-program.js';

export type { Ran };

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));

/** Runs the command as a user would, in `cwd`; killed after half a minute. */
export function runSluice(args: readonly string[], cwd: string, env: Record<string, string> = {}): Promise<Ran> {
  return runProgram(process.execPath, [SLUICE, ...args], cwd, { SLUICE_TOKEN: '', ...env });
}
