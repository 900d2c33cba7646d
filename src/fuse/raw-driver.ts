import { accessSync, constants } from 'node:fs';
import type { Driver } from './driver.js';
import { Waker } from './waker.js';
import { WakeupsTimer } from './wakeups.js';

/** The kernel's own protocol on /dev/fuse: see serve.ts for the worker's side and mount.ts for the keeper's. */
export const rawDriver: Driver = {
  name: 'raw',
  survives: true,
  seesLocks: true,
  unusable() {
    if (process.platform !== 'linux') return 'the raw FUSE driver needs Linux';
    if (process.getuid?.() !== 0) return 'the raw FUSE driver needs root';
    try {
      accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
      return undefined;
    } catch {
      return '/dev/fuse cannot be opened';
    }
  },
  attach(deviceFd, mountPath, shared) {
    const waker = new Waker(deviceFd, mountPath, shared);
    const timer = new WakeupsTimer(shared);
    waker.start();
    timer.start();
    return {
      wake: () => waker.wake(),
      close: () => {
        waker.close();
        timer.close();
      },
    };
  },
};
