/**
 * How long to wait before try `attempt` (0 for the first): doubling from `minMs` to `maxMs`, the upper half of it at
 * random, so that many that failed together do not return together.
 */
export function backoffMs(attempt: number, minMs: number, maxMs: number, random: () => number): number {
  const full = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
  return Math.round(full / 2 + (full / 2) * random());
}
