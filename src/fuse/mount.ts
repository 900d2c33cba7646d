import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { errorCode, SluiceError } from '../errors.js';
import { type MountEntry, mountAt } from './mount-table.js';

/**
 * What the keeper process does: it opens the device, mounts, and unmounts at the end. This module imports little, so
 * that the keeper stays small, and it never touches a mount in a way that could hang in it.
 */

/** How a mount is made: what the keeper passes to `mountKernel`. */
export interface MountOptions {
  /** From `openDevice`. */
  readonly deviceFd: number;
  /** The mount point. */
  readonly path: string;
  /** What `mount` and `df` show as the source, e.g. `sluice`. */
  readonly name: string;
  /** Other users may use it, as their permissions say. Default true. */
  readonly allowOther?: boolean;
}

const DEVICE = '/dev/fuse';
const CONNECTIONS = '/sys/fs/fuse/connections';
/** A program that mounts or unmounts gets so long. */
const PROGRAM_TIMEOUT_MS = 10_000;
/** Between two tries to unmount what is in use. */
const RETRY_MS = 50;
/** A dead mount answers at once; a live one that is slow is not stale. */
const STALE_PROBE_MS = 2_000;

/** Opens `/dev/fuse` read-write. SluiceErrors: `FUSE_MISSING`, `FUSE_NOT_ALLOWED`. */
export function openDevice(): number {
  try {
    return openSync(DEVICE, 'r+');
  } catch (cause) {
    const code = errorCode(cause);
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SluiceError(
        'FUSE_NOT_ALLOWED',
        `${DEVICE} may not be opened`,
        'Run as root; in a container, add the device and CAP_SYS_ADMIN.',
        { cause },
      );
    }
    throw new SluiceError(
      'FUSE_MISSING',
      `${DEVICE} is not there (${code ?? 'unknown error'})`,
      'Load the kernel module (modprobe fuse); in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN.',
      { cause },
    );
  }
}

/**
 * Checks the mount point, making its last folder if that is missing, and returns its real path. SluiceErrors:
 * `MOUNT_POINT` (no parent, not a folder), `MOUNT_BUSY` (something is mounted there), `MOUNT_NOT_EMPTY`.
 */
export function prepareMountPoint(path: string): string {
  const real = realMountPoint(path);
  const mounted = mountAt(real);
  if (mounted !== undefined) {
    throw new SluiceError(
      'MOUNT_BUSY',
      `${real} is a mount point already (${mounted.type} ${mounted.source})`,
      `Unmount it (umount ${real}) or choose another folder.`,
    );
  }
  makeFolder(real);
  if (readdirSync(real).length > 0) {
    throw new SluiceError(
      'MOUNT_NOT_EMPTY',
      `The mount point ${real} is not empty`,
      'Files in it would be hidden: move them away or choose another folder.',
    );
  }
  return real;
}

/**
 * Mounts at a path from `prepareMountPoint`. The kernel's first request waits in the device for whoever serves it.
 * SluiceErrors: `MOUNT_PROGRAM`, `MOUNT_NOT_ROOT`, `MOUNT_FAILED`.
 */
export function mountKernel(options: MountOptions): void {
  if (process.getuid?.() !== 0) {
    throw new SluiceError(
      'MOUNT_NOT_ROOT',
      `Mounting at ${options.path} needs root`,
      'Run as root, or with CAP_SYS_ADMIN and user id 0.',
    );
  }
  const settings = ['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0', 'default_permissions'];
  if (options.allowOther !== false) settings.push('allow_other');
  const args = ['-i', '-t', 'fuse', '-o', settings.join(','), options.name, options.path];
  const ran = spawnSync('mount', args, {
    stdio: ['ignore', 'ignore', 'pipe', options.deviceFd],
    cwd: '/',
    timeout: PROGRAM_TIMEOUT_MS,
  });
  if (ran.error !== undefined) {
    throw new SluiceError(
      'MOUNT_PROGRAM',
      `The mount program cannot be run (${errorCode(ran.error) ?? ran.error.message})`,
      'Install util-linux.',
      { cause: ran.error },
    );
  }
  if (ran.status !== 0) {
    const said = ran.stderr.toString().trim().replaceAll('\n', ' ');
    throw new SluiceError(
      'MOUNT_FAILED',
      `Mounting at ${options.path} failed: ${said || `exit code ${ran.status}`}`,
      'Check that this machine may mount FUSE file systems (sluice doctor).',
    );
  }
}

/** Whether something is mounted exactly at `path` (absolute, without links). */
export function isMounted(path: string): boolean {
  return mountAt(path) !== undefined;
}

/** The kernel's number of the FUSE mount at `path`; undefined if there is none. */
export function connectionAt(path: string): number | undefined {
  const mounted = mountAt(realMountPoint(path));
  return mounted?.type === 'fuse' && Number.isInteger(mounted.connection) ? mounted.connection : undefined;
}

/** Unmounts `path` (absolute, without links) if nobody has a file open there; resolves whether it is gone. */
export async function tryUnmount(path: string): Promise<boolean> {
  return (await runUmount(path, 'gentle', PROGRAM_TIMEOUT_MS)) || mountAt(path) === undefined;
}

/** How an unmount went. */
export type UnmountResult = 'clean' | 'lazy' | 'aborted' | 'not-mounted';

/**
 * Unmounts: gently for `timeoutMs` while files are open, then lazily (whoever has files open keeps them as long as
 * the mount is served), and if even that fails by aborting the kernel's connection.
 */
