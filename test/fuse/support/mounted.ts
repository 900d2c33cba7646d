import { type ChildProcess, execFile, fork, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { libfuseDriver } from '../../../src/fuse/index.js';
import { abortMount, unmount } from '../../../src/fuse/mount.js';
import { speaksOfCallers } from '../../../src/fuse/native-addon.js';
import type { ServerMount } from './server-worker.js';

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;
export const CLIENT_TIMEOUT_MS = 120_000;

/** Mounts need root and the device; elsewhere these tests have nothing to say. */
export const canMount = process.getuid?.() === 0 && spawnSync('test', ['-c', '/dev/fuse']).status === 0;

/** Drivers whose mounts can be tried here. libfuse may be missing on a machine of its own, never in CI. */
export const DRIVERS: readonly ('raw' | 'libfuse')[] = canMount ? (haveLibfuse() ? ['raw', 'libfuse'] : ['raw']) : [];

/** Each driver with each kind of locks that it has. */
export const VARIANTS: readonly (readonly ['raw' | 'libfuse', 'kernel' | 'sluice'])[] = (
  [
    ['raw', 'kernel'],
    ['raw', 'sluice'],
    ['libfuse', 'kernel'],
  ] as const
).filter(([driver]) => DRIVERS.includes(driver));

function haveLibfuse(): boolean {
  const problem =
    libfuseDriver.unusable() ?? (speaksOfCallers() ? undefined : 'fuse-native was not built by npm start');
  if (problem === undefined) return true;
  if (process.env.CI === 'true') throw new Error(problem);
  console.log(`SKIP mounts by libfuse: ${problem}`);
  return false;
}

export interface ServerStatus {
  readonly requests: Record<string, number>;
  readonly woken: number;
  readonly deferred: number;
  readonly bursts: number;
  readonly openFiles: number;
}

/** A process that serves mounts; see server.ts. */
export class TestServer {
  readonly logged: string[] = [];
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  #onStatus: ((status: ServerStatus) => void) | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.exited = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** `deviceFd` is what the first mount is served on, if someone else mounted it. */
  static async start(mounts: readonly ServerMount[], deviceFd?: number): Promise<TestServer> {
    const given = deviceFd === undefined ? mounts : mounts.map((mount) => ({ ...mount, inherit: 4 }));
    const program = fileURLToPath(new URL('./server.js', import.meta.url));
    const stdio: ('ignore' | 'inherit' | 'ipc' | number)[] = ['ignore', 'inherit', 'inherit', 'ipc'];
    if (deviceFd !== undefined) stdio.push(deviceFd);
    const child = fork(program, [JSON.stringify(given)], { stdio, cwd: '/' });
    const server = new TestServer(child);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`the server did not start: ${server.logged.join('; ')}`));
      }, START_TIMEOUT_MS);
      child.on('message', (message: { ready?: boolean; log?: string; status?: ServerStatus }) => {
        if (message.log !== undefined) server.logged.push(message.log);
        if (message.status !== undefined) server.#onStatus?.(message.status);
        if (message.ready) {
          clearTimeout(timer);
          resolve();
        }
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        reject(new Error(`the server ended: ${code ?? signal}`));
      });
    });
    return server;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  send(command: {
    mount: number;
    allow?: number;
    primary?: number;
    status?: boolean;
    stop?: boolean;
    handOver?: boolean;
  }): void {
    if (this.#child.connected) this.#child.send(command);
  }

  status(mount = 0): Promise<ServerStatus> {
    return new Promise((resolve) => {
      this.#onStatus = resolve;
      this.send({ mount, status: true });
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    this.send({ mount: 0, stop: true });
    const timer = setTimeout(() => this.kill(), STOP_TIMEOUT_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

/** Folders of one mount, removed at the end with all that is in them. */
export class TestFolders {
  readonly home = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-fuse-')));
  readonly path = `${this.home}/mnt`;
  readonly backing = `${this.home}/backing`;
  readonly run = `${this.home}/run`;
  /** A folder without a file system of ours, to compare with. */
  readonly plain = `${this.home}/plain`;

  constructor() {
    for (const folder of [this.path, this.backing, this.run, this.plain]) mkdirSync(folder);
    process.once('exit', this.#emergency);
  }

  mount(options: Partial<ServerMount> = {}): ServerMount {
    const { path, backing, run } = this;
    return { path, backing, run, locks: 'kernel', takeover: false, wakeups: 'off', ...options };
  }

  async remove(): Promise<void> {
    await unmount(this.path, 200);
    process.off('exit', this.#emergency);
    rmSync(this.home, { recursive: true, force: true });
  }

  readonly #emergency = (): void => {
    if (spawnSync('umount', ['-c', '-l', this.path], { timeout: 2000 }).status !== 0) abortMount(this.path);
  };
}

export interface Mounted extends TestFolders {
  readonly server: TestServer;
}

/** Runs with one mount; whatever happens it is unmounted. The server must have had nothing to report. */
export async function withMount(
  options: Partial<ServerMount>,
  run: (folders: TestFolders, server: TestServer) => Promise<void>,
): Promise<void> {
  const folders = new TestFolders();
  try {
    const server = await TestServer.start([folders.mount(options)]);
    try {
      await run(folders, server);
    } finally {
      await server.stop();
    }
    if (server.logged.length > 0) throw new Error(`the server reported: ${server.logged.join('; ')}`);
  } finally {
    await folders.remove();
  }
}

/** Runs a program beside this file in a process of its own; resolves with what it printed. */
export function client(name: string, args: readonly string[], timeoutMs = CLIENT_TIMEOUT_MS): Promise<string> {
  const program = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL' as const, cwd: '/', maxBuffer: 16 << 20 };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${name} ${args.join(' ')}: ${stderr || error.message}`));
    });
  });
}
