import { SluiceError } from '../errors.js';
import type { Driver } from './driver.js';
import { libfuseDriver } from './libfuse-driver.js';
import { rawDriver } from './raw-driver.js';

export type DriverName = Driver['name'];

const DRIVERS: Readonly<Record<DriverName, Driver>> = { raw: rawDriver, libfuse: libfuseDriver };

const HINT =
  'Run as root, or as another user with fusermount (apt-get install fuse3) and rights on /dev/fuse (chmod 666 /dev/fuse)';

/**
 * The driver that is asked for; with `auto` the raw one where it can be used, else libfuse. SluiceErrors:
 * `DRIVER_UNUSABLE`, and `DRIVER_LOCKS` where it cannot keep locks as asked.
 */
export function chooseDriver(wanted: DriverName | 'auto', locks: 'auto' | 'kernel' | 'sluice'): Driver {
  const candidates = wanted === 'auto' ? [rawDriver, libfuseDriver] : [DRIVERS[wanted]];
  const problems: string[] = [];
  for (const driver of candidates) {
    const problem = driver.unusable();
    if (problem !== undefined) problems.push(problem);
    else if (locks !== 'sluice' || driver.seesLocks) return driver;
    else {
      const text = `the ${driver.name} driver, which is what can be used here, leaves locks to the kernel`;
      throw new SluiceError('DRIVER_LOCKS', text, 'Set mount.locks to kernel or auto, or run as root');
    }
  }
  throw new SluiceError('DRIVER_UNUSABLE', `This machine cannot be mounted on: ${problems.join('; ')}`, HINT);
}
