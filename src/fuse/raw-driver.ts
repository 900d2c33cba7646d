import { accessSync, constants } from 'node:fs';
import type { Driver } from './driver.js';

/** The kernel's own protocol on /dev/fuse: see serve.ts for the worker's side and mount.ts for the keeper's. */
export const rawDriver: Driver = {
  name: 'raw',
  survives: true,
  seesLocks: true,
  unusable() {
    if (process.platform !== 'linux') return 'the raw driver needs Linux';
    if (process.geteuid?.() !== 0) return 'the raw driver needs root';
    try {
      accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
      return undefined;
    } catch {
      return '/dev/fuse cannot be opened';
    }
  },
};
