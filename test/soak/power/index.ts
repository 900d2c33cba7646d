import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { explore } from './explorer.js';
import { record, recordReplica } from './recording.js';

/**
 * `npm run soak -- power`: what power loss leaves of a data folder, and what a node makes of it. Records what a mounted
 * primary does to its disk under several workloads, then makes states of it in which writes that were not synced are there,
 * or not, or torn, and has each recovered. With `--replica` the same for a replica, while applications work on its primary.
 */
const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    times: { type: 'string', default: '3' },
    /** In the recovery of one of so many states the machine crashes again; 0: never. */
    again: { type: 'string', default: '50' },
    replica: { type: 'boolean', default: false },
    workloads: { type: 'string' },
    /** A trace to explore, instead of recording one; `keep`: where the recorded one goes. */
    trace: { type: 'string' },
    keep: { type: 'string' },
    only: { type: 'string' },
    violations: { type: 'string', default: '10' },
  },
  args: process.argv.slice(2),
});

const seed = Number(values.seed);
const folder = mkdtempSync(join(tmpdir(), 'sluice-power-'));
const trace = values.trace ?? values.keep ?? join(folder, 'trace');
const startedMs = performance.now();
if (values.trace === undefined) {
  await (values.replica ? recordReplica : record)({
    path: trace,
    workloads: values.workloads?.split(','),
    times: Number(values.times),
    log: (line) => console.log(line),
  });
}
const recordedMs = performance.now();
const { states, secondStates, crashPoints, violations, outcomes } = await explore({
  trace,
  seed,
  states: Number(values.states),
  crashAgainEvery: Number(values.again),
  only: values.only,
  maxViolations: Number(values.violations),
  progress: (count) => {
    if (count % 1000 === 0) console.log(`${count} states`);
  },
});
const seconds = (ms: number): string => (ms / 1000).toFixed(1);
console.log(
  `seed ${seed}: ${states} states at ${crashPoints} crash points, ${secondStates} of them after a crash in a recovery too, ` +
    `${violations.length} violations; ` +
    `${seconds(recordedMs - startedMs)} s to record, ${seconds(performance.now() - recordedMs)} s to explore`,
);
console.log([...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', '));
if (violations.length > 0) {
  const kept = values.trace ?? values.keep ?? `sluice-power-${seed}.trace`;
  if (kept !== trace) copyFileSync(trace, kept);
  for (const { state, choice, error } of violations) {
    console.log(`\n${error}\n  crash after record ${state.split('.')[0]}; on the disk: ${choice}`);
    console.log(`  again: npm run soak -- power --trace ${resolve(kept)} --seed ${seed} --only ${state}`);
  }
}
rmSync(folder, { recursive: true, force: true });
process.exit(violations.length === 0 ? 0 : 1);
