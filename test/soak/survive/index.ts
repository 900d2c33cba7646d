import { parseArgs } from 'node:util';
import { Survival } from './survival.js';

/** `npm run soak -- survive [--times N] [--locks kernel|sluice]`: both lock modes, if none is named. */

const { values } = parseArgs({
  options: { times: { type: 'string', default: '100' }, locks: { type: 'string' } },
});
const times = Number(values.times);
const modes = (['kernel', 'sluice'] as const).filter((mode) => values.locks === undefined || values.locks === mode);

for (const locks of modes) {
  console.log(`survive: ${times} new nodes on one mount, locks ${locks}`);
  const result = await new Survival({ times, locks, report: console.log }).run();
  console.log(
    [
      `${times} new nodes, locks ${locks}: no application saw an error, nothing lost, the replica is the same.`,
      `Longest commit at a kill: ${figures(result.killPausesMs)}; at an upgrade: ${figures(result.upgradePausesMs)}`,
      `Nobody answered, at an upgrade: ${figures(result.unansweredMs)}`,
      `${result.commits} commits by an application without a rest; ${result.deaths} applications died while there was no node`,
    ].join('\n  '),
  );
}

function figures(valuesMs: readonly number[]): string {
  const sorted = [...valuesMs].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return `p50 ${at(0.5)} ms, max ${at(1)} ms`;
}
