import { parseArgs } from 'node:util';
import { describeAll, WebCampaign } from './campaign.js';

/** `npm run soak -- web [--rounds N] [--seconds N] [--seed S] [--browsers N]`: who wrote reads it, on whatever node, with his cookie. */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    browsers: { type: 'string', default: '6' },
  },
});
const [rounds, seconds, seed, count] = [values.rounds, values.seconds, values.seed, values.browsers].map(Number);
console.log(`web: ${rounds} rounds of ${seconds} s, seed ${seed}, ${count} browsers`);
try {
  const browsers = await new WebCampaign({
    rounds: rounds!,
    seconds: seconds!,
    seed: seed!,
    browsers: count!,
    report: (line) => console.log(line),
  }).run();
  console.log(`${rounds} rounds, ${describeAll(browsers)}: everybody read what he wrote`);
} catch (error) {
  console.log(`FAILED: ${(error as Error).message}\nagain: npm run soak -- web --seed ${seed}`);
  process.exitCode = 1;
}
