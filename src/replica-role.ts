import { join } from 'node:path';
import { type Applier, createApplier, type Halter } from './apply/index.js';
import { openConfiguredStore } from './backup/index.js';
import {
  type DataFolder,
  type MountServer,
  type Recovered,
  ReplicaDatabases,
  type SharedState,
} from './database/index.js';
import type { FromWorker } from './database/worker-messages.js';
import { SluiceError } from './errors.js';
import { StoreFeed } from './feed/index.js';
import { WriteDesk } from './forwarding/index.js';
import { DatabaseSums, ZERO_POSITION } from './ltx/index.js';
import type { NodeRole, ProxiedRole } from './node-role.js';
import type { StartNodeOptions } from './node-types.js';
import { type PrimaryWord, ReplicationClient } from './replication/index.js';
import type { UpstreamStatus } from './status.js';

const PRUNE_INTERVAL_MS = 10_000;
/** How often the logs are made durable. */
const SYNC_INTERVAL_MS = 250;
/** How often `.lag` is brought up to date. */
const LAG_INTERVAL_MS = 250;
/** How long a stop or a handover waits for commits that wait for the primary. */
const WRITES_LIMIT_MS = 2000;

/** What a replica follows: the primary's stream, or a store. */
interface Upstream {
  readonly caughtUp: Promise<void>;
  start(): void;
  stop(): Promise<void>;
  status(): UpstreamStatus;
  lagMs(name?: string): number | null;
  /** The primary's advertised address; null if it is not known. */
  primary(): string | null;
  /** What the primary said of itself; where there is one that speaks. */
  readonly word?: PrimaryWord;
  /** The code of a refusal that stays until a person changes something. */
  refusal(): string | null;
  problems(): readonly {
    readonly name: string;
    readonly code: string;
    readonly message: string;
    readonly hint: string;
    readonly sinceMs: number;
  }[];
}

/** A replica: follows the primary's stream or a store, and has the applier write what comes. */
export class ReplicaRole implements NodeRole {
  readonly role = 'replica';
  readonly commits = undefined;
  readonly writes: boolean;
  readonly proxied: ProxiedRole;
  private readonly applier: Applier & Halter;
  private readonly desk: WriteDesk | undefined;
  private readonly sink: ReplicaDatabases;
  private readonly followed: Upstream;
  private worker: MountServer | undefined;
  private awake: () => void = () => undefined;
  private readonly timers: NodeJS.Timeout[] = [];
  private draining = false;
  private moved: (name?: string) => void = () => undefined;
  private readonly startedAt = new Date().toISOString();

  constructor(
    private readonly options: StartNodeOptions,
    folder: DataFolder,
    private readonly shared: SharedState,
  ) {
    const { config, log, metrics } = options;
    this.applier = createApplier({
      mount: config.mount.path,
      onPid: (pid) => shared.setApplierPid(pid),
      onThread: (tid) => shared.setApplierThread(tid),
      onRestart: () => void this.reopen(),
      log,
    });
    this.writes = config.writes.forward && config.replication.upstream !== 'store';
    this.desk = this.writes ? this.writeDesk(folder) : undefined;
    this.sink = new ReplicaDatabases({
      writes: this.desk,
      folder,
      mountPath: config.mount.path,
      shared,
      applier: this.applier,
      send: (message) => this.worker?.post(message),
      onApplied: (db, pages, bytes) => metrics.transaction(db.name, pages, bytes),
      warn: (database, text, error) => {
        metrics.error('apply');
        log.warn({ database, err: error }, text);
      },
    });
    this.followed = config.replication.upstream === 'store' ? this.storeFeed() : this.client(folder.nodeId);
    this.proxied = this.proxiedRole();
  }

  private writeDesk(folder: DataFolder): WriteDesk {
    const { config, log, metrics } = this.options;
    return new WriteDesk({
      limits: config.writes,
      spool: folder.spool,
      database: (name) => this.sink.get(name),
      blank: (name) => {
        const path = join(folder.files, name);
        const walPath = `${path}-wal`;
        const position = ZERO_POSITION;
        return { name, path, walPath, position, sums: new DatabaseSums(4096), pageSize: 0, pageCount: 0, live: false };
      },
      look: (name) => this.applier.look(name),
      playedBack: (name, pages) => void this.checkPages(name, pages),
      worker: (message) => this.worker?.send(message),
      ended: (name, outcome) => metrics.forwarded(name, outcome),
      log,
    });
  }

  /** What a transaction wrote that was taken back; SQLite does not take all of it back. */
  private async checkPages(name: string, pages: Uint32Array | undefined): Promise<void> {
    const { log } = this.options;
    try {
      const count = await this.sink.checkPages(name, pages);
      if (count === 0) return;
      log.warn(
        { database: name, pages: count },
        'free pages differ from the primary since a rollback: a snapshot comes',
      );
      if (this.followed instanceof ReplicationClient) this.followed.askForSnapshot(name);
    } catch (error) {
      log.warn({ database: name, err: error }, 'what a rollback left could not be looked at');
    }
  }

