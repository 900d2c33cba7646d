import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SluiceError } from '../errors.js';
import { measureWakeup, type WakeupTimes } from '../fuse/index.js';
import { abortMount, unmount } from '../fuse/mount.js';

const PROGRAM = fileURLToPath(new URL('./probe-server.js', import.meta.url));
const START_LIMIT_MS = 10_000;
const STOP_LIMIT_MS = 5_000;
const MAX_LINE_CHARS = 4_096;

/**
 * What a request to a mount costs on this machine. The mount is made for it in a temporary folder, served by a process
 * of its own and asked by another, so that this one never waits for it; all of it is gone at the end, whatever happens.
 * SluiceErrors: `PROBE_FAILED`, and `FUSE_MEASURE` if the mount does not answer.
 */
export async function measureMount(program = PROGRAM): Promise<WakeupTimes> {
  // A session of its own: a Ctrl-C ends us, and the server then cleans up.
  const server = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'ignore'], cwd: '/', detached: true });
  const ended = new Promise<void>((resolve) => {
    server.once('exit', () => resolve());
    server.once('error', () => resolve());
  });
  server.stdin?.on('error', () => undefined);
  let mount: string | undefined;
  try {
    mount = await mountOf(server);
    return await measureWakeup(mount);
  } finally {
    server.stdin?.end();
    if (!(await inTime(ended, STOP_LIMIT_MS))) await giveUp(server, mount);
  }
}

/** The server's first line: `{"mount": "/path"}` or `{"problem": "text"}`. */
async function mountOf(server: ChildProcess): Promise<string> {
  let text = '';
  const line = new Promise<void>((resolve) => {
    server.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n') || text.length > MAX_LINE_CHARS) resolve();
    });
    server.once('error', () => resolve());
    server.once('close', () => resolve());
  });
  await inTime(line, START_LIMIT_MS);
  const { mount, problem } = parse(text);
  if (mount !== undefined) return mount;
  throw new SluiceError('PROBE_FAILED', problem ?? 'a mount could not be tried');
}

function parse(text: string): { readonly mount?: string; readonly problem?: string } {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** The server hangs: its mount is taken from it, which ends whoever waits in it. */
async function giveUp(server: ChildProcess, mount: string | undefined): Promise<void> {
  server.kill('SIGKILL');
  server.unref();
  if (mount === undefined) return;
  abortMount(mount);
  await unmount(mount, 0);
  rmSync(dirname(mount), { recursive: true, force: true });
}

async function inTime(work: Promise<void>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, limitMs, false);
  });
  try {
    return await Promise.race([work.then(() => true), limit]);
  } finally {
    clearTimeout(timer);
  }
}
