import type { MountConfig } from '../config/index.js';
import { describeError, SluiceError } from '../errors.js';
import { chooseDriver, type DriverName } from '../fuse/drivers.js';
import { speaksOfCallers } from '../fuse/native-addon.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Which driver a node with these settings would mount by, and why. */
export function checkDriver(mount: MountConfig, role: 'primary' | 'replica'): Finding {
  let chosen: DriverName;
  try {
    chosen = chooseDriver(mount.driver, mount.locks).name;
  } catch (error) {
    if (error instanceof SluiceError) return fail('driver', error.message, error.hint);
    return fail('driver', describeError(error), '');
  }
  return judgeDriver(chosen, mount.driver, { isReplica: role === 'replica', tellsCallers: speaksOfCallers() });
}

export function judgeDriver(
  chosen: DriverName,
  wanted: DriverName | 'auto',
  facts: { readonly isReplica: boolean; readonly tellsCallers: boolean },
): Finding {
  const why =
    wanted === 'auto' ? (chosen === 'raw' ? 'this is root' : 'this is not root') : 'the config file asks for it';
  const text = `${chosen}, since ${why}`;
  if (chosen === 'raw') return ok('driver', text);
  if (!facts.tellsCallers) {
    const problem = `${text}; but fuse-native was built so that it does not tell who makes a request`;
    const hint = 'Build it: npm start in the tree';
    if (facts.isReplica) return fail('driver', `${problem}, which a replica has to know`, hint);
    return warn('driver', `${problem}: no other user can use the mount`, hint);
  }
  if (wanted !== 'auto') return ok('driver', text);
  return warn('driver', text, 'As root a mount is faster, and applications do not notice when a node is replaced');
}
