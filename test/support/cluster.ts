import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readKeeperState, type UpgradeState } from '../../src/keeper/index.js';
import type { NodeStatus } from '../../src/status.js';
import { contentChecksum } from './content-checksum.js';
import type { Machine } from './network.js';
import { freePort } from './port.js';
import { openWayTo, readableTree } from './unprivileged.js';

export { contentChecksum, freePort };

/**
 * Real nodes on real mounts for tests: `sluice mount` processes in folders of their own. Whatever a test does, `cleanUp`
 * (and the end of the process) ends what was started here, unmounts it, and removes the folders.
 */

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
/** Generous: with the machine full of other tests a node takes its time. */
const START_LIMIT_MS = 90_000;
const STOP_LIMIT_MS = 45_000;
const READ_LIMIT_MS = 10_000;
/** For a position to come to that of a file that is quiet. */
/** What a replica's log says when its pages are not those of its position. */
const REPAIRED = 'free pages differ from the primary since a rollback: a snapshot comes';
const TOLD_LIMIT_MS = 2000;
const SAME_LIMIT_MS = 15_000;
const REPLICA_LIMIT_MS = 20_000;
const POLL_MS = 15;
const MAX_LOG_CHARS = 400_000;
/** Of nodes that listen beyond loopback. */
const HTTP_TOKEN = 'tests-look-at-nodes';
/** Its database went away between the open and the read; Node.js has no name for it. */
const ESTALE = 116;

export interface NodeOptions {
  /** Folder for config, data and mount; a fresh temporary one if left out. Kept by `stop`, removed by `cleanUp`. */
  readonly dir?: string;
  /** Store URL, or a folder; or a whole `backup` section. */
  readonly backup?: string | object;
  /** Who runs it; this process's user if left out. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** The machine that it runs on, for one that can be cut off; this one if left out. */
  readonly machine?: Machine;
  /** More of sluice.yml, merged over the harness's own, one level deep. */
  readonly [section: string]: unknown;
}

const started: ClusterNode[] = [];
const folders: string[] = [];

/** A fresh temporary folder that `cleanUp` removes. */
export function freshFolder(name = 'cluster'): string {
  const folder = mkdtempSync(join(tmpdir(), `sluice-${name}-`));
  folders.push(folder);
  return folder;
}

/** Starts a primary; resolves when it is ready. */
export async function startPrimary(options: NodeOptions = {}): Promise<ClusterNode> {
  const port = await freePort();
  const node = await makeNode(
    'primary',
    options,
    { replication: { listen: `127.0.0.1:${port}` } },
    `ws://127.0.0.1:${port}`,
  );
  await node.start();
  return node;
}

/** Starts a replica of `primary` (a node, or the URL of its streams); resolves when it has caught up. */
export async function startReplica(primary: ClusterNode | string, options: NodeOptions = {}): Promise<ClusterNode> {
  const url = typeof primary === 'string' ? primary : primary.replicationUrl;
  const own = { replication: { listen: 'off' }, lease: { type: 'static', role: 'replica', primary: url } };
  const node = await makeNode('replica', options, own, '');
  await node.start();
  return node;
}

/** Starts a replica that only reads its first store; resolves when it has caught up. */
export async function startFedReplica(options: NodeOptions): Promise<ClusterNode> {
  const own = { replication: { listen: 'off', upstream: 'store' }, lease: { type: 'static', role: 'replica' } };
  const node = await makeNode('fed', options, own, '');
  await node.start();
  return node;
}

/** Starts a primary and a replica of it. `stopAll` ends them. */
export async function startPair(options: NodeOptions = {}): Promise<{ primary: ClusterNode; replica: ClusterNode }> {
  const primary = await startPrimary(options);
  return { primary, replica: await startReplica(primary) };
}

