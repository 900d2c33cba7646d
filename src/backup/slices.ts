import { setImmediate } from 'node:timers/promises';

/** How long a thread may be held before others get their turn. */
const SLICE_MS = 2;

/** Says when a slice of time is used up. */
export class Slices {
  private startMs = performance.now();

  over(): boolean {
    return performance.now() - this.startMs > SLICE_MS;
  }

  async pause(): Promise<void> {
    await setImmediate();
    this.startMs = performance.now();
  }
}
