import { randomBytes } from 'node:crypto';
import { createApplier, type Halter } from './apply/index.js';
import { Backup, CompactionThread, openConfiguredStore, ScheduledVerify, type VerifiedStore } from './backup/index.js';
import type { BackupConfig } from './config/index.js';
import {
  CommitState,
  type DataFolder,
  keepTail,
  type MountServer,
  PrimaryDatabases,
  type Recovered,
  type SharedState,
} from './database/index.js';
import type { FromWorker } from './database/worker-messages.js';
import { awaitsAny, DurabilityDesk, isAwaited } from './durability/index.js';
import { SluiceError } from './errors.js';
import { HALT_LIMITS, HaltDesk, Halters } from './forwarding/index.js';
import { type Position, parseTxid } from './ltx/index.js';
import type { NodeRole, ProxiedRole } from './node-role.js';
import type { StartNodeOptions } from './node-types.js';
import { ReplicationServer } from './replication/index.js';
import type { BackupRequest, BackupRun, DurabilityStatus } from './status.js';

const PRUNE_INTERVAL_MS = 10_000;
/** How often the logs are made durable. */
const SYNC_INTERVAL_MS = 250;
const FLUSH_LIMIT_MS = 10_000;
/** Who asks for a backup waits for it so long: the first snapshot of a large database takes its time. */
const BACKUP_NOW_LIMIT_MS = 9 * 60_000;
/** How long the mount's thread may take to end once the mount is gone. */
const ENDED_LIMIT_MS = 5_000;

/** Where nothing else is said. */
const LOCAL: DurabilityStatus = {
  until: 'local',
  replicas: 0,
  onTimeout: 'degrade',
  degradedSince: null,
  refusingSince: null,
  waitingMs: null,
  degraded: 0,
  refused: 0,
};

/** A primary: captures what applications write, streams it to replicas, backs it up. */
export class PrimaryRole implements NodeRole {
  readonly role = 'primary';
  readonly writes = false;
  readonly proxied: ProxiedRole;
  private readonly halters: Halters;
  private desk: HaltDesk | undefined;
  private readonly set: PrimaryDatabases;
  readonly commits: NodeRole['commits'];
  private readonly durable: DurabilityDesk | undefined;
  private worker: MountServer | undefined;
  private awake: () => void = () => undefined;
  private server: ReplicationServer | undefined;
  private address: string | null = null;
  private readonly stores: Backup[] = [];
  private readonly verified: VerifiedStore[] = [];
  private verify: ScheduledVerify | undefined;
  private readonly timers: NodeJS.Timeout[] = [];

  constructor(
    private readonly options: StartNodeOptions,
    private readonly folder: DataFolder,
    shared: SharedState,
  ) {
    const { log, metrics, config } = options;
    const { durability } = config;
    if (awaitsAny(durability)) this.commits = { rules: durability, state: new CommitState({ slots: shared.slots }) };
    this.set = new PrimaryDatabases({
      folder,
      shared,
      mountPath: options.config.mount.path,
      send: (message) => this.worker?.send(message),
      wakeWorker: () => this.worker?.waker.wake(),
      cache: (path, bytes) => this.worker?.warmer.read(path, bytes) ?? false,
      onWrite: () => this.awake(),
      commits: this.commits?.state,
      onAttended: (slot, name) => this.durable?.attended(slot, name),
      onLogged: (db, pages, bytes) => {
        this.awake();
        metrics.transaction(db.name, pages, bytes);
      },
      warn: (database, text, error) => {
        metrics.error('database');
        log.warn({ database, err: error }, text);
      },
    });
    this.durable = this.commits && new DurabilityDesk({ ...this.commits, ...this.others() });
    this.durable?.start();
    this.halters = new Halters(
      () => createApplier({ mount: config.mount.path, onPid: () => undefined, onThread: () => undefined, log }),
      (name) => isAwaited(durability, name),
    );
    shared.setLagMs(0);
    this.proxied = this.proxiedRole();
  }

  /** Where commits may have to be, beside this machine. */
  private others(): Omit<ConstructorParameters<typeof DurabilityDesk>[0], 'rules' | 'state'> {
    const { log, metrics } = this.options;
    return {
      databases: this.set,
      replicas: (name, except) => this.server?.standings(name, except) ?? [],
      backup: (name) => this.stores[0]?.confirmed(name),
      hurryBackup: (name) => this.stores[0]?.hurry(name),
      wakeWorker: () => this.worker?.waker.wake(),
      late: (name, outcome) => metrics.late(name, outcome),
      log,
    };
  }

  async recover(live: boolean): Promise<readonly Recovered[]> {
    return this.set.recover(live);
  }

