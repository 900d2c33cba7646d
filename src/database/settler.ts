/** How often it looks whether files that are written without a journal are still being written. */
const TICK_MS = 50;
/** Without a write for so long, a transaction is likely to have ended. */
const PAUSE_MS = 200;
/** Where there is no such pause, a moment between two transactions is looked for after so long. */
const NO_PAUSE_MS = 1000;
/** Between two tries: at first, at most while it is being written, and at most while it is not. */
const FIRST_RETRY_MS = 25;
const BUSY_RETRY_MS = 250;
const QUIET_RETRY_MS = 2000;

interface Watched {
  readonly sinceMs: number;
  /** As counted when they were last looked at. */
  writes: number;
  wroteMs: number;
  /** Not before; infinity while the worker has not answered. */
  nextMs: number;
  retryMs: number;
}

/**
 * Says when to look for the end of transactions that no journal and no WAL tells of, of all databases of a primary: once
 * the writes pause, or have gone on for a while. Main thread; whether somebody is in the middle of one the worker knows.
 */
export class Settler {
  private readonly watched = new Map<number, Watched>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    /** Counts the writes to a database file. */
    private readonly writes: (slot: number) => number,
    /** Has the worker look; it comes back by `answered`. */
    private readonly ask: (slot: number) => void,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  watch(slot: number): void {
    if (this.watched.has(slot)) return;
    const nowMs = this.nowMs();
    const writes = this.writes(slot);
    this.watched.set(slot, { sinceMs: nowMs, writes, wroteMs: nowMs, nextMs: nowMs, retryMs: FIRST_RETRY_MS });
    this.timer ??= setInterval(() => this.tick(), TICK_MS).unref();
  }

  /** The worker's answer: what was written is a transaction, or somebody is in the middle of one. */
  answered(slot: number, ended: boolean): void {
    const watched = this.watched.get(slot);
    if (watched === undefined) return;
    if (ended) {
      this.forget(slot);
      return;
    }
    const nowMs = this.nowMs();
    const limitMs = nowMs - watched.wroteMs < PAUSE_MS ? BUSY_RETRY_MS : QUIET_RETRY_MS;
    watched.nextMs = nowMs + watched.retryMs;
    watched.retryMs = Math.min(watched.retryMs * 2, limitMs);
  }

  forget(slot: number): void {
    this.watched.delete(slot);
    if (this.watched.size === 0) this.close();
  }

  close(): void {
    this.watched.clear();
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Called by a timer; for tests too. */
  tick(): void {
    const nowMs = this.nowMs();
    for (const [slot, watched] of this.watched) {
      const writes = this.writes(slot);
      if (writes !== watched.writes) {
        watched.writes = writes;
        watched.wroteMs = nowMs;
      }
      const due = nowMs - watched.wroteMs >= PAUSE_MS || nowMs - watched.sinceMs >= NO_PAUSE_MS;
      if (!due || nowMs < watched.nextMs) continue;
      watched.nextMs = Number.POSITIVE_INFINITY;
      this.ask(slot);
    }
  }
}
