import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import type { DatabaseStatus, NodeStatus } from '../../src/status.js';
import { freePort } from '../support/port.js';
import { type Ran, runProgram } from '../support/run-program.js';
import { until } from '../support/until.js';

export type { Ran };
export { freePort, until };

export const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const LIMIT_MS = 30_000;

/** Ends the test file where mounting is not possible. */
export function requireMounts(what: string): void {
  if (process.getuid?.() === 0 && existsSync('/dev/fuse')) return;
  console.log(`SKIP ${what}: mounting needs root and /dev/fuse`);
  process.exit(0);
}

/** Runs a program to its end, away from any mount; killed after half a minute. */
export function run(program: string, args: readonly string[], env: object): Promise<Ran> {
  return runProgram(program, args, '/', { NO_COLOR: '1', ...env });
}

export function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} `);
}

/** A folder, the nodes and the mounts of one test; all of it goes at `end`. */
export class Bench {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-fault-')));
  private readonly undo: (() => unknown)[] = [];
  private readonly nodes: TestNode[] = [];

  onEnd(action: () => unknown): void {
    this.undo.push(action);
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** A small file system of its own, so that it can be filled. */
  smallDisk(name: string, sizeMb: number): string {
    const path = this.path(name);
    mkdirSync(path);
    const ran = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMb}m`, 'sluice-test', path]);
    if (ran.status !== 0) throw new Error(`no tmpfs: ${ran.stderr}`);
    this.onEnd(() => spawnSync('umount', ['-l', path]));
    return path;
  }

  /** A node that is not started. `more`: further lines of its config. */
  async node(name: string, more = '', data = this.path(name)): Promise<TestNode> {
    const node = new TestNode(this.folder, name, data, await freePort(), await freePort(), more);
    this.nodes.push(node);
    return node;
  }

  async primary(name = 'primary', more = '', data?: string): Promise<TestNode> {
    const node = await this.node(name, more, data);
    await node.start();
    return node;
  }

  /** A replica that follows `url`. */
  async replica(url: string, name = 'replica', more = '', data?: string): Promise<TestNode> {
    const node = await this.node(name, `lease: {type: static, role: replica, primary: "${url}"}\n${more}`, data);
    await node.start();
    return node;
  }

  run(program: string, args: readonly string[], env: object = {}): Promise<Ran> {
    return run(program, args, { TMPDIR: this.folder, ...env });
  }

  /** The sluice command. */
  sluice(args: readonly string[], env: object = {}): Promise<Ran> {
    return this.run(process.execPath, [SLUICE, ...args], env);
  }

  /** Processes that were started in this bench and are still there. */
  processes(): string[] {
    return processesWith('TMPDIR', this.folder);
  }

  async end(): Promise<void> {
    for (const node of this.nodes) await node.destroy();
    for (const action of this.undo.reverse()) await action();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Processes whose environment has this, as `pid command`. */
function processesWith(name: string, text: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    // Of one that is ending, or waits for a disk, nothing can be read without the risk to wait with it.
    if (/^State:\s+[DZ]/m.test(readText(`/proc/${entry}/status`))) continue;
    if (!readText(`/proc/${entry}/environ`).split('\0').includes(`${name}=${text}`)) continue;
    found.push(`${entry} ${readText(`/proc/${entry}/cmdline`).replaceAll('\0', ' ').trim()}`);
  }
  return found;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export async function withBench(body: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = new Bench();
  try {
    await body(bench);
  } finally {
    await bench.end();
  }
}

/** `sluice mount` with a config of its own. */
export class TestNode {
  readonly config: string;
  readonly mount: string;
  readonly url: string;
  stderr = '';
  private keeper: ChildProcess | undefined;
  private ended: Promise<number | string> = Promise.resolve('not started');
  private readonly seen = new Set<number>();

  constructor(
    private readonly folder: string,
    readonly name: string,
    readonly data: string,
    readonly httpPort: number,
    readonly port: number,
    more: string,
  ) {
    this.mount = join(data, 'mnt');
    this.url = `ws://127.0.0.1:${port}`;
    this.config = join(folder, `${name}.yml`);
    const replication = more.includes('role: replica') ? 'off' : `127.0.0.1:${port}`;
    writeFileSync(
      this.config,
      [
        `data: ${data}`,
        ...(more.startsWith('http:') ? [] : [`http: {listen: "127.0.0.1:${httpPort}"}`]),
        ...(more.includes('\nreplication:') || more.startsWith('replication:')
          ? []
          : [`replication: {listen: "${replication}", heartbeat: 200ms}`]),
        ...(more.includes('log:') ? [] : ['log: {level: info, format: json}']),
        more,
        '',
      ].join('\n'),
    );
  }

  /** Starts it without waiting; resolves with the exit code (or signal) of the keeper. */
  launch(env: object = {}, command: readonly string[] = []): Promise<number | string> {
    const args = [SLUICE, 'mount', '-c', this.config, ...(command.length > 0 ? ['--', ...command] : [])];
    const child = spawn(process.execPath, args, {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SLUICE_DEBUG: '', NO_COLOR: '1', TMPDIR: this.folder, ...env },
    });
    this.keeper = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk) => {
        this.stderr += chunk;
      });
    }
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')));
    return this.ended;
  }

  /** Starts it and waits until the mount is served (a replica may still have to catch up). */
  async start(env: object = {}): Promise<void> {
    const end = this.launch(env);
    let over: number | string | undefined;
    void end.then((how) => {
      over = how;
    });
    await until(`${this.name} serves`, async () => {
      if (over !== undefined) throw new Error(`it ended (${over}): ${this.stderr}`);
      return (await this.status()).role !== undefined;
    });
    this.nodePid();
  }

  get keeperPid(): number {
    return this.keeper!.pid!;
  }

  /** The node process: the keeper's child. */
  nodePid(): number {
    const children = readFileSync(`/proc/${this.keeperPid}/task/${this.keeperPid}/children`, 'utf8').trim().split(' ');
    const pid = children
      .map(Number)
      .find((child) => child > 0 && readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('node-main'));
    if (pid === undefined) throw new Error(`${this.name} has no node process`);
    this.seen.add(pid);
    return pid;
  }

  async status(): Promise<NodeStatus> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}/status`, { signal: AbortSignal.timeout(5000) });
    return (await response.json()) as NodeStatus;
  }

  async database(name: string): Promise<DatabaseStatus | undefined> {
    return (await this.status()).databases.find((db) => db.name === name);
  }

  /** Code and subject of each problem, as `CODE subject`. */
  async problems(): Promise<string[]> {
    return (await this.status()).problems.map(({ code, subject }) => `${code} ${subject}`);
  }

  /** `TXID/checksum` as the `<db>-pos` file has it; empty if there is none. */
  position(name: string): string {
    try {
      return readFileSync(join(this.mount, `${name}-pos`), 'utf8').trim();
    } catch {
      return '';
    }
  }

  path(name: string): string {
    return join(this.mount, name);
  }

  /** Where the mount's files really are. */
  file(name: string): string {
    return join(this.data, 'files', name);
  }

  /** The files of a database's folder under meta/ with this ending. */
  meta(name: string): string {
    return metaFolder(this.data, name);
  }

  open(name: string): Database.Database {
    return new Database(this.path(name), { timeout: 5000 });
  }

  async hasEnded(limitMs = LIMIT_MS): Promise<number | string> {
    const late = sleep(limitMs, 'too late' as const, { ref: false });
    return Promise.race([this.ended, late]);
  }

  /** SIGTERM, and the exit code. */
  async stop(limitMs = LIMIT_MS): Promise<number | string> {
    this.keeper?.kill('SIGTERM');
    return this.hasEnded(limitMs);
  }

  signal(signal: NodeJS.Signals): void {
    this.keeper?.kill(signal);
  }

  async destroy(): Promise<void> {
    const { keeper } = this;
    if (keeper !== undefined && keeper.exitCode === null && keeper.signalCode === null) {
      try {
        this.nodePid();
      } catch {
        // it is just dying
      }
      keeper.kill('SIGKILL');
      await this.ended;
    }
    for (const pid of this.seen) {
      if (existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('node-main')) {
        process.kill(pid, 'SIGKILL');
      }
    }
    while (isMounted(this.mount)) {
      if (spawnSync('umount', ['-l', this.mount]).status !== 0) break;
    }
  }
}

/** The folder under meta/ that belongs to a database: the one whose `name` file says so. */
export function metaFolder(data: string, name: string): string {
  return join(data, 'meta', name);
}

/** Runs SQL and closes. */
export function exec(path: string, sql: string): void {
  const db = new Database(path, { timeout: 5000 });
  try {
    db.exec(sql);
  } finally {
    db.close();
  }
}

/** One value of one row. */
export function value(path: string, sql: string): unknown {
  const db = new Database(path, { readonly: true, timeout: 5000 });
  try {
    return db.prepare(sql).pluck().get();
  } finally {
    db.close();
  }
}

/** Waits until the replica has what the primary has, and that it is the same. */
export async function same(primary: TestNode, replica: TestNode, name: string, limitMs = LIMIT_MS): Promise<void> {
  await until(
    `${name} is the same on ${replica.name}`,
    () => {
      const [here, there] = [primary.position(name), replica.position(name)];
      if (here === '' || here !== there) throw new Error(`${here} and ${there}`);
      return true;
    },
    limitMs,
  );
}
