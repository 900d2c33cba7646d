import { closeSync } from 'node:fs';
import type { Config } from '../config/index.js';
import { describeError, SluiceError } from '../errors.js';
import type { Driver } from '../fuse/driver.js';
import { chooseDriver } from '../fuse/drivers.js';
import { cleanStaleMount, isMounted, mountKernel, openDevice, prepareMountPoint } from '../fuse/mount.js';
import { Command, PASSED_SIGNALS, type PassedSignal } from './command.js';
import {
  COMMAND_LIMIT_MS,
  DRAIN_LIMIT_MS,
  FINISH_LIMIT_MS,
  HAND_OVER_LIMIT_MS,
  LOAD_LIMIT_MS,
  MAX_BACKOFF_MS,
  SAME_SIGNAL_MS,
} from './limits.js';
import { nodeEntry } from './node-entry.js';
import { NodeDied, NodeFailed, NodeProcess } from './node-process.js';
import { ProxyKeeper } from './proxy-keeper.js';
import { readConfig } from './read-config.js';
import { RestartPolicy } from './restart-policy.js';
import { HASTEN, KILL, STOP, StopRequest } from './stop-request.js';
import { takeAway, unmountGently } from './unmount.js';
import { Upgrade } from './upgrade.js';
import { within } from './wait.js';

const MOUNT_NAME = 'sluice';
const FAILURE = 1;
/** Asks for a new node on the same mount; never passed on. */
const UPGRADE_SIGNAL = 'SIGUSR2';

/** V8 flags of the node process: its heap is small, and its memory is better given back than kept. */
const NODE_FLAGS = ['--max-semi-space-size=4'];

export interface KeeperOptions {
  /** The config file asked for; null for `sluice.yml` of the folder, or the defaults. */
  readonly file: string | null;
  /** The application to run, before the config's `exec`; null for none. */
  readonly command: readonly string[] | null;
  /** The program of the node process; for tests. */
  readonly nodeEntry?: string;
  /** The program of the HTTP proxy; for tests. */
  readonly proxyEntry?: string;
  /** Other limits than those of limits.ts; for tests. */
  readonly limits?: { readonly maxDeaths?: number; readonly handOverMs?: number };
}

/** Runs a keeper until its application ends or a signal asks for the end. Resolves with the exit code; rejects if it cannot start. */
export async function runKeeper(options: KeeperOptions): Promise<number> {
  const config = await readConfig(options.file);
  const driver = chooseDriver(config.mount.driver, config.mount.locks);
  return new Keeper({ ...config, mount: { ...config.mount, driver: driver.name } }, driver, options).run();
}

/**
 * The process that `sluice mount` is: holds the descriptor of the mount and the application, and keeps a node serving
 * them, starting a new one on the same mount when one dies. It never opens a file of the mount itself. With a driver that
 * does not survive its node, each node makes a mount of its own; the keeper holds none, and takes away what is left of it.
 */
class Keeper {
  readonly #config: Config;
  readonly #driver: Driver;
  readonly #options: KeeperOptions;
  readonly #stop = new StopRequest();
  readonly #policy: RestartPolicy;
  readonly #upgrade: Upgrade;
  readonly #proxy: ProxyKeeper;
  #deviceFd: number | undefined;
  /** Where the mount is, or the node was told to make it; undefined while there is none. */
  #mountedAt: string | undefined;
  /** The node was seen to have made it, or the keeper did. */
  #mountMade = false;
  /** A node has answered the kernel on this mount: its successors take over. */
  #served = false;
  /** A node got as far as to say something. */
  #locked = false;
  #command: Command | undefined;
  #exitCode = 0;
  #stopRaisedMs = Number.NEGATIVE_INFINITY;

  constructor(config: Config, driver: Driver, options: KeeperOptions) {
    this.#config = config;
    this.#driver = driver;
    this.#options = options;
    this.#policy = new RestartPolicy(options.limits?.maxDeaths);
    this.#upgrade = new Upgrade(config.data, (message) => this.#report(message));
    this.#proxy = new ProxyKeeper(config, (message) => this.#report(message), options.proxyEntry);
  }

