import { DEATH_WINDOW_MS, MAX_BACKOFF_MS, MAX_DEATHS, MIN_BACKOFF_MS } from './limits.js';

/** Decides when a dead node is started again. Has no clock: the caller says what time it is. */
export class RestartPolicy {
  readonly #deathsMs: number[] = [];
  readonly #maxDeaths: number;

  constructor(maxDeaths = MAX_DEATHS) {
    this.#maxDeaths = maxDeaths;
  }

  /**
   * The node died. Milliseconds to wait before the next start: none after a first death, then a back-off that
   * doubles while deaths follow each other; undefined when it is no use to go on.
   */
  died(nowMs: number): number | undefined {
    while (this.#deathsMs.length > 0 && nowMs - this.#deathsMs[0]! > DEATH_WINDOW_MS) this.#deathsMs.shift();
    this.#deathsMs.push(nowMs);
    const deaths = this.#deathsMs.length;
    if (deaths >= this.#maxDeaths) return undefined;
    return deaths === 1 ? 0 : Math.min(MIN_BACKOFF_MS * 2 ** (deaths - 2), MAX_BACKOFF_MS);
  }
}
