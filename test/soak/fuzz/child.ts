import { mkdirSync, readFileSync } from 'node:fs';
import { reportFailure } from './crash-file.js';
import { CurrentInputWriter } from './current-input.js';
import { Fuzzer, failureOf, type Outcome } from './fuzzer.js';
import type { Target, TargetEntry } from './target.js';
import { TARGETS } from './targets.js';
import { FAILED_EXIT_CODE, type Task } from './task.js';

async function main(task: Task): Promise<void> {
  const entry = TARGETS.find(({ name }) => name === task.target)!;
  mkdirSync(task.folder);
  const target = await (await entry.load()).open(task.folder);
  try {
    const failed = task.replay === undefined ? await fuzz(entry, target, task) : await replay(target, task.replay);
    if (failed) process.exitCode = FAILED_EXIT_CODE;
  } finally {
    target.close?.();
  }
}

/** Whether anything failed. */
async function fuzz(entry: TargetEntry, target: Target, task: Task): Promise<boolean> {
  const current = new CurrentInputWriter(task.current);
  const fuzzer = new Fuzzer(entry, target, task.seed, (input) => current.write(input));
  const outcome = await fuzzer.run(task.inputs === 0 ? entry.quickInputs : task.inputs);
  console.log(describe(outcome));
  for (const { what, input } of outcome.failures) reportFailure(entry.name, what, input);
  current.close();
  return outcome.failures.length > 0;
}

function describe({ name, inputs, elapsedMs, corpus, covered, failures }: Outcome): string {
  const perSecond = Math.round((inputs * 1000) / elapsedMs);
  const seconds = (elapsedMs / 1000).toFixed(1);
  return [
    name.padEnd(16),
    `${inputs} inputs`.padStart(16),
    `${seconds} s`.padStart(9),
    `${perSecond} a second`.padStart(16),
    `${corpus} kept`.padStart(10),
    `${covered} characters of code`.padStart(26),
    `${failures.length} failures`.padStart(11),
  ].join(' ');
}

async function replay(target: Target, path: string): Promise<boolean> {
  const startMs = performance.now();
  const failure = await failureOf(target, readFileSync(path));
  console.log(`${failure ?? 'nothing failed'} (${Math.round(performance.now() - startMs)} ms)`);
  return failure !== undefined;
}

await main(JSON.parse(process.argv[2]!) as Task);
