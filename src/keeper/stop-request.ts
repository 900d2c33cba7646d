/** How urgently a stop is asked for: cleanly, without waiting for others, or at once. */
export const STOP = 1;
export const HASTEN = 2;
export const KILL = 3;

/** The wish to stop, which can only grow: each Ctrl-C is one step. */
export class StopRequest {
  #level = 0;
  readonly #waiting: { readonly level: number; readonly resolve: () => void }[] = [];

  get level(): number {
    return this.#level;
  }

  raise(): void {
    this.raiseTo(Math.min(this.#level + 1, KILL));
  }

  raiseTo(level: number): void {
    if (level <= this.#level) return;
    this.#level = level;
    for (const waiter of this.#waiting) if (waiter.level <= level) waiter.resolve();
  }

  /** Resolves when the wish is at least as strong as `level`. */
  reached(level: number): Promise<void> {
    if (this.#level >= level) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ level, resolve });
    });
  }
}
