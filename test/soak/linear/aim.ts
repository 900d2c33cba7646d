import { readFileSync, statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/** Faults at random moments seldom find a COMMIT under way; what clients write down tells of one. */

const POLL_MS = 1;
const AIM_LIMIT_MS = 1000;

/** Resolves when one of these clients is at a COMMIT, or when none came to one in time. `histories`: their files. */
export async function untilCommit(histories: readonly string[]): Promise<void> {
  const sizes = new Map(histories.map((path) => [path, sizeOf(path)]));
  const untilMs = performance.now() + AIM_LIMIT_MS;
  while (performance.now() < untilMs) {
    for (const [path, before] of sizes) {
      const size = sizeOf(path);
      if (size === before) continue;
      sizes.set(path, size);
      if (isAtCommit(path)) return;
    }
    await pause(POLL_MS);
  }
}

/** Its last line says that the outcome is unknown, and not with what error it ended. */
function isAtCommit(path: string): boolean {
  const last = readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) ?? '';
  return last.includes('"kind":"unknown"') && !last.includes('"error":');
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
