import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { NodeStatus } from '../../src/status.js';
import type { Workbench } from '../backup/workbench.js';
import { freePort } from './ports.js';

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 120_000;
const ANSWER_LIMIT_MS = 5_000;
const POLL_MS = 50;
/** Of what a node writes to stderr and stdout, the last so much is kept. */
const MAX_OUTPUT_CHARS = 200_000;

export interface NodeOptions {
  /** The name of its data folder in the workbench's. */
  readonly name: string;
  /** The node that it follows; left out for a primary. */
  readonly follows?: SluiceNode;
  /** More lines of its sluice.yml. */
  readonly config?: string;
  /** The application after `--`. */
  readonly command?: readonly string[];
  /** The ports it had before; free ones if left out. */
  readonly ports?: Ports;
}

interface Ports {
  readonly http: number;
  readonly stream: number;
}

/** One `sluice mount`, as a user runs it. */
export class SluiceNode {
  /** Resolves with its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  readonly data: string;
  readonly mount: string;
  readonly url: string;
  output = '';
  readonly #child: ChildProcess;
  #alive = true;

  private constructor(
    bench: Workbench,
    private readonly options: NodeOptions,
    readonly ports: Ports,
  ) {
    this.data = join(bench.folder, options.name);
    this.mount = join(this.data, 'mnt');
    this.url = `http://127.0.0.1:${ports.http}`;
    const file = join(bench.folder, `${options.name}.yml`);
    writeFileSync(file, this.#config());
    const command = options.command === undefined ? [] : ['--', ...options.command];
    this.#child = spawn(process.execPath, [SLUICE, 'mount', '-c', file, ...command], {
      cwd: bench.folder,
      env: { ...process.env, SLUICE_DEBUG: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const add = (chunk: string): void => {
      this.output = (this.output + chunk).slice(-MAX_OUTPUT_CHARS);
    };
    this.#child.stdout?.setEncoding('utf8').on('data', add);
    this.#child.stderr?.setEncoding('utf8').on('data', add);
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#alive = false;
        resolve(code ?? signal ?? 'unknown');
      });
    });
    bench.onEnd(() => this.#remove());
  }

  /** Starts a node and waits until applications may use it. */
  static async start(bench: Workbench, options: NodeOptions): Promise<SluiceNode> {
    const node = await SluiceNode.spawn(bench, options);
    await node.ready();
    return node;
  }

  /** Starts a node without waiting for anything. */
  static async spawn(bench: Workbench, options: NodeOptions): Promise<SluiceNode> {
    return new SluiceNode(bench, options, options.ports ?? { http: await freePort(), stream: await freePort() });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Of an application: the path of a database on this node's mount. */
  path(database: string): string {
    return join(this.mount, database);
  }

  /** The file behind the mount. */
  fileBehind(database: string): string {
    return join(this.data, 'files', database);
  }

  async ready(): Promise<void> {
    await this.until('ready', async () => (await this.status()).ready, READY_LIMIT_MS);
  }

  async status(): Promise<NodeStatus> {
    const response = await fetch(`${this.url}/status`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    return (await response.json()) as NodeStatus;
  }

  /** `TXID/checksum`, as the file beside the database says; empty while there is none. */
  position(database: string): string {
    try {
      return readFileSync(`${this.path(database)}-pos`, 'utf8').trim();
    } catch {
      return '';
    }
  }

  /** Waits until this node's database is where the other's is now. */
  async reaches(other: SluiceNode, database: string, limitMs = 60_000): Promise<void> {
    const there = other.position(database);
    if (there === '') throw new Error(`${other.options.name} has no ${database}`);
    await this.until(`${database} at ${there}`, async () => this.position(database) === there, limitMs);
  }

  /** Waits until every backup has what is committed now. */
  async backedUp(database: string, limitMs = 60_000): Promise<void> {
    const txid = this.position(database).split('/')[0];
    await this.until(
      `a backup of ${database} up to ${txid}`,
      async () => {
        const { backups } = await this.status();
        return backups.every((store) => store.databases.find((db) => db.name === database)?.txid === txid);
      },
      limitMs,
    );
  }

  /** Waits until it is so; fails with the node's output when it takes too long or the node ends. */
  async until(what: string, holds: () => Promise<boolean>, limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (!(await holds().catch(() => false))) {
      if (!this.#alive) throw new Error(`${this.options.name} ended before: ${what}\n${this.output}`);
      if (performance.now() > endMs)
        throw new Error(`${this.options.name}: waited too long for ${what}\n${this.output}`);
      await sleep(POLL_MS);
    }
  }

  signal(name: NodeJS.Signals): void {
    if (this.#alive) this.#child.kill(name);
  }

  /** Stops it as Ctrl-C does; resolves with its exit code. */
  async stop(): Promise<number | string> {
    this.signal('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_LIMIT_MS);
    const code = await this.ended;
    clearTimeout(late);
    return code;
  }

  /** Its own process id and those of all its children. */
  processes(): number[] {
    const found = [this.pid];
    for (const pid of found) found.push(...childrenOf(pid));
    return found;
  }

  isMounted(): boolean {
    return readFileSync('/proc/self/mounts', 'utf8').includes(` ${this.mount} fuse`);
  }

  #config(): string {
    const { follows, config = '' } = this.options;
    return [
      `data: ${this.options.name}`,
      `http: { listen: "127.0.0.1:${this.ports.http}" }`,
      ...(follows === undefined
        ? [`replication: { listen: "127.0.0.1:${this.ports.stream}" }`]
        : [
            'replication: { listen: "off" }',
            `lease: { role: replica, primary: "ws://127.0.0.1:${follows.ports.stream}" }`,
          ]),
      config,
      '',
    ].join('\n');
  }

  async #remove(): Promise<void> {
    if (this.#alive) {
      const all = this.processes();
      for (const pid of all) kill(pid);
      await this.ended;
    }
    if (!this.isMounted()) return;
    // Nobody holds the device any more, so whatever still waits for an answer has got an error.
    spawnSync('umount', ['-l', this.mount], { timeout: ANSWER_LIMIT_MS });
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}
