import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { MAX_HOLDERS } from './limits.js';

/** A process that keeps a mount busy. */
export interface Holder {
  readonly pid: number;
  /** Its name as `ps` shows it. */
  readonly name: string;
}

/**
 * Processes that have a file of the mount open or mapped, or stand in one of its folders; at most MAX_HOLDERS.
 * Reads /proc only, and so cannot be held up by the mount.
 */
export function findHolders(mount: string, except: ReadonlySet<number> = new Set()): Holder[] {
  const holders: Holder[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || except.has(pid) || !holds(pid, mount)) continue;
    holders.push({ pid, name: readText(`/proc/${pid}/comm`).trim() });
    if (holders.length === MAX_HOLDERS) break;
  }
  return holders;
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
