import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Mode } from '../../database/support/load.js';

const PROGRAM = fileURLToPath(new URL('./writer-process.js', import.meta.url));
/** For the last statement and the close. */
const STOP_LIMIT_MS = 60_000;

/** How the writers of one database work. */
export interface WriterKind {
  readonly database: string;
  readonly mode: Mode;
  readonly synchronous: 'NORMAL' | 'FULL';
  readonly locking: 'NORMAL' | 'EXCLUSIVE';
  /** SQLite promises nothing when the writer is killed. */
  readonly mustLive?: boolean;
}

export const WRITER_KINDS: readonly WriterKind[] = [
  { database: 'wal-normal.db', mode: 'wal', synchronous: 'NORMAL', locking: 'NORMAL' },
  { database: 'wal-full.db', mode: 'wal', synchronous: 'FULL', locking: 'NORMAL' },
  { database: 'wal-exclusive.db', mode: 'wal', synchronous: 'NORMAL', locking: 'EXCLUSIVE' },
  { database: 'delete.db', mode: 'delete', synchronous: 'FULL', locking: 'NORMAL' },
  { database: 'truncate.db', mode: 'truncate', synchronous: 'FULL', locking: 'NORMAL' },
  { database: 'persist.db', mode: 'persist', synchronous: 'FULL', locking: 'NORMAL' },
  { database: 'persist-exclusive.db', mode: 'persist', synchronous: 'FULL', locking: 'EXCLUSIVE' },
  { database: 'memory.db', mode: 'memory', synchronous: 'FULL', locking: 'NORMAL', mustLive: true },
];

/** A running writer, and the numbers of the commits that it was told of. */
export class Writer {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  /** The greatest number reported; 0 for none. */
  reported = 0;
  commits = 0;
  #complaint = '';
  #end: string | undefined;
  #expected = false;

  constructor(
    readonly kind: WriterKind,
    path: string,
    seed: number,
  ) {
    const args = [PROGRAM, path, kind.mode, kind.synchronous, kind.locking, `${seed}`];
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    let rest = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.reported = Math.max(this.reported, Number(line));
      this.commits += lines.length;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-2000);
    });
    this.#ended = new Promise((resolve) =>
      this.#child.once('close', (code, signal) => {
        this.#end = `${code ?? signal}`;
        resolve();
      }),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** Why it ended by itself; undefined if it did not. */
  get failure(): string | undefined {
    if (this.#end === undefined || this.#expected) return undefined;
    return `the writer of ${this.kind.database} ended with ${this.#end}: ${this.#complaint}`;
  }

  async kill(): Promise<void> {
    this.#expected = this.failure === undefined;
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Lets it end by itself, and close its database. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => {
      this.#complaint += 'it did not stop';
      this.#child.kill('SIGKILL');
    }, STOP_LIMIT_MS);
    await this.#ended;
    clearTimeout(late);
    // SIGTERM: it had not even begun.
    if (this.#end === '0' || this.#end === 'SIGTERM') this.#expected = true;
  }
}
