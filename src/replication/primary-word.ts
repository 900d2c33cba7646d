import type { Txid } from '../ltx/index.js';
import type { DatabasePosition } from './messages.js';

/** What a primary has said that it has, since it was first heard in this run of it. */
export class PrimaryWord {
  /** See `hello-reply`. */
  run: bigint | null = null;
  /** Where its HTTP proxy is. */
  proxy: string | null = null;
  /** Databases and their last transactions, as told; what it dropped is not among them. */
  readonly told = new Map<string, Txid>();
  /**
   * Monotonic milliseconds: what it had at that time is in `told`. A ping of then was answered before the last heartbeat came, so
   * that was sent after it, however long both were under way.
   */
  asOfMs = 0;

  hello(run: bigint, proxy: string | null, positions: readonly DatabasePosition[]): void {
    this.run = run;
    this.proxy = proxy;
    this.asOfMs = 0;
    this.told.clear();
    this.add(positions);
  }

  heartbeat(positions: readonly DatabasePosition[], pongMs: number): void {
    this.add(positions);
    this.asOfMs = pongMs;
  }

  dropped(name: string): void {
    this.told.delete(name);
  }

  private add(positions: readonly DatabasePosition[]): void {
    for (const { name, position } of positions) this.told.set(name, position.txid);
  }
}
