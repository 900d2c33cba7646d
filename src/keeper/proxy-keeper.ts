import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import type { Config } from '../config/index.js';
import type { FromProxy, ToProxy } from '../proxy/proxy-process.js';
import { KILL_LIMIT_MS, MAX_BACKOFF_MS, PROXY_GRACE_MS } from './limits.js';
import { nodeEntry } from './node-entry.js';
import { RestartPolicy } from './restart-policy.js';
import { within } from './wait.js';

/** V8 flags: with a smaller young space requests under way are copied again and again, and it serves a third fewer. */
const PROXY_FLAGS = ['--min-semi-space-size=16', '--max-semi-space-size=32'];

/** Keeps an HTTP proxy running beside the nodes, whatever becomes of them; it never ends the keeper. */
export class ProxyKeeper {
  readonly #policy = new RestartPolicy();
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isStarted = false;
  #isStopping = false;

  constructor(
    private readonly config: Config,
    private readonly report: (message: string) => void,
    /** Its program; for tests. */
    private readonly entry?: string,
  ) {}

  /** The process id of the proxy that runs now. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Once the data folder is ours; later calls do nothing. */
  start(): void {
    if (this.#isStarted || this.#isStopping || this.config.proxy === null || this.config.proxy === undefined) return;
    this.#isStarted = true;
    this.#spawn();
  }

  /** Lets it end what is under way, as long as its own limit allows, or until `hasten`. */
  async stop(hasten: Promise<void>): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    this.#send({ kind: 'stop' });
    await within((this.config.proxy?.drainMs ?? 0) + PROXY_GRACE_MS, this.#ended, hasten);
    await this.kill();
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGKILL');
    await within(KILL_LIMIT_MS, this.#ended);
  }

  #spawn(): void {
    // In a session of its own, so that a terminal's Ctrl-C reaches only the keeper.
    const child = spawn(process.execPath, [...PROXY_FLAGS, this.entry ?? proxyEntry()], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    });
    this.#child = child;
    let failure: string | undefined;
    child.on('message', (message: FromProxy) => {
      if (message.kind === 'failed') failure = message.message;
    });
    this.#ended = new Promise((done) => {
      const end = (how: string) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        done();
        this.#died(failure ?? how);
      };
      child.once('error', (error) => end(error.message));
      child.once('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
    this.#send({ kind: 'start', config: this.config });
  }

  #died(how: string): void {
    if (this.#isStopping) return;
    const delayMs = this.#policy.died(Date.now()) ?? MAX_BACKOFF_MS;
    this.report(`the HTTP proxy ended (${how}); starting another one`);
    this.#timer = setTimeout(() => this.#spawn(), delayMs);
  }

  #send(message: ToProxy): void {
    if (this.#child?.connected === true) this.#child.send(message, () => undefined);
  }
}

/** The program beside that of the next node. */
function proxyEntry(): string {
  return resolve(dirname(nodeEntry()), '../proxy/proxy-main.js');
}
