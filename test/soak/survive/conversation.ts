import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Longer than any pause that is no fault. */
const ANSWER_LIMIT_MS = 60_000;

/** A program beside this file that answers each line with a line. It stands outside the mount. */
export class Conversation {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<number | string>;
  #complaint = '';

  constructor(
    readonly name: string,
    program: string,
    args: readonly string[],
  ) {
    const path = fileURLToPath(new URL(program, import.meta.url));
    this.#child = spawn(process.execPath, [path, ...args], { stdio: 'pipe', cwd: '/' });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-2000);
    });
    // Writing to one that was killed is no error of ours.
    this.#child.stdin?.on('error', () => undefined);
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) =>
      this.#child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
  }

  /** Rejects if it has ended, or takes too long. */
  async ask(line: string): Promise<unknown> {
    this.#child.stdin?.write(`${line}\n`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`${this.name}: no answer within ${ANSWER_LIMIT_MS / 1000} s to: ${line}`);
      timer = setTimeout(reject, ANSWER_LIMIT_MS, error);
    });
    try {
      const { value, done } = await Promise.race([this.#answers.next(), late]);
      if (done === true) throw new Error(`${this.name} ended: ${this.#complaint}`);
      return JSON.parse(value);
    } finally {
      clearTimeout(timer);
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Resolves when it is gone. */
  get ended(): Promise<number | string> {
    return this.#ended;
  }

  /** Has it end by itself; rejects if that is no good end. */
  async end(): Promise<void> {
    this.#child.stdin?.end();
    const end = await this.#ended;
    if (end !== 0) throw new Error(`${this.name} ended with ${end}: ${this.#complaint}`);
  }
}
