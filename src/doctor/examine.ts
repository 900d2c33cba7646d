import { checkAddon } from './addon.js';
import { checkClock } from './clock.js';
import { checkDisk } from './disk.js';
import type { Finding } from './finding.js';
import { checkFuse } from './fuse.js';
import { checkMachine } from './machine.js';
import { checkWakeups } from './wakeups.js';

/** Looks at everything that Sluice needs from this machine. `data` is the data folder, which need not exist yet. */
export async function examine(data: string): Promise<Finding[]> {
  return [
    ...checkMachine(),
    ...(await checkAddon()),
    ...checkFuse(),
    ...(await checkWakeups()),
    ...checkDisk(data),
    ...(await checkClock()),
  ];
}
