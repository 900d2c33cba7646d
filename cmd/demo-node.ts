import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SLUICE = fileURLToPath(new URL('./sluice.js', import.meta.url));
const POLL_MS = 100;
const ANSWER_LIMIT_MS = 1_000;

/** One `sluice mount` of the demonstration. */
export class DemoNode {
  /** Resolves with its exit code. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #alive = true;

  constructor(
    readonly name: string,
    configFile: string,
    readonly mount: string,
    readonly url: string,
  ) {
    // In a session of its own: the terminal's Ctrl-C is for the demonstration, which stops its nodes in order.
    this.#child = spawn(process.execPath, [SLUICE, 'mount', '-c', configFile], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code) => {
        this.#alive = false;
        resolve(code ?? 1);
      });
    });
  }

  /** Resolves when applications may use it; never if it ends before. */
  async ready(): Promise<void> {
    for (;;) {
      if (this.#alive && (await this.#isHealthy())) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS).unref());
    }
  }

  /** Asks it to stop; resolves with its exit code. */
  stop(): Promise<number> {
    if (this.#alive) this.#child.kill('SIGTERM');
    return this.ended;
  }

  /** It is stopping: it shall not wait for applications. */
  hurry(): void {
    if (this.#alive) this.#child.kill('SIGTERM');
  }

  async #isHealthy(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }
}
