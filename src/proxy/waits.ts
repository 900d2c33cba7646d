/** How a wait ended: what was waited for holds, it took too long, or nobody waits any more. */
export type WaitEnd = 'holds' | 'late' | 'gone';

interface Wait {
  readonly holds: () => boolean;
  readonly end: (how: WaitEnd) => void;
}

/** Requests that wait for something that the node is to tell. */
export class Waits {
  readonly #waits = new Set<Wait>();

  get count(): number {
    return this.#waits.size;
  }

  /** To be called when something has changed. */
  check(): void {
    for (const wait of this.#waits) if (wait.holds()) wait.end('holds');
  }

  /** Resolves when `holds` does, after `limitMs`, or when `gone` is aborted. */
  until(holds: () => boolean, limitMs: number, gone?: AbortSignal): Promise<WaitEnd> {
    if (holds()) return Promise.resolve('holds');
    if (gone?.aborted === true) return Promise.resolve('gone');
    return new Promise((resolve) => {
      const left = () => wait.end('gone');
      const timer = setTimeout(() => wait.end('late'), limitMs);
      const wait: Wait = {
        holds,
        end: (how) => {
          clearTimeout(timer);
          gone?.removeEventListener('abort', left);
          this.#waits.delete(wait);
          resolve(how);
        },
      };
      gone?.addEventListener('abort', left, { once: true });
      this.#waits.add(wait);
    });
  }
}
