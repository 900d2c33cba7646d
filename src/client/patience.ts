import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_TIMEOUT_MS, FIRST_PAUSE_MS, LAST_PAUSE_MS } from './limits.js';

/** How long something is waited for. */
export interface WaitOptions {
  /** Milliseconds; 30 s if left out. */
  readonly timeoutMs?: number;
  /** Ends the wait: its reason is thrown. */
  readonly signal?: AbortSignal;
}

/**
 * Looks until `look` finds something other than undefined, with growing pauses, and returns it. Undefined when the time is over.
 * Throws the signal's reason when that comes first.
 */
export async function patiently<T>(
  look: () => Promise<T | undefined>,
  { timeoutMs = DEFAULT_TIMEOUT_MS, signal }: WaitOptions,
): Promise<T | undefined> {
  const untilMs = performance.now() + timeoutMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
    signal?.throwIfAborted();
    const found = await look();
    if (found !== undefined) return found;
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) return undefined;
    await sleep(Math.min(pauseMs, leftMs), undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}
