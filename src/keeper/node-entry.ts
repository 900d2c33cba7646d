import { existsSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ENTRY = fileURLToPath(new URL('./node-main.js', import.meta.url));

/**
 * The program of the next node: that of the `sluice` command as its path leads to it now, since an upgrade may have
 * turned a link to another folder; where there is none, the one beside this keeper's.
 */
export function nodeEntry(command = process.argv[1] ?? ''): string {
  try {
    const installed = resolve(dirname(realpathSync(command)), '../src/keeper/node-main.js');
    return existsSync(installed) ? installed : ENTRY;
  } catch {
    return ENTRY;
  }
}
