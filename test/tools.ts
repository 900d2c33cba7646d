import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The outside programs that judge Sluice's files; `scripts/tools.mjs` installs them. */
export type Tool = 'ltx' | 'litestream' | 'versitygw' | 'linear-checker';

/**
 * Path of an outside program, or undefined on a machine without it: the test then says so and is skipped. With
 * `CI=true` a missing one is an error, so that nothing is skipped unseen.
 */
export function requireTool(tool: Tool): string | undefined {
  const path = join(process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools'), 'bin', tool);
  if (existsSync(path)) return path;
  if (process.env.CI === 'true') throw new Error(`${path} is missing: run node scripts/tools.mjs`);
  console.log(`skipped: ${tool} is not installed (node scripts/tools.mjs)`);
  return undefined;
}

/** SQLite's shell, or undefined on a machine without it, as `requireTool` has it. */
export function requireShell(): string | undefined {
  if (spawnSync('sqlite3', ['-version'], { timeout: 10_000 }).status === 0) return 'sqlite3';
  if (process.env.CI === 'true') throw new Error('the sqlite3 shell is missing: run node scripts/tools.mjs');
  console.log('SKIP the sqlite3 shell is not installed (apt-get install sqlite3)');
  return undefined;
}
