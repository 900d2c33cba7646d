/**
 * `npm run soak -- fuzz [--inputs N] [--seed S] [--target NAME]…`: hostile bytes for every decoder.
 * N inputs for each target; `--quick` gives each a fraction of a second's worth; `--input FILE` runs the one input of a file again.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reportFailure } from './crash-file.js';
import { readCurrentInput } from './current-input.js';
import { TARGETS } from './targets.js';
import { FAILED_EXIT_CODE, type Task } from './task.js';

const DEFAULT_INPUTS = 100_000;
/** One input may take so long before the process that runs it is taken to hang. */
const HANG_MS = 60_000;
const LOOK_MS = 1000;
/** What the fuzzing process may have of memory: its own heap, and all data (ulimit -d) with what native code takes. */
const HEAP_LIMIT_MB = 512;
const DATA_LIMIT_KB = 1536 * 1024;

const CHILD = fileURLToPath(new URL('child.js', import.meta.url));

function readTasks(): Omit<Task, 'folder' | 'current'>[] {
  const { values } = parseArgs({
    args: process.argv.slice(2),
    options: {
      inputs: { type: 'string', default: String(DEFAULT_INPUTS) },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      target: { type: 'string', multiple: true, default: [] },
      input: { type: 'string' },
      quick: { type: 'boolean', default: false },
    },
  });
  const known = TARGETS.map(({ name }) => name);
  for (const name of values.target) if (!known.includes(name)) throw new Error(`targets: ${known.join(', ')}`);
  const inputs = values.quick ? 0 : Number(values.inputs);
  const seed = Number(values.seed);
  if (values.input === undefined) console.log(`seed ${seed}`);
  const targets = values.target.length > 0 ? values.target : known;
  return targets.map((target) => ({ target, inputs, seed, replay: values.input }));
}

/** Runs the task in a process of its own, which bad luck may end. Its exit code, or 1 if it hung or was ended. */
async function runChild(task: Task): Promise<number> {
  const command = `ulimit -d ${DATA_LIMIT_KB}; ulimit -c 0; exec "$0" "$@"`;
  const program = [
    process.execPath,
    '--expose-gc',
    `--max-old-space-size=${HEAP_LIMIT_MB}`,
    CHILD,
    JSON.stringify(task),
  ];
  const child = spawn('/bin/sh', ['-c', command, ...program], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, TMPDIR: tmpdir() },
  });
  let hung = false;
  let lastCount = -1;
  let since = performance.now();
  const timer = setInterval(() => {
    const count = statSync(task.current, { throwIfNoEntry: false }) && readCurrentInput(task.current)?.count;
    if (count !== lastCount) since = performance.now();
    lastCount = count ?? -1;
    if (performance.now() - since < HANG_MS) return;
    hung = true;
    child.kill('SIGKILL');
  }, LOOK_MS);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('exit', (...end) => resolve(end));
  });
  clearInterval(timer);
  if (code === 0) return 0;
  if (code === FAILED_EXIT_CODE) return 1;
  const current = statSync(task.current, { throwIfNoEntry: false }) && readCurrentInput(task.current);
  const end = hung
    ? `did not come back within ${HANG_MS / 1000} s`
    : `ended the process: ${signal ?? `exit code ${code}`}`;
  reportFailure(task.target, end, current?.input ?? Buffer.alloc(0));
  return 1;
}

const scratch = mkdtempSync(join(tmpdir(), 'sluice-fuzz-'));
try {
  for (const task of readTasks()) {
    const files = { folder: join(scratch, task.target), current: join(scratch, 'current') };
    if ((await runChild({ ...task, ...files })) !== 0) process.exitCode = 1;
    rmSync(files.folder, { recursive: true, force: true });
    rmSync(files.current, { force: true });
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
