import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const PROGRAM_LIMIT_MS = 5_000;

/**
 * Ends every process that was started with this temporary folder and removes every mount in it. Returns what there was.
 * The folder's name is unique, so nothing that others started can be met.
 */
export function cleanUp(folder: string): string[] {
  const found: string[] = [];
  for (const { path, device } of mountsIn(folder)) {
    found.push(`mount ${path}`);
    abortConnection(device);
    spawnSync('umount', ['-l', path], { timeout: PROGRAM_LIMIT_MS });
  }
  for (const pid of processesOf(folder)) {
    found.push(`process ${pid} (${readText(`/proc/${pid}/comm`).trim()})`);
    kill(pid);
  }
  return found;
}

/**
 * By their environment; looked for by a process that can be given up, because reading that of a process that hangs in a
 * page fault hangs too. Those that wait (state D) come last, so that they hide no other.
 */
function processesOf(folder: string): number[] {
  const { stdout } = spawnSync(process.execPath, ['-e', SCAN, folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, TMPDIR: '' },
    timeout: PROGRAM_LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  return stdout
    .split('\n')
    .slice(0, -1)
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

const SCAN = `
  const { readdirSync, readFileSync, writeSync } = require('node:fs');
  const folder = process.argv[1];
  const waits = (pid) => {
    try {
      return readdirSync('/proc/' + pid + '/task').some((task) => {
        const text = readFileSync('/proc/' + pid + '/task/' + task + '/stat', 'latin1');
        return text.slice(text.lastIndexOf(')')).startsWith(') D');
      });
    } catch {
      return false;
    }
  };
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
  const waiting = pids.filter(waits);
  for (const pid of [...pids.filter((pid) => !waiting.includes(pid)), ...waiting]) {
    try {
      const entries = readFileSync('/proc/' + pid + '/environ', 'utf8').split('\\0');
      const value = entries.find((entry) => entry.startsWith('TMPDIR='))?.slice(7);
      if (value === folder || value?.startsWith(folder + '/')) writeSync(1, pid + '\\n');
    } catch {}
  }
`;

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
