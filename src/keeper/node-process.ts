import { type ChildProcess, spawn } from 'node:child_process';
import { SluiceError } from '../errors.js';
import type { NodeFacts } from './keeper-file.js';
import { CHANNEL_LIMIT_MS, KILL_LIMIT_MS } from './limits.js';
import type { FailureText, ToKeeper, ToKeeperKind, ToNode } from './messages.js';
import { within } from './wait.js';

/** Where a node finds the descriptor of /dev/fuse. */
export const DEVICE_FD = 3;

/** The node said that it cannot start or go on; the text is for the user. */
export class NodeFailed extends SluiceError {
  override readonly name = 'NodeFailed';
}

/** The node process ended before it said what was waited for. */
export class NodeDied extends Error {
  override readonly name = 'NodeDied';
}

/**
 * A node as its keeper sees it: a process that has a channel for messages, and the device as descriptor 3 where the keeper
 * makes the mount.
 */
export class NodeProcess {
  /** Resolves with how it ended: its own last words, or e.g. `exit code 1`, `SIGKILL`. Never rejects. */
  readonly ended: Promise<string>;
  /** Its program. */
  readonly entry: string;
  readonly #child: ChildProcess;
  readonly #heard = new Map<ToKeeperKind, ToKeeper>();
  readonly #listeners = new Set<() => void>();
  #end: string | undefined;

  /** Starts it, in a session of its own so that a terminal's Ctrl-C reaches only the keeper. */
  constructor(entry: string, deviceFd: number | undefined, nodeFlags: readonly string[]) {
    this.entry = entry;
    this.#child = spawn(process.execPath, [...nodeFlags, entry], {
      stdio: ['ignore', 'inherit', 'inherit', deviceFd ?? 'ignore', 'ipc'],
      detached: true,
    });
    this.#child.on('message', (message) => this.#hear(message as ToKeeper));
    this.ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#end = how;
        this.#notify();
        resolve(how);
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', async (code, signal) => {
        await within(CHANNEL_LIMIT_MS, this.#channelClosed());
        end(this.#failure()?.message ?? signal ?? `exit code ${code}`);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** All its code is there. */
  get loaded(): boolean {
    return this.#heard.has('loaded');
  }

  get facts(): NodeFacts {
    const message = this.#heard.get('loaded');
    return { pid: this.pid ?? 0, version: message?.kind === 'loaded' ? message.version : 'unknown' };
  }

  get alive(): boolean {
    return this.#end === undefined;
  }

  send(message: ToNode): void {
    if (!this.alive || !this.#child.connected) return;
    // A node that is just dying has closed its end: its death is noticed as such.
    this.#child.send(message, () => undefined);
  }

  /** The message of that kind, also if it came before. Rejects with NodeFailed or NodeDied. */
  async expect<K extends ToKeeperKind>(kind: K): Promise<Extract<ToKeeper, { kind: K }>> {
    for (;;) {
      const message = this.#heard.get(kind);
      if (message !== undefined) return message as Extract<ToKeeper, { kind: K }>;
      const failure = this.#failure();
      if (failure !== undefined) throw new NodeFailed(failure.code, failure.message, failure.hint);
      if (this.#end !== undefined) throw new NodeDied(this.#end);
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
  }

  /** Ends it at once. Resolves when it is gone (or when even that takes too long). */
  async kill(): Promise<void> {
    if (this.alive) this.#child.kill('SIGKILL');
    await within(KILL_LIMIT_MS, this.ended);
  }

  /** Its last words may still be in the channel when the process is gone. */
  #channelClosed(): Promise<void> {
    if (!this.#child.connected) return Promise.resolve();
    return new Promise((resolve) => this.#child.once('disconnect', resolve));
  }

  #failure(): FailureText | undefined {
    const message = this.#heard.get('failed');
    return message?.kind === 'failed' ? message.failure : undefined;
  }

  #hear(message: ToKeeper): void {
    this.#heard.set(message.kind, message);
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
