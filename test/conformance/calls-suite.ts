import { chmodSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { callsIn, unlisted } from '../fidelity/calls.js';
import { freshFolder } from '../support/cluster.js';
import type { Suite, SuiteTest } from './campaign.js';
import { runLimited } from './limited-run.js';
import type { Staged } from './staged.js';

/** File systems' calls: each on each kind of file, compared with ext4; and at random, on files there and elsewhere. */

const CALLS = 40_000;
const SEEDS = [1, 2, 3, 4];
const FSX = fileURLToPath(new URL('../../../test/fidelity/fsx.py', import.meta.url));

export function calls(staged: Staged, limitMs: number): Suite {
  const random = ['plain', 'database'].flatMap((kind) => SEEDS.map((seed) => atRandom(kind, seed, staged, limitMs)));
  return { name: 'calls', tests: [eachOnEach(limitMs), ...random] };
}

function eachOnEach(limitMs: number): SuiteTest {
  return {
    name: 'each call on each kind of file',
    run: async (folder) => {
      const startMs = performance.now();
      const plain = freshFolder('plain');
      chmodSync(plain, 0o777);
      const [wanted, got] = await Promise.all([plain, folder].map((each) => callsIn(each, 1, limitMs)));
      const failed = unlisted(wanted!, got!, new Set());
      return { cases: wanted!.size, failed, seconds: (performance.now() - startMs) / 1000 };
    },
  };
}

function atRandom(kind: string, seed: number, staged: Staged, limitMs: number): SuiteTest {
  const name = `${kind} files, seed ${seed}`;
  return {
    name,
    run: async (folder) => {
      const command = ['python3', FSX, folder, freshFolder('shadow'), `${seed}`, `${CALLS}`, kind];
      const run = await runLimited(command, { cwd: '/', logFile: staged.logFile(name), limitMs });
      const wrong = run.end !== 'exit' ? run.end : run.code !== 0 ? run.output.trimEnd() : undefined;
      // Files that only look like databases are none to compare with a replica's.
      for (const file of readdirSync(folder)) rmSync(join(folder, file), { recursive: true, force: true });
      return { cases: CALLS, failed: [], seconds: run.seconds, ...(wrong === undefined ? {} : { problem: wrong }) };
    },
  };
}
