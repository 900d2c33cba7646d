import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** What the descriptors of a process are on; empty if there is none. One that is closed meanwhile is left out. */
export function linksOf(pid: number): string[] {
  try {
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder)
      .map((fd) => readLink(join(folder, fd)))
      .filter((link) => link !== '');
  } catch {
    return [];
  }
}

/** How a process has a file open, as the kernel says it: who it was can be told from that. */
export function flagsOn(pid: number, link: string): string {
  const fd = readdirSync(`/proc/${pid}/fd`).find((each) => readLink(`/proc/${pid}/fd/${each}`) === link);
  return fd === undefined ? 'closed' : readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').split('\n').join(' ');
}

/** Processes that have a file of the folder open or stand in it. (Not what they have mapped: reading that can block.) */
export function usersOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => [readLink(`/proc/${pid}/cwd`), ...linksOf(pid)].some((link) => isUnder(link, folder)));
}

export const isUnder = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
