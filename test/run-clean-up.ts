import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const UNMOUNT_LIMIT_MS = 5_000;

/**
 * Ends every process that was started with this temporary folder and removes every mount in it. Returns what there was.
 * The folder's name is unique, so nothing that others started can be met.
 */
export function cleanUp(folder: string): string[] {
  const found: string[] = [];
  for (const pid of processesOf(folder)) {
    found.push(`process ${pid} (${readText(`/proc/${pid}/comm`).trim()})`);
    kill(pid);
  }
  for (const { path, device } of mountsIn(folder)) {
    found.push(`mount ${path}`);
    abortConnection(device);
    spawnSync('umount', ['-l', path], { timeout: UNMOUNT_LIMIT_MS });
  }
  return found;
}

function processesOf(folder: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => {
      const value = readText(`/proc/${pid}/environ`)
        .split('\0')
        .find((entry) => entry.startsWith('TMPDIR='))
        ?.slice('TMPDIR='.length);
      return value === folder || value?.startsWith(`${folder}/`) === true;
    });
}

/** Deepest first. A line is `36 35 0:42 / /mount/point rw … - fuse source …`. */
function mountsIn(folder: string): { path: string; device: string }[] {
  return readText('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , path]) => path?.startsWith(`${folder}/`) === true)
    .map(([, , device, , path]) => ({ path: path!, device: device! }))
    .reverse();
}

/** Requests that nobody will answer would keep their processes waiting for ever. */
function abortConnection(device: string): void {
  try {
    writeFileSync(`/sys/fs/fuse/connections/${device.split(':')[1]}/abort`, '1');
  } catch {
    // not a FUSE mount, or its connection is gone
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
