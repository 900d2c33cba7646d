import { closeSync, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describeError, SluiceError } from '../errors.js';
import { openDevice } from '../fuse/mount.js';
import { type Finding, fail, ok } from './finding.js';
import { readText } from './system.js';

/** The device, the module, the mount program and the right to mount. */
export function checkFuse(): Finding[] {
  return [checkRoot(), checkModule(), checkDevice(), checkMountProgram('mount'), checkMountProgram('umount')];
}

function checkRoot(): Finding {
  if (process.geteuid?.() === 0) return ok('root', 'this is root');
  return fail('root', 'this is not root', 'Mounting needs root (or CAP_SYS_ADMIN): use sudo');
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

function checkMountProgram(name: string): Finding {
  const folder = (process.env.PATH ?? '').split(delimiter).find((path) => path !== '' && existsSync(join(path, name)));
  if (folder !== undefined) return ok(name, join(folder, name));
  return fail(name, `there is no ${name} program in the PATH`, 'Install it: apt-get install mount');
}
