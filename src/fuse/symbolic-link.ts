import { readlinkSync } from 'node:fs';
import { symlinkSync } from '../disk/index.js';
import { EEXIST, ENAMETOOLONG, errnoOf } from './errno.js';
import { type DiskPath, nameOf, onDisk } from './file-name.js';

/**
 * In the backing folder this stands before a link's target, so that the link leads nowhere there: there is no process 0,
 * and nobody can make a file in /proc. Whoever opens files in that folder may be root, and would follow a link: out of the
 * folder, or into the mount that it serves itself. The kernel, which follows links for applications, is told the target
 * alone. Links that came there by other means have no seal.
 */
const SEAL = Buffer.from('/proc/0/');
/** Of what a link can hold. */
const MAX_BYTES = 4095;

/** Makes one; `again`: one with this target may be there already. 0 or a negative errno. */
export function makeLink(target: Buffer, path: DiskPath, again: boolean): number {
  const sealed = Buffer.concat([SEAL, target]);
  if (sealed.length > MAX_BYTES) return -ENAMETOOLONG;
  try {
    symlinkSync(onDisk(nameOf(sealed)), path);
    return 0;
  } catch (error) {
    const errno = errnoOf(error);
    return again && errno === EEXIST && isLinkTo(path, sealed) ? 0 : -errno;
  }
}

/** What applications are told. */
export function linkTarget(path: DiskPath): Buffer {
  const held = readlinkSync(path, 'buffer');
  return held.subarray(0, SEAL.length).equals(SEAL) ? held.subarray(SEAL.length) : held;
}

function isLinkTo(path: DiskPath, sealed: Buffer): boolean {
  try {
    return readlinkSync(path, 'buffer').equals(sealed);
  } catch {
    return false; // another kind of file
  }
}