  private client(nodeId: string): ReplicationClient {
    const { config, log, metrics } = this.options;
    const url = config.lease.primary;
    if (url === null) throw new SluiceError('CONFIG', 'a replica needs lease.primary', 'Set it to ws://HOST:PORT');
    return new ReplicationClient({
      url,
      sink: this.sink,
      nodeId,
      token: config.replication.token ?? undefined,
      heartbeatMs: config.replication.heartbeatMs,
      log,
      ...(this.desk !== undefined && { writes: this.desk }),
      hooks: {
        received: () => this.awake(),
        applied: (name, _position, lagMs) => {
          this.moved(name);
          metrics.visible(lagMs);
        },
        connected: (connected) => {
          log.info({ primary: url, connected }, connected ? 'following the primary' : 'lost the primary');
          this.tellPrimary();
          this.moved();
        },
        heartbeat: () => this.moved(),
        failed: () => metrics.error('replication'),
      },
    });
  }

  private storeFeed(): StoreFeed {
    const { config, log, metrics } = this.options;
    const store = config.backup[0];
    if (store === undefined) throw new SluiceError('CONFIG', 'a replica of a store needs one', 'Add it under backup');
    return new StoreFeed({
      store: openConfiguredStore(store),
      sink: this.sink,
      intervalMs: store.intervalMs,
      log,
      hooks: {
        received: () => this.awake(),
        applied: (name, _position, lagMs) => {
          this.moved(name);
          metrics.visible(lagMs);
        },
        connected: (connected) => {
          log.info({ store: store.url, connected }, connected ? 'reading the store' : 'lost the store');
        },
        failed: () => metrics.error('replication'),
      },
    });
  }

  recover(live: boolean): Promise<readonly Recovered[]> {
    return this.sink.recover(live);
  }

  slots(): { name: string; slot: number }[] {
    return this.sink.slots();
  }

  onMessage(message: FromWorker): void {
    this.awake();
    this.desk?.onWorker(message);
  }

  async begin(worker: MountServer, awake: () => void): Promise<void> {
    this.worker = worker;
    this.awake = awake;
    this.tellPrimary();
    await this.applier.start();
    // An application may be in the way of that, which waits for the primary.
    const resumed = this.sink.resume();
    if (!this.writes) await resumed;
    this.followed.start();
    const { retain } = this.options.config.replication;
    this.timers.push(
      setInterval(() => this.shared.setLagMs(Math.round(this.followed.lagMs() ?? -1)), LAG_INTERVAL_MS),
      setInterval(() => this.sink.prune(retain), PRUNE_INTERVAL_MS),
      setInterval(() => this.sink.syncLogs(), SYNC_INTERVAL_MS),
    );
    for (const timer of this.timers) timer.unref();
  }

  async ready(): Promise<void> {
    await this.followed.caughtUp;
    this.shared.setLagMs(Math.round(this.followed.lagMs() ?? -1));
  }

  async drain(): Promise<void> {
    this.draining = true;
    for (const timer of this.timers) clearInterval(timer);
    await this.desk?.drain(WRITES_LIMIT_MS);
    this.desk?.close();
    await this.followed.stop();
    await this.applier.stop();
  }

  async finish(): Promise<void> {
    this.sink.saveClean();
  }

  leave(): Promise<void> {
    return this.drain();
  }

  async handOver(): Promise<void> {
    this.sink.close();
  }

  databases() {
    return this.sink.every();
  }

  lagMs(name?: string): number | null {
    return this.followed.lagMs(name);
  }

  writer(): null {
    return null;
  }

  durability(): null {
    return null;
  }

  primaryAddress(): string | null {
    return this.followed.primary();
  }

  replicas(): [] {
    return [];
  }

  upstream() {
    return this.followed.status();
  }

  backups(): [] {
    return [];
  }

  async backUp(): Promise<never> {
    throw new SluiceError('BACKUP_REPLICA', 'this node is a replica: the primary does the backup', 'Ask the primary');
  }

  problems() {
    const refused = Array.from(this.sink.problems(), ({ name, error, sinceMs }) => {
      const { code, message, hint } = error;
      return { name, code, message, hint, sinceMs };
    });
    const { url: primary } = this.followed.status();
    const off = this.desk?.refusal;
    const writes = off === undefined ? [] : [{ ...off, name: primary }];
    const problems = [...refused, ...writes, ...this.followed.problems()].map(
      ({ name, code, message, hint, sinceMs }) => ({
        code,
        subject: name,
        message,
        hint,
        since: new Date(sinceMs).toISOString(),
      }),
    );
    const { connected, lastError, lastHeartbeatAt, url } = this.followed.status();
    if (!connected && lastError !== null) {
      problems.push({
        code: this.followed.refusal() ?? 'UPSTREAM_LOST',
        subject: url,
        message: lastError,
        hint: 'Reads go on with what is here; it is tried again by itself',
        since: lastHeartbeatAt ?? this.startedAt,
      });
    }
    return problems;
  }

  private proxiedRole(): ProxiedRole {
    const word = () => this.followed.word;
    const txid = (name: string) => {
      const standing = this.sink.standing(name);
      return standing?.isKnown === true ? standing.position.txid : 0;
    };
    return {
      lineage: () => word()?.run ?? null,
      primary: () => word()?.proxy ?? null,
      positions: () =>
        Array.from(this.sink.all(), ({ name }) => [name, txid(name)] as const).filter(([, at]) => at > 0),
      txid,
      word,
      // What is here is here.
      settle: async () => true,
      watch: (moved) => {
        this.moved = moved;
      },
    };
  }

  /** A new applier process has nothing open. */
  private async reopen(): Promise<void> {
    if (!this.draining) await this.sink.resume();
  }

  private tellPrimary(): void {
    const address = this.followed.primary() ?? this.options.config.lease.primary ?? undefined;
    this.worker?.post({ kind: 'primary', address });
  }
}
