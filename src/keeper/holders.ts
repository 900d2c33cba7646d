import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HOLDERS_LIMIT_MS, MAX_HOLDERS } from './limits.js';

/** A process that keeps a mount busy. */
export interface Holder {
  readonly pid: number;
  /** Its name as `ps` shows it. */
  readonly name: string;
}

const PROGRAM = fileURLToPath(new URL('./print-holders.js', import.meta.url));

/**
 * Processes that have a file of the mount open or mapped, or stand in one of its folders; at most MAX_HOLDERS.
 * Looked for by a process that can be given up: reading another one's /proc/…/maps waits as long as that one waits in a
 * page fault, which on a mount may be for ever. What it found until then is the result.
 */
export function findHolders(mount: string, except: ReadonlySet<number>): Promise<Holder[]> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [PROGRAM, mount], { stdio: ['ignore', 'pipe', 'ignore'], cwd: '/' });
    const timer = setTimeout(() => child.kill('SIGKILL'), HOLDERS_LIMIT_MS);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', () => undefined);
    child.once('close', () => {
      clearTimeout(timer);
      const holders = text.split('\n').slice(0, -1).map(parseHolder);
      resolve(holders.filter(({ pid }) => pid !== child.pid && !except.has(pid)).slice(0, MAX_HOLDERS));
    });
  });
}

function parseHolder(line: string): Holder {
  const gap = line.indexOf(' ');
  return { pid: Number(line.slice(0, gap)), name: line.slice(gap + 1) };
}

/** Calls `found` for each process that holds the mount. May block for ever. */
export function scanHolders(mount: string, found: (holder: Holder) => void): void {
  for (const pid of readdirSync('/proc').map(Number)) {
    if (Number.isInteger(pid) && holds(pid, mount)) found({ pid, name: readText(`/proc/${pid}/comm`).trim() });
  }
}

function holds(pid: number, mount: string): boolean {
  const links = ['cwd', 'root', 'exe', ...listFolder(`/proc/${pid}/fd`).map((fd) => `fd/${fd}`)];
  if (links.some((link) => isUnder(readLink(`/proc/${pid}/${link}`), mount))) return true;
  return readText(`/proc/${pid}/maps`)
    .split('\n')
    .some((line) => isUnder(line.slice(line.indexOf('/')), mount));
}

function isUnder(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`) || path === `${folder} (deleted)`;
}

// A process may end, or belong to another user, while it is looked at: then it holds nothing that we can name.

function listFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