  slots(): { name: string; slot: number }[] {
    return this.set.slots();
  }

  onMessage(message: FromWorker): void {
    this.set.handle(message);
  }

  async begin(worker: MountServer, awake: () => void): Promise<void> {
    this.worker = worker;
    this.awake = awake;
    this.set.begin();
    // What it has been waiting for since it serves may be done already.
    worker.waker.wake();
    const { config } = this.options;
    this.address = config.lease.advertise;
    if (config.replication.listen !== null) await this.listen(config.replication.listen);
    for (const backup of config.backup) this.startBackup(backup);
    this.startVerify();
    this.timers.push(
      setInterval(() => this.set.prune(config.replication.retain), PRUNE_INTERVAL_MS),
      setInterval(() => this.set.syncLogs(), SYNC_INTERVAL_MS),
    );
    for (const timer of this.timers) timer.unref();
  }

  async ready(): Promise<void> {}

  async drain(): Promise<void> {
    await this.endWrites();
    // Streams and backups go on until the mount is gone, for what applications still commit.
  }

  async finish(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.verify?.stop();
    await this.workerEnded();
    await this.set.idle();
    this.set.workerEnded();
    const flushed = this.stores.map(async (backup) => {
      if (!(await backup.flush(FLUSH_LIMIT_MS))) {
        this.options.log.warn({ store: backup.status().url }, 'the last transactions are not in the store yet');
      }
      await backup.stop();
    });
    await Promise.all([...flushed, this.server?.close()]);
    this.durable?.close();
    await this.set.saveClean();
  }

  async leave(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.endWrites();
    // What is not stored or streamed yet, the next process sends from the log.
    const stores = this.stores.splice(0);
    await Promise.all([...stores.map((backup) => backup.stop()), this.verify?.stop(), this.server?.close()]);
    this.durable?.close();
  }

  async handOver(): Promise<void> {
    await this.set.close();
  }

