import { describeError, SluiceError } from '../src/errors.js';

/** The exit code for something that went wrong. */
export const FAILURE = 1;
/** The exit code for a command line that is not understood. */
export const USAGE_ERROR = 2;

/** Ends the command with one line that says what failed and what to do; a stack only with SLUICE_DEBUG set. */
export function fail(error: unknown): void {
  process.exitCode = FAILURE;
  const line = describeError(error)
    .trim()
    .replace(/\s*\n\s*/g, ' ');
  process.stderr.write(`sluice: ${line}\n`);
  if (process.env.SLUICE_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  else if (!(error instanceof SluiceError)) process.stderr.write('sluice: set SLUICE_DEBUG=1 to see where\n');
}
