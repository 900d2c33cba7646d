import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackupLog } from '../../src/backup/index.js';
import { requireTool } from '../tools.js';

/** A fresh folder, and what is to be undone when a test ends, also when it fails. */
export class Workbench {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-backup-'));
  private readonly undo: (() => unknown)[] = [];

  onEnd(action: () => unknown): void {
    this.undo.push(action);
  }

  async end(): Promise<void> {
    for (const action of this.undo.reverse()) await action();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs `body` with a workbench. */
export async function withWorkbench(body: (bench: Workbench) => Promise<void>): Promise<void> {
  const bench = new Workbench();
  try {
    await body(bench);
  } finally {
    await bench.end();
  }
}

/** Keeps the messages. */
export class TestLog implements BackupLog {
  readonly lines: string[] = [];

  debug(_fields: object, message: string): void {
    this.lines.push(message);
  }

  info(_fields: object, message: string): void {
    this.lines.push(message);
  }

  warn(fields: object, message: string): void {
    this.lines.push(`${message}: ${JSON.stringify(fields)}`);
  }
}

/** Paths of all files below a folder that end so, relative to it, sorted. */
export function filesBelow(folder: string, suffix: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith(suffix)).sort();
}

/** Restores with the real Litestream; false if it is not installed. Throws with its output if it fails. */
export function litestreamRestore(url: string, output: string, env: object = {}, args: string[] = []): boolean {
  const program = requireTool('litestream');
  if (program === undefined) return false;
  run(program, ['restore', '-o', output, ...args, url], env);
  return true;
}

/** Has the real `ltx verify` check files; false if it is not installed. */
export function ltxVerify(paths: readonly string[]): boolean {
  const program = requireTool('ltx');
  if (program === undefined) return false;
  for (const path of paths) run(program, ['verify', path], {});
  return true;
}

/** Without this machine's own AWS settings: they are not the test's. */
function run(program: string, args: string[], env: object): void {
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')));
  execFileSync(program, args, { env: { ...own, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
}
