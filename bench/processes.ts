import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const CLIENT = fileURLToPath(new URL('./client.js', import.meta.url));
const SLUICE = fileURLToPath(new URL('../cmd/sluice.js', import.meta.url));
const CLIENT_LIMIT_MS = 15 * 60_000;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 40_000;

/** Runs one task of client.ts in a process of its own; its line of JSON. */
export function client<T>(task: string, ...args: (string | number)[]): Promise<T> {
  return script<T>(CLIENT, task, ...args);
}

/** Runs a program of ours; its line of JSON. */
export function script<T>(program: string, task: string, ...args: (string | number)[]): Promise<T> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [program, task, ...args.map(String)],
      { timeout: CLIENT_LIMIT_MS },
      (error, stdout, stderr) => {
        if (error === null) resolve(JSON.parse(stdout) as T);
        else reject(new Error(`${task} failed: ${stderr || error.message}`));
      },
    );
  });
}

/** A server that was started here, and is stopped here. */
export class Server {
  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
    private readonly mount: string | undefined,
    private readonly output: () => string,
  ) {}

  /** Resolves when `ready` says so. */
  static async start(
    name: string,
    command: string,
    args: readonly string[],
    ready: (output: string) => boolean,
    mount?: string,
  ): Promise<Server> {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    const take = (bytes: Buffer) => {
      output = (output + bytes.toString()).slice(-20_000);
    };
    child.stdout!.on('data', take);
    child.stderr!.on('data', take);
    const server = new Server(name, child, mount, () => output);
    const deadline = Date.now() + START_LIMIT_MS;
    while (!ready(output)) {
      if (child.exitCode !== null || Date.now() > deadline) {
        await server.stop();
        throw new Error(`${name} did not start:\n${output}`);
      }
      await pause(20);
    }
    return server;
  }

  static sluice(name: string, configFile: string, mount: string): Promise<Server> {
    const args = [SLUICE, 'mount', '-c', configFile];
    return Server.start(name, process.execPath, args, (output) => output.includes('"msg":"ready"'), mount);
  }

  /** Resident memory of the process and all its children, bytes: the sum of RSS, and of PSS (shared pages once). */
  memory(): { rssBytes: number; pssBytes: number } {
    let rssBytes = 0;
    let pssBytes = 0;
    for (const pid of descendants(this.child.pid!)) {
      const text = read(`/proc/${pid}/smaps_rollup`);
      rssBytes += 1024 * Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
      pssBytes += 1024 * Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    }
    return { rssBytes, pssBytes };
  }

  /** All of it at once, as when the machine goes. */
  kill(): void {
    for (const pid of descendants(this.child.pid!)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone by itself
      }
    }
    if (this.mount !== undefined) spawnSync('umount', ['-l', this.mount], { stdio: 'ignore' });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise<void>((resolve) => this.child.once('exit', () => resolve()));
      this.child.kill('SIGINT');
      const timer = setTimeout(() => process.kill(-this.child.pid!, 'SIGKILL'), STOP_LIMIT_MS);
      await ended;
      clearTimeout(timer);
    }
    if (this.mount !== undefined) spawnSync('umount', ['-l', this.mount], { stdio: 'ignore' });
  }

  toString(): string {
    return this.output();
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function until(what: string, limitMs: number, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + limitMs; !(await condition()); await pause(50)) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${limitMs} ms`);
  }
}

function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${entry}/status`))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const all = [root];
  for (let i = 0; i < all.length; i++) all.push(...(children.get(all[i]!) ?? []));
  return all;
}

function read(path: string): string {
  try {
    return existsSync(path) ? readFileSync(path, 'latin1') : '';
  } catch {
    return '';
  }
}
