import { parseArgs } from 'node:util';
import { Campaign, type CampaignResult } from './campaign.js';

/** `npm run soak -- crash [--rounds N] [--seed S] [--locks kernel|sluice] [--restore-every K]` */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '300' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    locks: { type: 'string', default: 'kernel' },
    'restore-every': { type: 'string', default: '5' },
  },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed);
const locks = values.locks === 'sluice' ? 'sluice' : 'kernel';
const restoreEvery = Number(values['restore-every']);

console.log(
  `crash: ${rounds} rounds, seed ${seed}, locks ${locks}; backups are restored in each ${restoreEvery}. round and at the end`,
);
const startMs = performance.now();
try {
  const result = await new Campaign({ rounds, seed, locks, restoreEvery, report: console.log }).run();
  console.log(summary(result));
} catch (error) {
  console.log(`FAILED: ${(error as Error).message}`);
  console.log(
    `again: npm run soak -- crash --seed ${seed} --rounds ${rounds} --locks ${locks} --restore-every ${restoreEvery}`,
  );
  process.exitCode = 1;
}

function summary({ kills, commits, restores }: CampaignResult): string {
  const counts = [...kills].sort(([a], [b]) => a.localeCompare(b)).map(([fault, count]) => `${fault} ${count}`);
  const total = [...kills.values()].reduce((sum, count) => sum + count, 0);
  const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
  return `${rounds} rounds in ${minutes} min, ${total} faults (${counts.join(', ')}), ${commits} commits, ${restores} restored backups: nothing lost, nothing left`;
}