  /** The worker's last messages come before its end. */
  private async workerEnded(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ENDED_LIMIT_MS);
    });
    await Promise.race([this.worker?.ended.catch(() => undefined), late]);
    clearTimeout(timer);
  }

  databases() {
    return this.set.every();
  }

  lagMs(): null {
    return null;
  }

  writer(name: string): string | null {
    return this.desk?.writer(name) ?? null;
  }

  durability(name: string): DurabilityStatus {
    return this.durable?.status(name) ?? LOCAL;
  }

  primaryAddress(): string | null {
    return this.address;
  }

  replicas() {
    return this.server?.followers() ?? [];
  }

  upstream(): null {
    return null;
  }

  backups() {
    return this.stores.map((backup) => backup.status());
  }

  async backUp({ snapshot }: BackupRequest): Promise<readonly BackupRun[]> {
    if (this.stores.length === 0) {
      throw new SluiceError(
        'BACKUP_NONE',
        'this node has no store to back up to',
        'Add one under backup in sluice.yml',
      );
    }
    // Those of now: a handover takes them out.
    const stores = [...this.stores];
    const logged = await this.set.caughtUp();
    return Promise.all(
      stores.map(async (backup) => {
        const complete = (await backup.flush(BACKUP_NOW_LIMIT_MS)) && logged;
        if (snapshot && complete) await backup.takeSnapshots();
        return { ...backup.status(), complete };
      }),
    );
  }

  private proxiedRole(): ProxiedRole {
    const { config } = this.options;
    // Without replicas nobody asks for positions; a lineage of its own serves as well.
    const alone = randomBytes(8).readBigUInt64BE() | 1n;
    return {
      lineage: () => this.server?.run ?? alone,
      primary: () => config.proxy?.advertise ?? null,
      positions: () => Array.from(this.set.all(), ({ name, position }) => [name, position.txid] as const),
      txid: (name) => this.set.get(name)?.position.txid ?? 0,
      word: () => undefined,
      settle: (databases) => this.settle(databases),
      watch: (moved) => {
        this.set.subscribe({
          opened: ({ name }) => moved(name),
          transaction: ({ name }) => moved(name),
          reset: ({ name }) => moved(name),
          dropped: (name) => moved(name),
        });
      },
    };
  }

  private async settle(databases: readonly string[] | null): Promise<boolean> {
    if (databases === null) return this.set.caughtUp(0);
    const present = databases.filter((name) => this.set.get(name) !== undefined);
    // One that is just being made is not known by its name yet.
    if (present.length < databases.length) return this.set.caughtUp(0);
    const settled = await Promise.all(present.map((name) => this.set.settledPosition(name)));
    return settled.every((position, i) => position !== undefined || this.set.get(present[i]!) === undefined);
  }

  problems() {
    const refused = this.set.refusals().map(({ name, error: { code, message, hint }, sinceMs }) => ({
      code,
      subject: name,
      message,
      hint,
      since: new Date(sinceMs).toISOString(),
    }));
    const late = this.durable?.problems() ?? [];
    return [
      ...refused,
      ...late,
      ...this.stores.flatMap((backup) => backup.problems()),
      ...(this.verify?.problems() ?? []),
    ];
  }

  /** Takes the writes of replicas, by processes that are started at the first of them. */
  private haltDesk(): HaltDesk {
    const { config, log, metrics } = this.options;
    const { turnMs, holdMs, holdByHandMs, silenceMs } = config.writes;
    return new HaltDesk(
      {
        limits: { ...HALT_LIMITS, turnMs, holdMs, holdByHandMs, silenceMs },
        halter: (name) => this.halter(name),
        closeHalter: (name) => this.halters.close(name),
        ground: (name) => {
          const database = this.set.get(name);
          if (database === undefined) return undefined;
          const { position, pageSize, pageCount, sums } = database;
          const after = (txid: number) => database.log.get(txid)?.after.checksum;
          return { name, position, pageSize, pageCount, sums, after };
        },
        settled: (name) => this.set.settledPosition(name),
        expected: (name, position, origin) => this.durable?.forwarded(name, position, origin),
        orphaned: (name) => this.durable?.orphaned(name),
        decided: (name) => this.durable?.decided(name),
        turned: (name, outcome) => metrics.halted(name, outcome),
        log,
      },
      this.folder.spool,
    );
  }

  private async halter(name: string): Promise<Halter> {
    const halter = await this.halters.of(name);
    this.awake();
    return halter;
  }

  /** Nothing of ours stays open on the mount. */
  private async endWrites(): Promise<void> {
    this.desk?.close();
    await this.halters.stop();
  }

  private async listen(address: { host: string; port: number }): Promise<void> {
    const { config, log } = this.options;
    const url = (host: string, port: number) => `ws://${host.includes(':') ? `[${host}]` : host}:${port}`;
    if (config.writes.forward) this.desk = this.haltDesk();
    this.server = new ReplicationServer({
      ...(this.desk !== undefined && { writes: this.desk }),
      wantsStored: this.commits !== undefined,
      databases: this.set,
      nodeId: this.folder.nodeId,
      token: config.replication.token ?? undefined,
      advertise: config.lease.advertise ?? url(address.host, address.port),
      proxy: config.proxy?.advertise ?? undefined,
      heartbeatMs: config.replication.heartbeatMs,
      log,
      hooks: { standing: (name) => this.durable?.replicated(name) },
    });
    const bound = await this.server.listen(address.host, address.port);
    this.address ??= url(bound.host, bound.port);
    log.info({ address: this.address }, 'replicas can connect');
  }

  /** Another primary has the store: what this one committed since is nowhere else. */
  private async keepTail(name: string, after: Position): Promise<void> {
    const { log } = this.options;
    const database = this.set.get(name);
    if (database === undefined) return;
    try {
      const folder = await keepTail(this.folder, database, after, 'fenced');
      if (folder !== undefined)
        log.warn({ database: name, folder }, 'transactions that are not in the store are set aside');
    } catch (error) {
      log.warn({ database: name, err: error }, 'transactions that are not in the store could not be set aside');
    }
  }

  private startBackup(config: BackupConfig): void {
    const { log, metrics } = this.options;
    const { url, intervalMs, levelsMs, snapshotMs, retain } = config;
    const backup = new Backup({
      databases: this.set,
      store: openConfiguredStore(config),
      owner: `${this.folder.nodeId}/${process.pid}-${Date.now().toString(36)}`,
      intervalMs,
      policy: { levelsMs, snapshotMs, retain },
      compactor: new CompactionThread(config),
      log,
      hooks: {
        uploaded: (event) => metrics.uploaded(url, event.sizeBytes),
        failed: () => metrics.error('backup'),
        stored: (name, position) => {
          if (this.stores[0] === backup) this.durable?.backedUp(name, position);
        },
        fenced: (name, after) => void this.keepTail(name, after),
      },
    });
    backup.start();
    this.stores.push(backup);
    if (config.verifyMs === null) return;
    const stored = () => new Map(backup.status().databases.map(({ name, txid }) => [name, parseTxid(txid)] as const));
    this.verified.push({ config, intervalMs: config.verifyMs, stored });
  }

  private startVerify(): void {
    const { log, metrics } = this.options;
    if (this.verified.length === 0) return;
    this.verify = new ScheduledVerify({
      stores: this.verified,
      databases: this.set,
      spool: this.folder.spool,
      log,
      onVerified: (event) => metrics.verified(event),
    });
    this.verify.start();
  }
}
