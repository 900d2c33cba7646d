import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Random } from '../../database/support/random.js';
import { makeChoice, type Tree, treeOf, writeTree } from './crash-state.js';
import { DiskModel } from './disk-model.js';
import { loadTrace } from './load-trace.js';
import type { Promises } from './promise.js';

const PROGRAM = fileURLToPath(new URL('./recovery-program.js', import.meta.url));
const LIMIT_MS = 60_000;
/** Later than all times of the first trace. */
const FIRST_SECOND = 1_500_000_000;

/** What a crash leaves of a folder that was being recovered. */
export interface SecondState {
  /** After which of the recovery's records, and what is on the disk. */
  readonly description: string;
  readonly tree: Tree;
}

/** Has a node recover what a first crash left, keeps what it does to the disk, and makes states of that. Works in `folder`. */
export async function crashAgain(
  tree: Tree,
  folder: string,
  { mountPath, ofReplica }: Pick<Promises, 'mountPath' | 'ofReplica'>,
  count: number,
  random: Random,
): Promise<SecondState[]> {
  const [root, trace] = [join(folder, 'again'), join(folder, 'again.trace')];
  for (const path of [root, trace]) rmSync(path, { recursive: true, force: true });
  mkdirSync(root);
  writeTree(tree, root);
  const model = new DiskModel();
  model.root = model.holds(tree, (path) => statSync(join(root, path)).ino);
  await recordRecovery(root, [mountPath, ofReplica ? 'replica' : 'primary'], trace);
  const records = loadTrace(trace, { firstSecond: FIRST_SECOND, untouchedMs: timesOf(tree) });
  const points = new Set(Array.from({ length: count }, () => random.below(records.length)));
  const states: SecondState[] = [];
  for (const [index, record] of records.entries()) {
    model.take(record, index);
    if (!points.has(index)) continue;
    const choice = makeChoice(model, random.below(1000), random);
    const description = `then, after record ${index} of its recovery (${record.label}): ${choice.description}`;
    states.push({ description, tree: treeOf(model.root, choice) });
  }
  return states;
}

/** Starts and stops a node on `root` in a process of its own, since calls are recorded from a process's start only. */
export function recordRecovery(root: string, rest: readonly string[], trace: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const program = spawn(process.execPath, [PROGRAM, root, ...rest], {
      env: { ...process.env, SLUICE_DISK_ROOT: root, SLUICE_DISK_TRACE: trace },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    let said = '';
    program.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    program.once('error', reject);
    program.once('exit', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`the recovery ended with ${code ?? signal}: ${said.slice(-2000)}`)),
    );
  });
}

function timesOf(tree: Tree): number[] {
  return [...tree.values()].flatMap((entry) => (entry instanceof Map ? timesOf(entry) : [entry.mtimeMs]));
}