  async run(): Promise<number> {
    const listeners = PASSED_SIGNALS.map((signal) => [signal, () => this.#signalled(signal)] as const);
    const upgrade = () => this.#upgrade.ask();
    for (const [signal, listener] of listeners) process.on(signal, listener);
    process.on(UPGRADE_SIGNAL, upgrade);
    try {
      await this.#superviseNodes();
      return this.#exitCode;
    } finally {
      await this.#proxy.kill();
      await this.#removeMount();
      if (this.#deviceFd !== undefined) closeSync(this.#deviceFd);
      this.#upgrade.close();
      process.off(UPGRADE_SIGNAL, upgrade);
      for (const [signal, listener] of listeners) process.off(signal, listener);
    }
  }

  async #superviseNodes(): Promise<void> {
    let successor: NodeProcess | undefined;
    while (successor !== undefined || this.#stop.level < STOP) {
      const node = successor ?? (await this.#newNode());
      successor = undefined;
      const death = await this.#startNode(node);
      if (death === undefined) {
        this.#whenReady(node);
        successor = await this.#successorOf(node);
        if (successor !== undefined) continue;
        if (this.#stop.level >= STOP) return this.#stopNode(node);
      }
      await this.#afterDeath(node, death ?? (await node.ended));
    }
  }

  /** The node that takes over when an upgrade is asked for; undefined when this one has died, or a stop is asked for. */
  async #successorOf(node: NodeProcess): Promise<NodeProcess | undefined> {
    const asked = this.#stop.reached(STOP);
    for (;;) {
      await Promise.race([node.ended, asked, this.#upgrade.wanted]);
      if (!node.alive || this.#stop.level >= STOP) return undefined;
      const successor = this.#driver.survives ? await this.#handOver(node) : this.#refuseUpgrade(node);
      if (successor !== undefined) return successor;
    }
  }

  /**
   * Has a node give the mount to a new one, whose program is loaded before the old one stops: what cannot be loaded costs
   * no pause, and the old node goes on. Resolves with the new one when the old one has ended, in whatever way.
   */
  async #handOver(node: NodeProcess): Promise<NodeProcess | undefined> {
    this.#upgrade.begin(node.facts);
    const successor = await this.#newNode();
    const loaded = successor.expect('loaded').then(
      () => true,
      () => false,
    );
    await within(LOAD_LIMIT_MS, loaded, node.ended, this.#stop.reached(STOP));
    if (node.alive && (this.#stop.level >= STOP || !successor.loaded)) {
      const reason = this.#stop.level >= STOP ? 'a stop was asked for' : await this.#notLoaded(successor);
      await successor.kill();
      this.#upgrade.failed(reason, 'the old node goes on');
      return undefined;
    }
    const pause = () => this.#upgrade.paused(performance.now());
    node.expect('paused').then(pause, pause);
    node.send({ kind: 'handOver' });
    const limitMs = this.#options.limits?.handOverMs ?? HAND_OVER_LIMIT_MS;
    if (!(await within(limitMs, node.ended))) this.#report('the old node did not hand over in time');
    await node.kill();
    return successor;
  }

  #refuseUpgrade(node: NodeProcess): undefined {
    this.#upgrade.begin(node.facts);
    const reason = `a mount by the ${this.#driver.name} driver ends with its node: stop sluice mount and start it again`;
    this.#upgrade.failed(reason, 'the old node goes on');
  }

  async #notLoaded(node: NodeProcess): Promise<string> {
    return node.alive
      ? `${node.entry} is not loaded after ${LOAD_LIMIT_MS / 1000} s`
      : `${node.entry}: ${await node.ended}`;
  }

  async #newNode(): Promise<NodeProcess> {
    // Before a first node has served, nothing depends on the mount: what is left of it is thrown away.
    if (!this.#driver.survives) await this.#removeMount();
    else if (!this.#served) {
      await this.#removeMount();
      if (this.#deviceFd !== undefined) closeSync(this.#deviceFd);
      this.#deviceFd = undefined;
      this.#deviceFd = openDevice();
    }
    return new NodeProcess(this.#options.nodeEntry ?? nodeEntry(), this.#deviceFd, NODE_FLAGS);
  }

  /** Brings a node to the point where it serves the mount. The way it died if it did; throws if it may not be tried again. */
  async #startNode(node: NodeProcess): Promise<string | undefined> {
    let starting = true;
    try {
      node.send({ kind: 'start', config: this.#config, served: this.#served });
      // Later a hastened stop is still a clean one for a node that serves.
      const killed = this.#stop.reached(HASTEN).then(() => (starting ? node.kill() : undefined));
      await Promise.race([this.#serve(node), killed]);
      return undefined;
    } catch (error) {
      const again = this.#served || (error instanceof NodeDied && this.#locked);
      if (again && (error instanceof NodeDied || error instanceof NodeFailed)) return describeError(error);
      await node.kill();
      if (!(error instanceof NodeDied)) throw error;
      throw new SluiceError('NODE_FAILED', `the node cannot be started (${error.message})`, 'Look at the lines above');
    } finally {
      starting = false;
    }
  }

  async #serve(node: NodeProcess): Promise<void> {
    await node.expect('locked');
    this.#locked = true;
    this.#upgrade.announce();
    this.#proxy.start();
    if (this.#mountedAt === undefined) await this.#mount(this.#config.mount.path);
    node.send({ kind: 'mounted', takeover: this.#served && this.#driver.survives });
    await node.expect('answering');
    this.#upgrade.answered(node.facts, performance.now());
    await node.expect('serving');
    this.#served = true;
    this.#mountMade = true;
  }

  async #mount(path: string): Promise<void> {
    if (await cleanStaleMount(path)) this.#report(`removed a stale mount at ${path}`);
    const realPath = prepareMountPoint(path);
    if (this.#deviceFd !== undefined) {
      mountKernel({ deviceFd: this.#deviceFd, path: realPath, name: MOUNT_NAME });
      this.#mountMade = true;
    }
    this.#mountedAt = realPath;
  }

  async #afterDeath(node: NodeProcess, death: string): Promise<void> {
    await node.kill();
    if (this.#stop.level >= STOP) return;
    if (this.#served && this.#mountMade && this.#mountedAt !== undefined && !isMounted(this.#mountedAt)) {
      return this.#giveUp(`${this.#mountedAt} was unmounted by somebody else; start again to mount it`);
    }
    this.#upgrade.failed(death, 'it is tried again, until that or another version comes up');
    const delayMs = this.#policy.died(Date.now()) ?? (this.#upgrade.unproven ? MAX_BACKOFF_MS : undefined);
    if (delayMs === undefined) {
      return this.#giveUp(`the node died too often (last: ${death}); giving up. Look at its log lines above`);
    }
    const how = this.#driver.survives
      ? 'starting another one on the same mount'
      : 'starting another one, and mounting anew: applications have to open their files again';
    this.#report(`the node died (${death}); ${how}`);
    await within(delayMs, this.#stop.reached(STOP));
  }

  async #giveUp(reason: string): Promise<void> {
    this.#report(reason);
    this.#exitCode = FAILURE;
    this.#stop.raiseTo(STOP);
    if (this.#command === undefined) return;
    // Its files are gone with the node: what waits for them gets an error and can end.
    await this.#removeMount();
    this.#command.signal('SIGTERM');
    await within(COMMAND_LIMIT_MS, this.#command.ended, this.#stop.reached(HASTEN));
  }

  /** A stop that loses nothing: the node gives everything up, the mount goes, the node saves its state and ends. */
  async #stopNode(node: NodeProcess): Promise<void> {
    // While applications can still answer what is under way.
    await this.#proxy.stop(this.#stop.reached(HASTEN));
    node.send({ kind: 'stop' });
    const drained = node.expect('drained').then(
      () => true,
      () => false,
    );
    await within(DRAIN_LIMIT_MS, drained, this.#stop.reached(HASTEN));
    if (node.alive && this.#mountedAt !== undefined) {
      const ours = new Set([process.pid, node.pid ?? 0]);
      await unmountGently(this.#mountedAt, this.#stop, ours, (message) => this.#report(message));
    }
    await this.#removeMount();
    node.send({ kind: 'unmounted' });
    await within(FINISH_LIMIT_MS, node.ended, this.#stop.reached(KILL));
    const end = node.alive ? 'it did not end' : await node.ended;
    await node.kill();
    if (end !== 'exit code 0') {
      this.#report(`the node did not stop cleanly (${end}); the next start will recover`);
      if (this.#exitCode === 0) this.#exitCode = FAILURE;
    }
  }

  async #removeMount(): Promise<void> {
    const path = this.#mountedAt;
    this.#mountedAt = undefined;
    this.#mountMade = false;
    if (path !== undefined) await takeAway(path);
  }

  #whenReady(node: NodeProcess): void {
    node.expect('ready').then(
      () => {
        this.#upgrade.ready(node.facts);
        this.#startCommand();
      },
      () => undefined, // it died first: its successor will be ready
    );
  }

  #startCommand(): void {
    const argv = this.#options.command ?? this.#config.exec;
    if (argv === null || this.#command !== undefined || this.#stop.level >= STOP) return;
    const command = new Command(argv, (message) => this.#report(message));
    this.#command = command;
    void command.ended.then((code) => {
      if (this.#exitCode === 0) this.#exitCode = code;
      this.#command = undefined;
      this.#stop.raiseTo(STOP);
    });
  }

  #signalled(signal: PassedSignal): void {
    if (this.#command !== undefined) this.#command.signal(signal);
    else if (signal !== 'SIGUSR1') this.#raiseStop(performance.now());
  }

  #raiseStop(nowMs: number): void {
    if (nowMs - this.#stopRaisedMs < SAME_SIGNAL_MS) return;
    this.#stopRaisedMs = nowMs;
    this.#stop.raise();
  }

  #report(message: string): void {
    const { format } = this.#config.log;
    const json = format === 'json' || (format === 'auto' && process.stderr.isTTY !== true);
    const line = json ? JSON.stringify({ level: 40, time: Date.now(), msg: message }) : `sluice: ${message}`;
    process.stderr.write(`${line}\n`);
  }
}
