import type { Driver } from './driver.js';

/** The kernel's own protocol on /dev/fuse: see serve.ts for the worker's side and mount.ts for the keeper's. */
export const rawDriver: Driver = {
  name: 'raw',
  survives: true,
  seesLocks: true,
  unusable() {
    if (process.platform !== 'linux') return 'the raw driver needs Linux';
    // What is wrong with /dev/fuse is told by who opens it.
    return process.geteuid?.() === 0 ? undefined : 'the raw driver needs root';
  },
};
