import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const LIMIT_MS = 60_000;

/** A Python program, with `sqlite3` and `sys` imported and a connection `db` in autocommit mode on its first argument. */
export class Python {
  private readonly child: ChildProcess;
  private output = '';
  private readonly ended: Promise<void>;

  constructor(script: string, args: readonly string[], wrapper: readonly string[] = []) {
    const head = 'import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)\n';
    const [program, ...more] = [...wrapper, 'python3', '-c', head + script, ...args];
    this.child = spawn(program!, more, { stdio: ['pipe', 'pipe', 'pipe'], timeout: LIMIT_MS, killSignal: 'SIGKILL' });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.ended = once(this.child, 'close').then(() => undefined);
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resolves when it has printed `word` on a line of its own. */
  async says(word: string): Promise<void> {
    while (!this.output.split('\n').includes(word)) {
      if (!this.running) throw new Error(`the program ended instead of saying ${word}: ${this.output}`);
      await Promise.race([once(this.child.stdout!, 'data'), this.ended]);
    }
  }

  /** Lets it go on from `input()`. */
  goOn(): void {
    this.child.stdin?.write('\n');
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** What it printed, at its end; rejects if it failed. */
  async done(): Promise<string> {
    await this.ended;
    if (this.child.exitCode !== 0) throw new Error(`python3: ${this.child.exitCode ?? 'killed'}\n${this.output}`);
    return this.output.trim();
  }
}

/** Runs a program (see Python) to its end. */
export function python(script: string, ...args: string[]): Promise<string> {
  return new Python(script, args).done();
}
