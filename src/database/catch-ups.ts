import type { FromWorker, ToWorker } from './worker-messages.js';

/** The worker has others to serve; past this it is not there. */
const ANSWER_LIMIT_MS = 10_000;

/**
 * Asks the worker to tell main now of all that is committed: of a WAL that the kernel writes by itself a commit is else known
 * a moment after it returned. Main thread.
 */
export class CatchUps {
  private readonly waiting = new Map<number, (complete: boolean) => void>();
  private tickets = 0;
  /** The mount is gone, and the worker with it: it has told all. */
  private still = false;

  constructor(private readonly send: (message: ToWorker) => void) {}

  /**
   * Resolves when main has been told of what was committed before the call, in one database or in all; false if that cannot
   * be said.
   */
  async ask(slot?: number): Promise<boolean> {
    if (this.still) return true;
    const ticket = ++this.tickets;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<boolean>((resolve) => {
        this.waiting.set(ticket, resolve);
        timer = setTimeout(() => resolve(false), ANSWER_LIMIT_MS);
        this.send({ kind: 'catch-up', ticket, slot });
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(ticket);
    }
  }

  answered({ ticket, complete }: Extract<FromWorker, { kind: 'caught-up' }>): void {
    this.waiting.get(ticket)?.(complete);
  }

  workerEnded(): void {
    this.still = true;
    for (const resolve of this.waiting.values()) resolve(true);
  }
}
