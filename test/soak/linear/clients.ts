import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ClientTask } from './client-process.js';
import { type Operation, readNotes } from './operations.js';

const PROGRAM = fileURLToPath(new URL('./client-process.js', import.meta.url));

const TICK_MS = 100;
/** One that waits for a file system which does not answer cannot be killed, until that is gone. */
const DEATH_LIMIT_MS = 10_000;

/** A client process, and what it wrote down. */
export class Client {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #complaint = '';
  #end: string | undefined;
  #isKilled = false;

  constructor(readonly task: ClientTask) {
    this.#child = spawn(process.execPath, [PROGRAM, JSON.stringify(task)], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
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

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Resolves when it is gone, or when it waits for its file system for too long. */
  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#child.kill('SIGKILL');
    await Promise.race([this.#ended, pause(DEATH_LIMIT_MS, undefined, { ref: false })]);
  }

  /** Waits for its end; one that takes longer is killed, and that is a failure. */
  async finish(limitMs: number): Promise<void> {
    // Ticks, not time: while the whole machine stood still, so did the client.
    let leftMs = limitMs;
    let giveUp: (after: Promise<void>) => void = () => {};
    const givenUp = new Promise<void>((resolve) => {
      giveUp = resolve;
    });
    const ticking = setInterval(() => {
      leftMs -= TICK_MS;
      if (leftMs > 0) return;
      clearInterval(ticking);
      this.#complaint += 'it did not come to its end';
      this.#child.kill('SIGKILL');
      giveUp(pause(DEATH_LIMIT_MS, undefined, { ref: false }));
    }, TICK_MS);
    await Promise.race([this.#ended, givenUp]);
    clearInterval(ticking);
    this.#end ??= 'nothing, nor by SIGKILL';
  }

  /** Why it ended otherwise than it should. */
  get failure(): string | undefined {
    if (this.#isKilled || this.#end === undefined || this.#end === '0') return undefined;
    return `client ${this.task.client} on the ${this.task.node} ended with ${this.#end}: ${this.#complaint}`;
  }

  get history(): Operation[] {
    return existsSync(this.task.history) ? readNotes(this.task.history) : [];
  }
}
