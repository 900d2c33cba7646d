import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { errorCode } from '../errors.js';

/** Signals that an application under the keeper gets as if they had been sent to it. */
export const PASSED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1'] as const;
export type PassedSignal = (typeof PASSED_SIGNALS)[number];

const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const SIGNAL_BASE = 128;

/** The application that runs while the mount is there. It is the keeper's child, and so outlives its nodes. */
export class Command {
  /** Resolves with the exit code as a shell would give it: 128 + n for a signal, 127 if there is no such program. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;

  constructor(argv: readonly string[], report: (message: string) => void) {
    this.#child = spawn(argv[0]!, argv.slice(1), { stdio: 'inherit' });
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        report(
          `cannot run ${argv[0]} (${errorCode(error) ?? error.message}). Check the command after --, or exec in the config`,
        );
        resolve(errorCode(error) === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE);
      });
      this.#child.once('exit', (code, signal) => resolve(code ?? SIGNAL_BASE + constants.signals[signal!]));
    });
  }

  /**
   * Passes a signal on. A terminal sends its Ctrl-C and Ctrl-\ to the whole foreground group, so the application has
   * those already and must not get them twice.
   */
  signal(signal: PassedSignal): void {
    const fromTerminal = process.stdin.isTTY === true && (signal === 'SIGINT' || signal === 'SIGQUIT');
    if (!fromTerminal) this.#child.kill(signal);
  }
}
