import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { cleanUp } from './run-clean-up.js';

const DEFAULT_LIMIT_MINUTES = 5;
/** Of what a file prints, the last so much is kept. */
const MAX_OUTPUT_CHARS = 400_000;
/** A file that needs longer says so in a line of its own: `// Time limit: 15 min`. */
const LIMIT_LINE = /^\/\/ Time limit: (\d+) min$/m;
const SKIP_LINE = /^SKIP (.+)$/gm;

export interface FileOutcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly elapsedMs: number;
  /** What was skipped and why, what hung, what was left behind. */
  readonly notes: readonly string[];
  readonly output: string;
}

/** Runs one compiled test file with a temporary folder of its own, and cleans up after it. */
export async function runFile(root: string, file: string, scratch: string, inCi: boolean): Promise<FileOutcome> {
  const startMs = performance.now();
  const limitMs = limitMinutes(join(root, file)) * 60_000;
  const temporary = mkdtempSync(join(scratch, `${basename(file, '.test.ts')}-`));
  const child = spawn(process.execPath, [join(root, 'dist', file.replace(/\.ts$/, '.js'))], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary, NO_COLOR: '1', FORCE_COLOR: '0' },
  });
  const { output, end } = await collect(child, limitMs);
  const notes = cleanUp(temporary).map((what) => `left behind: ${what}`);
  rmSync(temporary, { recursive: true, force: true });
  return judge(file, output, end, { inCi, notes, elapsedMs: performance.now() - startMs });
}

/** What a test file may take. */
export function limitMinutes(source: string): number {
  return Number(LIMIT_LINE.exec(readFileSync(source, 'utf8'))?.[1] ?? DEFAULT_LIMIT_MINUTES);
}

/** What it printed, and how it ended where that was not exit code 0. */
function collect(child: ChildProcess, limitMs: number): Promise<{ output: string; end: string | undefined }> {
  return new Promise((resolve) => {
    let output = '';
    let end: string | undefined;
    const timer = setTimeout(() => {
      end = `hung: killed after ${limitMs / 60_000} min`;
      killGroup(child);
    }, limitMs);
    const add = (chunk: string) => {
      output = (output + chunk).slice(-MAX_OUTPUT_CHARS);
    };
    child.stdout?.setEncoding('utf8').on('data', add);
    child.stderr?.setEncoding('utf8').on('data', add);
    child.once('error', (error) => add(`${error.message}\n`));
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      if (code !== 0) end ??= signal === null ? `exit code ${code}` : `ended by ${signal}`;
      // What it started may still be there, and hold the pipes open.
      killGroup(child);
      setImmediate(() => resolve({ output: stripVTControlCharacters(output), end }));
    });
  });
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // nothing is left of it
  }
}

interface Circumstances {
  readonly inCi: boolean;
  readonly notes: readonly string[];
  readonly elapsedMs: number;
}

/** Counts what uvu's summary and the SKIP lines say; a file that does not come to its summary is a failure. */
export function judge(file: string, output: string, end: string | undefined, given: Circumstances): FileOutcome {
  const total = countOf(output, 'Total');
  const passed = countOf(output, 'Passed') ?? 0;
  const skips = [...output.matchAll(SKIP_LINE)].map((match) => match[1]!);
  const skipped = (countOf(output, 'Skipped') ?? 0) + skips.length;
  const notes = [...given.notes, ...skips.map((skip) => `skipped: ${skip}`)];
  let failed = (total ?? 0) - passed;
  if (end !== undefined && (failed === 0 || total === undefined)) failed += note(notes, end);
  else if (total === undefined && skips.length === 0)
    failed += note(notes, 'ended without a summary: is there a test.run()?');
  else if ((total ?? 0) + skipped === 0) failed += note(notes, 'ran no test');
  if (given.inCi && skipped > 0) failed += note(notes, 'nothing may be skipped with CI=true');
  return { file, passed, failed, skipped, elapsedMs: given.elapsedMs, notes, output };
}

function note(notes: string[], text: string): 1 {
  notes.push(text);
  return 1;
}

function countOf(output: string, name: string): number | undefined {
  const lines = [...output.matchAll(new RegExp(`^\\s*${name}:\\s+(\\d+)\\s*$`, 'gm'))];
  const last = lines.at(-1)?.[1];
  return last === undefined ? undefined : Number(last);
}
