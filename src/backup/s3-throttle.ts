import { setTimeout as sleep } from 'node:timers/promises';

/** Holds all requests of a connection back for a while after its server asked for fewer. */
export class S3Throttle {
  private readonly ended = new AbortController();
  /** How long the last pause was; 0 while all is well. */
  private delayMs = 0;
  private untilMs = 0;

  constructor(
    private readonly minMs: number,
    private readonly maxMs: number,
  ) {}

  /** Resolves when a request may be sent: at once, or somewhat spread behind the end of the pause. */
  async pass(): Promise<void> {
    const waitMs = this.untilMs - performance.now();
    if (waitMs > 0) await this.sleep(waitMs + (Math.random() * this.delayMs) / 2);
  }

  /** Ends early, without an error, with `close`. */
  async sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.ended.signal }).catch(() => undefined);
  }

  /** The server asked for fewer requests. Those that were under way together count as one. */
  slowed(): void {
    if (performance.now() < this.untilMs) return;
    this.delayMs = Math.min(this.maxMs, Math.max(this.minMs, this.delayMs * 2));
    this.untilMs = performance.now() + this.delayMs;
  }

  /** A request went through: the next pause, if there is one, is half of the last. */
  passed(): void {
    if (this.delayMs > 0 && performance.now() >= this.untilMs) this.delayMs = Math.floor(this.delayMs / 4);
  }

  close(): void {
    this.ended.abort();
  }
}