async function makeNode(name: string, options: NodeOptions, own: object, url: string): Promise<ClusterNode> {
  const { dir, backup, user, machine, ...more } = options;
  const folder = dir ?? freshFolder(name);
  mkdirSync(folder, { recursive: true });
  const http = `${machine?.address ?? '127.0.0.1'}:${await freePort()}`;
  const config: Record<string, unknown> = {
    data: './data',
    // SLUICE_TEST_DRIVER, SLUICE_TEST_PASSTHROUGH: for running a whole test with the second driver, or where each write to a WAL is a request.
    mount: {
      path: './mnt',
      driver: process.env.SLUICE_TEST_DRIVER ?? 'auto',
      passthrough: process.env.SLUICE_TEST_PASSTHROUGH ?? 'on',
    },
    http: { listen: http, ...(machine === undefined ? {} : { token: HTTP_TOKEN }) },
    log: { level: 'debug', format: 'json' },
    ...own,
  };
  if (backup !== undefined) config.backup = typeof backup === 'string' ? { url: backup, interval: '100ms' } : backup;
  for (const [key, value] of Object.entries(more)) {
    const before = config[key];
    const both = isSection(before) && isSection(value);
    config[key] = both ? { ...before, ...value } : value;
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'sluice.yml'), JSON.stringify(config, undefined, 2));
  if (user !== undefined) {
    openWayTo(folder);
    chownSync(folder, user.uid, user.gid);
  }
  const node = new ClusterNode(folder, (config.http as { listen: string }).listen, url, user, machine);
  started.push(node);
  return node;
}

/** One node: its keeper process, and through it the node process and the mount. */
export class ClusterNode {
  readonly data: string;
  readonly mount: string;
  readonly httpUrl: string;
  /** What its processes wrote to stderr and stdout, the last of it. */
  log = '';
  #keeper: ChildProcess | undefined;
  #ended: Promise<number | string> = Promise.resolve(0);

  constructor(
    readonly dir: string,
    http: string,
    /** Where replicas connect; empty for a replica. */
    readonly replicationUrl: string,
    private readonly user?: NodeOptions['user'],
    private readonly machine?: Machine,
  ) {
    this.data = join(dir, 'data');
    this.mount = join(dir, 'mnt');
    this.httpUrl = `http://${http}`;
  }

