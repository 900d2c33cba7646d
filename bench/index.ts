/** `npm run bench`: all figures of docs/benchmarks.md in one run. `npm run bench -- commits lag` measures some of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { libfuseDriver } from '../src/fuse/index.js';
import { benchBackupCost, benchCompaction, benchLoss } from './backup.js';
import { benchCommits, DRIVER_VARIANTS, RAW_VARIANTS } from './commits.js';
import { benchDurability } from './durability.js';
import { benchProxy } from './proxy.js';
import { benchMixed, benchVisibility } from './replicas.js';
import { benchRequests } from './requests.js';
import { benchRestore } from './restore.js';
import { benchSharers } from './sharers.js';
import { benchPrograms } from './sqlite-programs.js';
import { megabytes } from './stats.js';
import { benchMemory } from './storage.js';
import { benchWrites } from './writes.js';

const COUNT = 5000;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const DRIVER_COUNT = 1000;
const MIXED_SECONDS = 5;
const SHARED_OPERATIONS = 5000;
const RESTORE_MEGABYTES = (process.env.BENCH_RESTORE_MEGABYTES ?? '1000').split(' ').map(Number);
const MEMORY_MEGABYTES = 1024;
const LOSS_RUNS = 50;
const COMPACTION_MEGABYTES = [1000, 5000];

const parts: Record<string, { title: string; run: (root: string) => Promise<string> }> = {
  commits: { title: 'Commits and point reads', run: (root) => benchCommits(root, COUNT, ROUNDS, RAW_VARIANTS) },
  libfuse: { title: 'The drivers', run: (root) => benchDrivers(root) },
  lag: { title: 'Visibility on a replica', run: (root) => benchVisibility(root, COUNT) },
  writes: { title: 'Writes on a replica', run: (root) => benchWrites(root) },
  durability: { title: 'Commits that replicas have', run: (root) => benchDurability(root, COUNT, ROUNDS) },
  mixed: { title: 'Mixed load', run: (root) => benchMixed(root, MIXED_SECONDS, ROUNDS) },
  sharers: { title: 'Four processes on one database', run: (root) => benchSharers(root, SHARED_OPERATIONS, ROUNDS) },
  programs: { title: 'SQLite’s own programs', run: (root) => benchPrograms(root, ROUNDS) },
  requests: { title: 'Requests', run: (root) => benchRequests(root) },
  proxy: { title: 'The HTTP proxy', run: (root) => benchProxy(root, ROUNDS) },
  restore: { title: 'Restore', run: (root) => benchRestore(root, RESTORE_MEGABYTES, ROUNDS) },
  backup: { title: 'Commits with a backup', run: (root) => benchBackupCost(root, COUNT, 2 * ROUNDS) },
  loss: { title: 'What is lost with the machine', run: (root) => benchLoss(root, LOSS_RUNS) },
  compaction: { title: 'Memory of a merge', run: (root) => benchCompaction(root, COMPACTION_MEGABYTES) },
  memory: { title: 'Memory', run: (root) => benchMemory(root, MEMORY_MEGABYTES) },
};

/** Only where libfuse can be used. */
async function benchDrivers(root: string): Promise<string> {
  const problem = libfuseDriver.unusable();
  return problem === undefined
    ? benchCommits(root, DRIVER_COUNT, ROUNDS, DRIVER_VARIANTS)
    : `Not measured: ${problem}.`;
}

const wanted = process.argv.slice(2).filter((name) => name in parts);
const chosen = wanted.length > 0 ? wanted : Object.keys(parts);
const root = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sluice-bench-'));
const sections: string[] = [];
try {
  for (const name of chosen) {
    const { title, run } = parts[name]!;
    process.stderr.write(`${title}\n`);
    sections.push(`## ${title}\n\n${await run(root)}\n`);
  }
} finally {
  rmSync(root, { recursive: true, force: true });
}
const cpu = cpus()[0]?.model ?? 'unknown';
const machine = `${cpus().length} cores (${cpu}), ${megabytes(totalmem())}, Linux ${release()}, Node.js ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
const text = `Machine: ${machine}.\n\n${sections.join('\n')}`;
console.log(text);
if (process.env.BENCH_OUT !== undefined) writeFileSync(process.env.BENCH_OUT, text);
