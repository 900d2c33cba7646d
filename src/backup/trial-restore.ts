import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { SluiceError } from '../errors.js';
import type { Checksum, Txid } from '../ltx/index.js';
import type { StoreSettings } from './open-store.js';

const PROGRAM = fileURLToPath(new URL('./trial-restore-program.js', import.meta.url));
/** A restore that takes longer is given up. */
const LIMIT_MS = 24 * 60 * 60_000;

export interface TrialRequest {
  readonly config: StoreSettings;
  /** Its name in the store. */
  readonly database: string;
  /** Path of the file to make. */
  readonly output: string;
}

export type TrialAnswer =
  | {
      readonly ok: true;
      readonly txid: Txid;
      readonly checksum: string;
      readonly sizeBytes: number;
      /** Files that were passed by, and what is wrong with each. */
      readonly damaged: readonly string[];
      /** Why SQLite could not check it. */
      readonly unchecked?: string;
    }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly hint: string };

export interface Trial {
  readonly txid: Txid;
  /** Of the database; 0n where the files name none. */
  readonly checksum: Checksum;
  readonly sizeBytes: number;
  /** Files that were passed by, and what is wrong with each: `level 1, <name>: <why>`. */
  readonly damaged: readonly string[];
  readonly unchecked: string | undefined;
}

/**
 * Restores a database's newest state and has SQLite check it (`PRAGMA integrity_check`), in a process of its own: neither
 * this process's thread nor its memory has to do with it. The file, and what SQLite puts beside it, is the caller's to remove.
 * Throws what restore throws, `VERIFY_MALFORMED`, `VERIFY_ABORTED`, and `VERIFY_FAILED` if the process ended.
 */
export async function tryRestore(request: TrialRequest, signal: AbortSignal): Promise<Trial> {
  if (signal.aborted) throw abortedError();
  const child = fork(PROGRAM, [], { cwd: '/', execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const kill = (): void => void child.kill('SIGKILL');
  const timer = setTimeout(kill, LIMIT_MS);
  signal.addEventListener('abort', kill);
  const ended = once(child, 'exit').then(([code, by]) => `the trial restore's process ended (${by ?? code})`);
  try {
    child.send(request, () => undefined);
    const answered = once(child, 'message').then(([answer]) => answer as TrialAnswer);
    answered.catch(() => undefined);
    const answer = await Promise.race([answered, ended]);
    if (signal.aborted) throw abortedError();
    if (typeof answer === 'string') throw new SluiceError('VERIFY_FAILED', answer);
    if (!answer.ok) throw new SluiceError(answer.code, answer.message, answer.hint);
    const { txid, checksum, sizeBytes, damaged, unchecked } = answer;
    return { txid, checksum: BigInt(checksum), sizeBytes, damaged, unchecked };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
    kill();
    await ended.catch(() => undefined);
  }
}

function abortedError(): SluiceError {
  return new SluiceError('VERIFY_ABORTED', 'the verification was stopped');
}