  /** Starts it (again). Resolves when it is ready; rejects with its log if it does not get there. */
  async start(): Promise<void> {
    const program = this.user === undefined ? SLUICE : join(readableTree(), 'dist/cmd/sluice.js');
    const command = [process.execPath, program, 'mount', '-c', join(this.dir, 'sluice.yml')];
    const [first = '', ...args] = this.machine?.within(command) ?? command;
    const keeper = spawn(first, args, {
      ...this.user,
      cwd: this.dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SLUICE_DEBUG: '1' },
    });
    this.#keeper = keeper;
    for (const stream of [keeper.stdout, keeper.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log = (this.log + text).slice(-MAX_LOG_CHARS);
      });
    }
    this.#ended = new Promise((resolve) => keeper.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')));
    await this.ready();
  }

  get running(): boolean {
    return this.#keeper !== undefined && this.#keeper.exitCode === null && this.#keeper.signalCode === null;
  }

  /** Resolves when /status says that it is ready. */
  async ready(limitMs = START_LIMIT_MS): Promise<void> {
    await waitFor(
      async () => {
        if (!this.running) throw new Error(`the node ended while it was to become ready:\n${this.log.slice(-4000)}`);
        return (await this.status().catch(() => undefined))?.ready === true;
      },
      limitMs,
      () => `ready\n${this.log.slice(-4000)}`,
    );
  }

  async status(): Promise<NodeStatus> {
    const headers = { authorization: `Bearer ${HTTP_TOKEN}` };
    const response = await fetch(`${this.httpUrl}/status`, { headers, signal: AbortSignal.timeout(READ_LIMIT_MS) });
    if (!response.ok) throw new Error(`/status answers ${response.status}: ${await response.text()}`);
    return (await response.json()) as NodeStatus;
  }

  /** `TXID/checksum` as `<db>-pos` has it; undefined if there is no such database. */
  async position(db: string): Promise<string | undefined> {
    const text = await this.read(`${db}-pos`);
    return text?.trim();
  }

  /** A file of the mount as text; undefined if there is none. */
  async read(path: string): Promise<string | undefined> {
    try {
      const signal = AbortSignal.timeout(READ_LIMIT_MS);
      return await readFile(join(this.mount, path), { encoding: 'utf8', signal });
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || errno === -ESTALE) return undefined;
      throw error;
    }
  }

  /** Path of a file of the mount. */
  path(name: string): string {
    return join(this.mount, name);
  }

  /** Path of the real file behind it. */
  backing(name: string): string {
    return join(this.data, 'files', name);
  }

  /** Process id of what `sluice mount` is. */
  keeperPid(): number {
    return this.#keeper?.pid ?? 0;
  }

  /** Process id of the node that serves now. */
  nodePid(): number {
    for (;;) {
      // Empty for the moment in which a node writes it.
      const pid = Number(readFileSync(join(this.data, 'node.pid'), 'utf8'));
      if (pid > 0) return pid;
    }
  }

  /** Process id of the applier of a replica, if it runs. */
  applierPid(): number | undefined {
    return childrenOf(this.nodePid()).find((pid) => commandLine(pid).includes('applier'));
  }

  /** What recovery said of a database in the log, in order; debug lines too. */
  outcomes(db: string): string[] {
    return this.log.split('\n').flatMap((line) => {
      if (!line.includes('"recovered"') || !line.startsWith('{')) return [];
      const entry = JSON.parse(line) as { database?: string; outcome?: string };
      return entry.database === db && entry.outcome !== undefined ? [entry.outcome] : [];
    });
  }

  /** Kills the node process; its keeper starts another on the same mount. Resolves when that one is ready. */
  async killNode(): Promise<void> {
    const pid = this.nodePid();
    process.kill(pid, 'SIGKILL');
    await waitFor(
      () => this.nodePid() !== pid,
      START_LIMIT_MS,
      () => `a new node\n${this.log.slice(-4000)}`,
    );
    await this.ready();
  }

  /** Asks the keeper for a new node, and resolves with what came of it. Rejects if nothing does. */
  async upgrade(limitMs = START_LIMIT_MS): Promise<UpgradeState> {
    const state = () => readKeeperState(this.data)?.upgrade ?? undefined;
    const before = state()?.number ?? 0;
    this.#keeper?.kill('SIGUSR2');
    const ended = () => (state()?.number ?? 0) > before && state()?.state !== 'running';
    await waitFor(ended, limitMs, () => `an upgrade to end\n${this.log.slice(-4000)}`);
    return state()!;
  }

  /** Kills keeper and node at once, as a crash of the whole would, and removes the dead mount. */
  async killAll(): Promise<void> {
    const pid = existsSync(join(this.data, 'node.pid')) ? this.nodePid() : undefined;
    this.#keeper?.kill('SIGKILL');
    if (pid !== undefined && commandLine(pid).includes('node-main')) killQuietly(pid);
    await this.#ended;
    if (pid !== undefined)
      await waitFor(() => !commandLine(pid).includes('node-main'), STOP_LIMIT_MS, 'the node to end');
    this.unmount();
  }

  /** A clean stop (SIGTERM). Resolves with the keeper's exit code; kills it if it takes too long. */
  async stop(): Promise<number | string> {
    if (!this.running) return this.#ended;
    this.#keeper?.kill('SIGTERM');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'too late'>((resolve) => {
      timer = setTimeout(() => resolve('too late'), STOP_LIMIT_MS);
    });
    const end = await Promise.race([this.#ended, late]);
    clearTimeout(timer);
    if (end === 'too late') this.discard();
    return end;
  }

  /** Ends all of it the hard way, at once. */
  discard(): void {
    const pids = this.#keeper?.pid === undefined || !this.running ? [] : descendantsOf(this.#keeper.pid);
    if (this.running) this.#keeper?.kill('SIGKILL');
    for (const pid of pids) killQuietly(pid);
    this.unmount();
  }

  /** Removes the mount whatever state it is in: pending requests are failed first. */
  unmount(): void {
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
      const [, , device, , path] = line.split(' ');
      if (path !== this.mount) continue;
      try {
        writeFileSync(`/sys/fs/fuse/connections/${device?.split(':')[1]}/abort`, '1');
      } catch {
        // its connection is gone already
      }
      spawnSync('umount', ['-l', this.mount], { timeout: READ_LIMIT_MS });
    }
  }
}

