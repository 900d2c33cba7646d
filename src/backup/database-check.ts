import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SluiceError } from '../errors.js';

/** SQLite's own checks: `quick` leaves out whether indexes hold what their tables do. */
export type CheckMode = 'quick' | 'full';

const PROGRAM = fileURLToPath(new URL('./database-check-program.js', import.meta.url));
/** Of what SQLite and the program say, for the message. */
const OUTPUT_LIMIT_CHARS = 2000;

/** What a database may need of an application's own that no program of ours has; its checksums are right all the same. */
export const OWN_FUNCTIONS = /no such (collation sequence|function|module|tokenizer)/;
/** Exit code of the program: it could not check. */
export const UNCHECKED = 2;

/**
 * Has SQLite check a database file that nobody uses: `PRAGMA quick_check` or `integrity_check`, in a process of its own,
 * since that may take minutes. A `-wal` and `-shm` may be left beside the file. `subject` begins the message.
 * Returns why it could not be checked, if so: for lack of an application's own functions.
 * Throws `RESTORE_CHECK`, `RESTORE_ABORTED`.
 */
export async function checkDatabase(
  path: string,
  mode: CheckMode,
  subject: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const { code, output } = await run([PROGRAM, mode, path], signal);
  if (signal?.aborted === true) throw new SluiceError('RESTORE_ABORTED', 'the restore was stopped');
  if (code === 0) return undefined;
  if (code === UNCHECKED) return output.trim();
  throw new SluiceError(
    'RESTORE_CHECK',
    `${subject}: SQLite finds the database malformed: ${output.trim().replace(/\s*\n\s*/g, '; ')}`,
    'It was so when it was backed up, since all checksums are right: restore an earlier state with --timestamp',
  );
}

function run(args: string[], signal: AbortSignal | undefined): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    const kill = (): void => void child.kill('SIGKILL');
    let output = '';
    const take = (text: Buffer): void => {
      output = (output + text.toString()).slice(0, OUTPUT_LIMIT_CHARS);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', reject);
    child.once('close', (code) => {
      signal?.removeEventListener('abort', kill);
      process.removeListener('exit', kill);
      resolve({ code, output });
    });
    process.once('exit', kill);
    signal?.addEventListener('abort', kill, { once: true });
    if (signal?.aborted === true) kill();
  });
}
