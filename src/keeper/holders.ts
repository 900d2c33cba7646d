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
 * page fault, which on a mount may be for ever. What it found until then is the result, also if it cannot even be killed.
 */
export function findHolders(mount: string, except: ReadonlySet<number>, program = PROGRAM): Promise<Holder[]> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, mount], { stdio: ['ignore', 'pipe', 'ignore'], cwd: '/' });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const end = () => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      child.unref();
      child.stdout.destroy();
      const holders = text.split('\n').slice(0, -1).map(parseHolder);
      resolve(holders.filter(({ pid }) => pid !== child.pid && !except.has(pid)).slice(0, MAX_HOLDERS));
    };
    const timer = setTimeout(end, HOLDERS_LIMIT_MS);
    child.once('error', end);
    child.once('close', end);
  });
}

function parseHolder(line: string): Holder {
  const gap = line.indexOf(' ');
  return { pid: Number(line.slice(0, gap)), name: line.slice(gap + 1) };
}

/**
 * Calls `found` for each process that holds the mount. What cannot block comes first: the links of all processes, then
 * the mappings of those that do not wait for a disk or a mount. Only then may it block, for ever. `proc` is for tests.
 */
export function scanHolders(mount: string, found: (holder: Holder) => void, proc = '/proc'): void {
  const pids = listFolder(proc).filter((name) => /^\d+$/.test(name));
  const tell = (pid: string) => found({ pid: Number(pid), name: readText(`${proc}/${pid}/comm`).trim() });
  const rest: string[] = [];
  for (const pid of pids) {
    if (hasLink(`${proc}/${pid}`, mount)) tell(pid);
    else rest.push(pid);
  }
  const waiting = rest.filter((pid) => isWaiting(`${proc}/${pid}`));
  for (const pid of [...rest.filter((one) => !waiting.includes(one)), ...waiting]) {
    if (hasMapped(`${proc}/${pid}`, mount)) tell(pid);
  }
}

function hasLink(process: string, mount: string): boolean {
  const links = ['cwd', 'root', 'exe', ...listFolder(`${process}/fd`).map((fd) => `fd/${fd}`)];
  return links.some((link) => isUnder(readLink(`${process}/${link}`), mount));
}

function hasMapped(process: string, mount: string): boolean {
  return readText(`${process}/maps`)
    .split('\n')
    .some((line) => isUnder(line.slice(line.indexOf('/')), mount));
}

/** Whether a thread is in state D: it may hold the lock that its process' mappings are read under. */
function isWaiting(process: string): boolean {
  return listFolder(`${process}/task`).some((task) => / D /.test(stateOf(`${process}/task/${task}/stat`)));
}

/** `12 (its name) D 1 …` without what its name may have in it. */
function stateOf(path: string): string {
  const text = readText(path);
  return text.slice(text.lastIndexOf(')'));
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