/** Ends everything that was started here and removes its folders. Stop nodes in order before, where that matters. */
export function cleanUp(): void {
  for (const node of started.splice(0)) node.discard();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** Stops the nodes that were started here, replicas before their primaries, then `cleanUp`. */
export async function stopAll(): Promise<void> {
  for (const node of [...started].reverse()) await node.stop();
  cleanUp();
}

process.once('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1));
}

/** Waits until `holds` is true, `limitMs` at most. An error that it throws ends the wait. */
export async function waitFor(
  holds: () => boolean | Promise<boolean>,
  limitMs = 15_000,
  what: string | (() => string) = 'a condition',
): Promise<void> {
  const untilMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > untilMs)
      throw new Error(`waited ${limitMs} ms for ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * Waits until `replica` shows the position that `primary` has now. Returns that position. It may be one before the last
 * commit: that of a WAL which the kernel writes is in the position a moment later. See `waitUntilSame`, `untilLogged`.
 */
export async function waitForReplica(
  primary: ClusterNode,
  replica: ClusterNode,
  db: string,
  limitMs = REPLICA_LIMIT_MS,
): Promise<string> {
  let wanted: string | undefined;
  let seen: string | undefined;
  await waitFor(
    async () => {
      wanted = await primary.position(db);
      seen = await replica.position(db);
      return wanted !== undefined && wanted === seen;
    },
    limitMs,
    () => `${db}: the replica to come from ${seen} to ${wanted}\n${replica.log.slice(-3000)}`,
  );
  return wanted!;
}

/**
 * Waits until `primary` shows the position of what the database's file holds, and `replica` that position and the same
 * content. Returns the position. The database must be quiet: its content may not change while this waits.
 */
export async function waitUntilSame(
  primary: ClusterNode,
  replica: ClusterNode,
  db: string,
  limitMs = SAME_LIMIT_MS,
): Promise<string> {
  let first: string | undefined;
  let content = '';
  let position: string | undefined;
  await waitFor(
    async () => {
      content = contentChecksum(primary.backing(db));
      first ??= content;
      if (content !== first)
        throw new Error(`${db}: the content was ${first} and is ${content}\n${primary.log.slice(-3000)}`);
      position = await primary.position(db);
      return position?.endsWith(`/${content}`) === true;
    },
    limitMs,
    () => `${db}: ${position} to be the position of ${content}\n${primary.log.slice(-3000)}`,
  );
  const reached = await waitForReplica(primary, replica, db, Math.max(limitMs, REPLICA_LIMIT_MS));
  let copied = contentChecksum(replica.backing(db));
  const isSame = () => {
    copied = contentChecksum(replica.backing(db));
    return copied === content;
  };
  // What a rollback left in free pages is noticed, told, and repaired: the position stays.
  const isTold = () => isSame() || replica.log.includes(REPAIRED);
  if (copied !== content && (await holds(isTold, TOLD_LIMIT_MS))) await holds(isSame, limitMs);
  if (copied !== content || !reached.endsWith(`/${content}`)) {
    throw new Error(
      `${db}: ${content} on the primary, ${copied} on the replica at ${reached}\n${replica.log.slice(-3000)}`,
    );
  }
  return reached;
}

async function holds(condition: () => boolean, limitMs: number): Promise<boolean> {
  return waitFor(condition, limitMs).then(
    () => true,
    () => false,
  );
}

/** Resolves when all that was committed on a primary with a backup is in its positions. */
export async function untilLogged(primary: ClusterNode): Promise<void> {
  const answer = await fetch(`${primary.httpUrl}/backup`, { method: 'POST' });
  if (!answer.ok) throw new Error(`backup now: ${answer.status} ${await answer.text()}`);
}

/** The TXID of a position. */
export function txidOf(position: string): number {
  return Number.parseInt(position.split('/')[0]!, 16);
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}
