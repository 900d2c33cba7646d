import { setTimeout as sleep } from 'node:timers/promises';

const LIMIT_MS = 30_000;
const POLL_MS = 20;

/** Waits until it is so; `holds` may throw or reject, which is not yet. Fails with `what` when it takes too long. */
export async function until(what: string, holds: () => unknown, limitMs = LIMIT_MS): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      if (await holds()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadlineMs) {
      const why = last === undefined ? '' : `: ${last instanceof Error ? last.message : String(last)}`;
      throw new Error(`waited too long until ${what}${why}`);
    }
    await sleep(POLL_MS);
  }
}
