import type { Config } from '../config/index.js';
import { checkAddon } from './addon.js';
import { checkClock } from './clock.js';
import { checkDisk } from './disk.js';
import { checkDriver } from './driver.js';
import type { Finding } from './finding.js';
import { checkFuse } from './fuse.js';
import { checkMachine } from './machine.js';
import { checkWakeups } from './wakeups.js';

/** Looks at everything that a node with this config needs from this machine. Its data folder need not exist yet. */
export async function examine({ data, mount, lease }: Config): Promise<Finding[]> {
  return [
    ...checkMachine(),
    ...(await checkAddon()),
    ...checkFuse(),
    checkDriver(mount, lease.role),
    ...(await checkWakeups()),
    ...checkDisk(data),
    ...(await checkClock()),
  ];
}
