import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Driver } from './driver.js';
import { addonFolder, speaksOfCallers } from './native-addon.js';

/** The setuid program by which libfuse mounts, and we unmount, where the process is not root. */
export const FUSERMOUNT = 'fusermount';
const CONFIG = '/etc/fuse.conf';

/** libfuse by the npm package fuse-native: for who is not root, and for macOS. See libfuse-server.ts. */
export const libfuseDriver: Driver = {
  name: 'libfuse',
  survives: false,
  seesLocks: false,
  unusable() {
    if (process.platform !== 'linux' && process.platform !== 'darwin') return `libfuse is not for ${process.platform}`;
    if (addonFolder() === undefined) return 'the npm package fuse-native is not installed, or was not built';
    if (process.platform !== 'linux') return undefined;
    if (process.geteuid?.() !== 0 && !isInPath(FUSERMOUNT)) return `there is no ${FUSERMOUNT} program in the PATH`;
    try {
      accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
      return undefined;
    } catch {
      return '/dev/fuse cannot be opened';
    }
  },
};

/** Whether other users may be let in: the system allows it, and requests say whose they are. */
export function mayAllowOthers(): boolean {
  return speaksOfCallers() && (process.geteuid?.() === 0 || allowsUsers());
}

function allowsUsers(): boolean {
  try {
    return /^\s*user_allow_other\s*$/m.test(readFileSync(CONFIG, 'utf8'));
  } catch {
    return false;
  }
}

function isInPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, program)));
}
