import { closeSync, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describeError, SluiceError } from '../errors.js';
import { openDevice } from '../fuse/mount.js';
import { type Finding, fail, ok } from './finding.js';
import { readText } from './system.js';

/** The device, the module, and the programs that mount and unmount. */
export function checkFuse(): Finding[] {
  const isRoot = process.geteuid?.() === 0;
  const programs = isRoot
    ? [checkProgram('mount', 'mount'), checkProgram('umount', 'mount')]
    : [checkProgram('fusermount', 'fuse3')];
  return [checkModule(), checkDevice(), ...programs];
}

function checkModule(): Finding {
  const known = readText('/proc/filesystems')
    ?.split('\n')
    .some((line) => line.split('\t')[1] === 'fuse');
  if (known === true) return ok('fuse', 'the kernel knows the file system');
  return fail('fuse', 'the kernel does not know the file system', 'Load it: modprobe fuse');
}

function checkDevice(): Finding {
  if (!existsSync('/dev/fuse')) {
    return fail(
      'device',
      'there is no /dev/fuse',
      'Load the module (modprobe fuse); in a container: --device /dev/fuse --cap-add SYS_ADMIN',
    );
  }
  try {
    closeSync(openDevice());
    return ok('device', '/dev/fuse can be opened');
  } catch (error) {
    const hint = error instanceof SluiceError ? error.hint : '';
    return fail(
      'device',
      error instanceof SluiceError ? error.message : describeError(error),
      hint || 'Check its rights',
    );
  }
}

/** `source`: the package that it is in. */
function checkProgram(name: string, source: string): Finding {
  const folder = (process.env.PATH ?? '').split(delimiter).find((path) => path !== '' && existsSync(join(path, name)));
  if (folder !== undefined) return ok(name, join(folder, name));
  return fail(name, `there is no ${name} program in the PATH`, `Install it: apt-get install ${source}`);
}
