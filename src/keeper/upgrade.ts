import { describeError } from '../errors.js';
import { type NodeFacts, removeKeeperState, startTicksOf, type UpgradeState, writeKeeperState } from './keeper-file.js';

/** The wish for a new node on the same mount, and what became of it. Writes it down for who asked. */
export class Upgrade {
  readonly #data: string;
  readonly #report: (message: string) => void;
  #wish: Promise<void>;
  #fulfil: () => void = () => undefined;
  #state: UpgradeState | null = null;
  #pausedMs: number | undefined;
  #published = false;

  constructor(data: string, report: (message: string) => void) {
    this.#data = data;
    this.#report = report;
    this.#wish = this.#newWish();
  }

  /** Resolves when one is asked for. */
  get wanted(): Promise<void> {
    return this.#wish;
  }

  /** A new node that nobody has seen at work yet is being tried: giving up would take the mount away for a bad version. */
  get unproven(): boolean {
    return this.#state !== null && this.#state.state !== 'done' && this.#pausedMs !== undefined;
  }

  /** The data folder is ours: this keeper can be found there. */
  announce(): void {
    if (!this.#published) this.#write();
  }

  ask(): void {
    this.#fulfil();
  }

  /** Wishes from now on are for another one. */
  begin(from: NodeFacts): void {
    this.#wish = this.#newWish();
    this.#pausedMs = undefined;
    this.#set({
      number: (this.#state?.number ?? 0) + 1,
      state: 'running',
      from,
      to: null,
      pauseMs: null,
      reason: null,
    });
  }

  /** From now on applications wait. */
  paused(nowMs: number): void {
    this.#pausedMs ??= nowMs;
  }

  answered(to: NodeFacts, nowMs: number): void {
    const pauseMs = Math.round(nowMs - (this.#pausedMs ?? nowMs));
    if (this.#state?.state === 'running') this.#state = { ...this.#state, to, pauseMs };
  }

  /** A node is at work. What the one says that is to hand over, late, is not the new one's word. */
  ready(node: NodeFacts): void {
    if (this.#state?.state === 'running') {
      if (this.#state.to?.pid !== node.pid) return;
      this.#set({ ...this.#state, state: 'done' });
      const { from, to, pauseMs } = this.#state;
      this.#report(`upgraded from ${nameOf(from)} to ${nameOf(to)}; applications waited ${pauseMs} ms`);
    }
    this.#pausedMs = undefined;
  }

  /** `then`: how it goes on. */
  failed(reason: string, then: string): void {
    if (this.#state?.state !== 'running') return;
    this.#report(`the upgrade failed: ${reason}; ${then}`);
    this.#set({ ...this.#state, state: 'failed', reason: `${reason}; ${then}` });
  }

  /** What it leaves if it must says which process wrote it, which is none then. */
  close(): void {
    if (!this.#published) return;
    try {
      removeKeeperState(this.#data);
    } catch (error) {
      this.#report(`keeper.json cannot be removed (${describeError(error)})`);
    }
  }

  #set(state: UpgradeState): void {
    this.#state = state;
    this.#write();
  }

  #write(): void {
    try {
      const { pid } = process;
      writeKeeperState(this.#data, { pid, startTicks: startTicksOf(pid) ?? 0, upgrade: this.#state });
      this.#published = true;
    } catch (error) {
      this.#report(`keeper.json cannot be written, so sluice upgrade cannot be told (${describeError(error)})`);
    }
  }

  #newWish(): Promise<void> {
    return new Promise((resolve) => {
      this.#fulfil = resolve;
    });
  }
}

function nameOf(node: NodeFacts | null): string {
  return node === null ? 'an unknown node' : `${node.version} (pid ${node.pid})`;
}
