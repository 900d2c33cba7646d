import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Programs that run as a user who may do nothing. For tests that run as root. */

export const NOBODY = { uid: 65534, gid: 65534 } as const;

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const DEVICE = '/dev/fuse';
const OTHERS_MAY_USE = 0o666;
const OTHERS_MAY_PASS = 0o001;

let tree: string | undefined;
let bound = false;

/** Lets `NOBODY` open the device, as systems with udev do, until this process ends. */
export function openDeviceToAll(): void {
  const mode = statSync(DEVICE).mode & 0o777;
  if ((mode & OTHERS_MAY_USE) === OTHERS_MAY_USE) return;
  chmodSync(DEVICE, OTHERS_MAY_USE);
  process.once('exit', () => chmodSync(DEVICE, mode));
}

/** Lets `NOBODY` pass to a folder of this test, in folders that the test's own runner made. */
export function openWayTo(folder: string): void {
  for (let path = folder; path !== dirname(path) && path.startsWith(join(tmpdir(), '/')); path = dirname(path)) {
    const { mode } = statSync(path);
    if ((mode & OTHERS_MAY_PASS) === 0) chmodSync(path, (mode & 0o7777) | OTHERS_MAY_PASS);
  }
  for (let path = tmpdir(); path.includes('sluice-test-'); path = dirname(path)) {
    const { mode } = statSync(path);
    if ((mode & OTHERS_MAY_PASS) === 0) chmodSync(path, (mode & 0o7777) | OTHERS_MAY_PASS);
  }
}

/**
 * This tree where `NOBODY` can read it: a clone below root's home is not, so it is mounted elsewhere too, read-only (what
 * removes a test's folders must never remove the tree). Throws if even so Node.js or the tree cannot be read.
 */
export function readableTree(): string {
  tree ??= isReadable(ROOT) ? ROOT : bindTree();
  return tree;
}

function isReadable(root: string): boolean {
  const program = join(root, 'dist', 'cmd', 'sluice.js');
  return spawnSync(process.execPath, [program, 'version'], { ...NOBODY, cwd: '/', stdio: 'ignore' }).status === 0;
}

function bindTree(): string {
  const folder = mkdtempSync('/tmp/sluice-tree-');
  chmodSync(folder, 0o755);
  process.once('exit', () => {
    if (bound) spawnSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  bound = spawnSync('mount', ['--bind', ROOT, folder]).status === 0;
  const isReadOnly = bound && spawnSync('mount', ['-o', 'remount,bind,ro', folder]).status === 0;
  if (!isReadOnly || !isReadable(folder))
    throw new Error(`user ${NOBODY.uid} can read neither ${ROOT} nor a copy of it`);
  return folder;
}