export async function unmount(path: string, timeoutMs: number): Promise<UnmountResult> {
  const real = absolute(path);
  const mounted = mountAt(real);
  if (mounted === undefined) return 'not-mounted';
  const deadlineMs = Date.now() + timeoutMs;
  for (;;) {
    if (await runUmount(real, 'gentle', PROGRAM_TIMEOUT_MS)) return 'clean';
    if (mountAt(real) === undefined) return 'clean';
    if (Date.now() >= deadlineMs) break;
    await new Promise((resolved) => setTimeout(resolved, RETRY_MS));
  }
  if (await runUmount(real, 'lazy', PROGRAM_TIMEOUT_MS)) return 'lazy';
  abort(mounted);
  await runUmount(real, 'lazy', PROGRAM_TIMEOUT_MS);
  return 'aborted';
}

/** Ends the connection of the FUSE mount at `path`: all its pending and later requests fail. False if there is none. */
export function abortMount(path: string): boolean {
  const mounted = mountAt(absolute(path));
  return mounted !== undefined && abort(mounted);
}

/**
 * Removes what a killed keeper left at `path` ("Transport endpoint is not connected"). True if there was one. A mount
 * that still answers, or is not FUSE, is left alone.
 */
export async function cleanStaleMount(path: string): Promise<boolean> {
  const real = absolute(path);
  let cleaned = false;
  for (let mounted = mountAt(real); mounted?.type === 'fuse'; mounted = mountAt(real)) {
    if (!(await isDead(real)) || !(await runUmount(real, 'lazy', PROGRAM_TIMEOUT_MS))) return cleaned;
    cleaned = true;
  }
  return cleaned;
}

/**
 * Whether the process that served the mount is gone. Asked on a thread of the pool, in case the mount hangs, and by a
 * request that the kernel does not answer by itself: attributes and names stay in its caches when the server has died.
 */
async function isDead(path: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<boolean>((resolved) => {
    timer = setTimeout(() => resolved(false), STALE_PROBE_MS);
  });
  const probe = statfs(path).then(
    () => false,
    (error: unknown) => errorCode(error) === 'ENOTCONN' || errorCode(error) === 'ECONNABORTED',
  );
  const dead = await Promise.race([probe, tooLong]);
  clearTimeout(timer);
  return dead;
}

function abort({ type, connection }: MountEntry): boolean {
  return type === 'fuse' && Number.isInteger(connection) && abortConnection(connection);
}

/** As `abortMount`, by the kernel's number (`connectionAt`), which must be of a connection that is there. */
export function abortConnection(connection: number): boolean {
  if (!existsSync(`${CONNECTIONS}/${connection}`)) {
    // Where nobody mounted the control file system, it is mounted at its usual place.
    spawnSync('mount', ['-t', 'fusectl', 'none', CONNECTIONS], { stdio: 'ignore', timeout: PROGRAM_TIMEOUT_MS });
  }
  try {
    writeFileSync(`${CONNECTIONS}/${connection}/abort`, '1');
    return true;
  } catch {
    return false;
  }
}

/** How an unmount is asked for: as long as nobody has a file open there, or whoever has. */
type Manner = 'gentle' | 'lazy';

/**
 * Resolves whether it worked; a program that hangs is left behind after the time-out. `-c` keeps `umount` from looking at
 * the mount itself, which hangs if nobody serves it. Who is not root has `fusermount` for what it mounted by it.
 */
function runUmount(path: string, manner: Manner, timeoutMs: number): Promise<boolean> {
  const [name, args] = unmountProgram(path, manner === 'lazy');
  return new Promise((resolved) => {
    const program = spawn(name, args, { stdio: 'ignore', cwd: '/' });
    const timer = setTimeout(() => {
      program.kill('SIGKILL');
      program.unref();
      resolved(false);
    }, timeoutMs);
    const end = (worked: boolean): void => {
      clearTimeout(timer);
      resolved(worked);
    };
    program.once('error', () => end(false));
    program.once('exit', (code) => end(code === 0));
  });
}

function unmountProgram(path: string, lazy: boolean): readonly [string, readonly string[]] {
  if (process.platform !== 'linux') return ['umount', [...(lazy ? ['-f'] : []), path]];
  if (process.geteuid?.() === 0) return ['umount', ['-c', ...(lazy ? ['-l'] : []), path]];
  return ['fusermount', ['-u', '-q', ...(lazy ? ['-z'] : []), path]];
}

/** The path with the links of its parent resolved; the mount point itself is not touched, for it may be dead. */
function absolute(path: string): string {
  const full = resolve(path);
  try {
    return full === '/' ? full : `${trimmed(realpathSync(dirname(full)))}/${basename(full)}`;
  } catch {
    return full;
  }
}

const trimmed = (path: string): string => (path === '/' ? '' : path);

/** Like `absolute`, but with a link at the end followed too, if it is one. */
function realMountPoint(path: string): string {
  const real = absolute(path);
  if (mountAt(real) !== undefined) return real;
  try {
    return realpathSync(real);
  } catch {
    return real;
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (cause) {
    const code = errorCode(cause);
    if (code === 'ENOENT') {
      throw new SluiceError(
        'MOUNT_POINT',
        `The mount point ${path} cannot be made: ${dirname(path)} does not exist`,
        `Make it first: mkdir -p ${path}`,
        { cause },
      );
    }
    if (code !== 'EEXIST') {
      throw new SluiceError(
        'MOUNT_POINT',
        `The mount point ${path} cannot be made (${code ?? 'unknown error'})`,
        'Make the folder yourself, or choose another.',
        { cause },
      );
    }
    if (!statSync(path).isDirectory()) {
      throw new SluiceError(
        'MOUNT_POINT',
        `The mount point ${path} is not a folder`,
        'Choose a folder that is empty or does not exist.',
        { cause },
      );
    }
  }
}
