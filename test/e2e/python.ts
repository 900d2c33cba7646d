import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * The environment in which `python3` has Datasette and Django (`scripts/python-tools.mjs` installs them), or undefined
 * on a machine without them: the test then says so and is skipped. With CI=true that is an error.
 */
export function requirePython(): { readonly PYTHONPATH: string; readonly PYTHONDONTWRITEBYTECODE: string } | undefined {
  const folder = join(process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools'), 'python');
  if (existsSync(join(folder, '.versions'))) return { PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: '1' };
  if (process.env.CI === 'true') throw new Error(`${folder} is missing: run node scripts/python-tools.mjs`);
  console.log('SKIP applications: Datasette and Django are not installed (node scripts/python-tools.mjs)');
  return undefined;
}
