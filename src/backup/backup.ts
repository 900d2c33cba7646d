import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseSet, ReplicatedDatabase } from '../database/types.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { formatTxid, type Position } from '../ltx/index.js';
import type { BackupStatus, Problem } from '../status.js';
import { DatabaseBackup, type DatabaseLimits, type Step, type UploadEvent } from './database-backup.js';
import { Slots } from './slots.js';
import type { StoreRoot } from './store.js';
import { type Compactor, Upkeep, type UpkeepPolicy } from './upkeep.js';

/** The part of a pino logger that a backup uses. */
export interface BackupLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** For metrics. Called after the fact; must not throw. */
export interface BackupHooks {
  uploaded?(event: UploadEvent): void;
  failed?(database: string, error: unknown): void;
  /** The store certainly leads up to this position. */
  stored?(database: string, position: Position): void;
  /** Another primary has the store now: what this one committed after `after` is not there, and does not get there. */
  fenced?(database: string, after: Position): void;
}

export interface BackupLimits extends DatabaseLimits {
  /** How many databases take a step of one kind at the same time; see Step. */
  readonly scans: number;
  readonly increments: number;
  readonly snapshots: number;
  readonly large: number;
  /** Pause after the first failure; it doubles with each further one. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How long `stop` waits for uploads that are under way. */
  readonly stopMs: number;
}

export interface BackupOptions {
  readonly databases: DatabaseSet;
  /** Closed by `stop`. */
  readonly store: StoreRoot;
  /** Names this process among all that write to the store: `<node id>/<process>`. */
  readonly owner: string;
  /** How long transactions are collected for one file. */
  readonly intervalMs?: number;
  /** Levels, snapshots and retention; without it files are only added. */
  readonly policy?: UpkeepPolicy;
  /** Merges large files; closed by `stop`. Without it they are merged here. */
  readonly compactor?: Compactor;
  readonly log: BackupLog;
  readonly hooks?: BackupHooks;
  readonly limits?: Partial<BackupLimits>;
}

const DEFAULT_INTERVAL_MS = 1000;
const DEFAULT_FLUSH_MS = 10_000;
/** The same failure is logged again after this. */
const LOG_AGAIN_MS = 10 * 60_000;
const OWN_PROBLEMS: ReadonlySet<string> = new Set(['STORE_AHEAD', 'STORE_DIVERGED', 'STORE_FENCED']);
const DEFAULT_LIMITS: BackupLimits = {
  mergeBytes: 8 * 1024 * 1024,
  mergeTransactions: 10_000,
  largeBytes: 64 * 1024 * 1024,
  scans: 4,
  increments: 4,
  snapshots: 2,
  large: 2,
  retryMinMs: 1_000,
  retryMaxMs: 60_000,
  stopMs: 5_000,
};

/** One database, and when it is next uploaded. */
interface Task {
  readonly backup: DatabaseBackup;
  timer: NodeJS.Timeout | undefined;
  running: Promise<void> | undefined;
  closed: boolean;
  /** Somebody waits for what is not stored: no interval. */
  hurried: boolean;
  /** When the oldest transaction that is not stored was made, or began to be waited for. */
  behindSinceMs: number | undefined;
  failures: number;
  failure: Failure | undefined;
  /** Since when the store is known to lack a file. */
  gapSinceMs: number | undefined;
  toldFenced: boolean;
}

interface Failure {
  readonly error: unknown;
  readonly sinceMs: number;
  readonly loggedMs: number;
}

/**
 * Keeps a store up to date with all databases of a primary: a snapshot of each first, then about once a second one file
 * with what happened since. Each database moves on its own; errors are retried for ever, and are seen in `status`.
 */
export class Backup {
  private readonly tasks = new Map<string, Task>();
  private readonly limits: BackupLimits;
  private readonly intervalMs: number;
  private readonly slots: Readonly<Record<Step, Slots>>;
  private readonly upkeep: Upkeep | undefined;
  private unsubscribe: (() => void) | undefined;
  private lastUploadMs: number | undefined;
  private warnedMs: number | undefined;
  private stopped = false;

  constructor(private readonly options: BackupOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.intervalMs = options.intervalMs ?? DEFAULT_INTERVAL_MS;
    const { scans, increments, snapshots, large } = this.limits;
    this.slots = {
      scan: new Slots(scans),
      increment: new Slots(increments),
      snapshot: new Slots(snapshots),
      large: new Slots(large),
    };
    const { policy, compactor, log } = options;
    const databases = () => Array.from(this.tasks.values(), (task) => task.backup);
    this.upkeep =
      policy && new Upkeep({ policy, databases, log, compactor, onLost: (backup) => this.lookAgain(backup) });
  }

  start(): void {
    this.unsubscribe = this.options.databases.subscribe({
      opened: (db) => this.add(db),
      transaction: (db) => this.touch(db),
      reset: (db) => this.touch(db),
      dropped: (name) => this.remove(name),
    });
    for (const db of this.options.databases.all()) this.add(db);
    this.upkeep?.start();
  }

  /**
   * Uploads all that there is now, without waiting for intervals or back-offs; each database is tried once. True if
   * everything is stored; false if it failed or `timeoutMs` passed.
   */
  async flush(timeoutMs: number = DEFAULT_FLUSH_MS): Promise<boolean> {
    const timeout = new AbortController();
    const all = Promise.all([...this.tasks.values()].map((task) => this.flushTask(task)));
    await Promise.race([all, sleep(timeoutMs, undefined, { signal: timeout.signal }).catch(() => undefined)]);
    timeout.abort();
    return [...this.tasks.values()].every((task) => task.backup.upToDate);
  }

  /** Uploads what this database has now as soon as it can: somebody waits for it. What is under way comes first. */
  hurry(name: string): void {
    const task = this.tasks.get(name);
    if (task === undefined) return;
    if (task.running === undefined) this.schedule(task, 0);
    else task.hurried = true;
  }

  /** Up to where the store certainly has a database. */
  confirmed(name: string): Position | undefined {
    return this.tasks.get(name)?.backup.ledger.confirmed;
  }

  /** Stores whole databases, of those that moved on since their last snapshot. Rejects with the first failure. */
  async takeSnapshots(): Promise<void> {
    for (const { backup, closed } of [...this.tasks.values()]) if (!closed) await backup.takeSnapshot();
  }

  /** Ends all uploads, waiting a little for those under way, and closes the store. Does not upload what is left. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.unsubscribe?.();
    const timeout = new AbortController();
    const running = [...this.tasks.values()].map((task) => {
      clearTimeout(task.timer);
      task.closed = true;
      task.backup.close();
      return task.running;
    });
    await Promise.race([
      Promise.all([...running, this.upkeep?.stop()]),
      sleep(this.limits.stopMs, undefined, { signal: timeout.signal }).catch(() => undefined),
    ]);
    timeout.abort();
    this.options.store.close();
  }

  status(): BackupStatus {
    const failures = [...this.tasks.values()].flatMap((task) => task.failure ?? []);
    return {
      url: this.options.store.url,
      lastUploadAt: this.lastUploadMs === undefined ? null : new Date(this.lastUploadMs).toISOString(),
      lastError: failures.length === 0 ? null : describeError(failures[0]!.error),
      databases: [...this.tasks].map(([name, task]) => ({
        name,
        txid: formatTxid(task.backup.restorableTxid),
        lagMs: task.behindSinceMs === undefined ? 0 : Math.max(0, Date.now() - task.behindSinceMs),
      })),
    };
  }

  /**
   * What is wrong now: `STORE_UNFENCED` where the store cannot keep two writers apart, `STORE_GAP` until a snapshot makes up for a file that is missing in the store, `STORE_AHEAD`,
   * `STORE_DIVERGED`, `STORE_FENCED`, `UPKEEP_FAILING` where merging or removing files fails, or `BACKUP_FAILING` for all else. The subject is the database.
   */
  problems(): Problem[] {
    const problems: Problem[] = [];
    const warning = this.options.store.warning();
    if (warning !== undefined) {
      this.warnedMs ??= Date.now();
      problems.push(describeProblem(warning.code, this.options.store.url, warning, this.warnedMs));
    }
    for (const [name, { backup, failure, gapSinceMs }] of this.tasks) {
      const { gap } = backup;
      if (gap !== undefined && gapSinceMs !== undefined)
        problems.push(describeProblem(gap.code, name, gap, gapSinceMs));
      const upkeep = this.upkeep?.failureOf(backup);
      if (upkeep !== undefined) problems.push(describeProblem('UPKEEP_FAILING', name, upkeep.error, upkeep.sinceMs));
      if (failure === undefined) continue;
      const code = errorCode(failure.error);
      const own = code !== undefined && OWN_PROBLEMS.has(code);
      problems.push(describeProblem(own ? code : 'BACKUP_FAILING', name, failure.error, failure.sinceMs));
    }
    return problems;
  }

  private add(db: ReplicatedDatabase): void {
    this.remove(db.name);
    const store = this.options.store.database(db.name);
    const task: Task = {
      backup: new DatabaseBackup(
        db,
        store,
        this.options.owner,
        this.limits,
        (event) => this.uploaded(event),
        (file) =>
          this.options.log.warn({ database: db.name, store: store.url, ...file }, 'set aside: not of this history'),
      ),
      timer: undefined,
      running: undefined,
      closed: false,
      hurried: false,
      behindSinceMs: Date.now(),
      failures: 0,
      failure: undefined,
      gapSinceMs: undefined,
      toldFenced: false,
    };
    this.tasks.set(db.name, task);
    this.schedule(task, 0);
  }

  private remove(name: string): void {
    const task = this.tasks.get(name);
    if (task === undefined) return;
    task.closed = true;
    task.backup.close();
    clearTimeout(task.timer);
    this.tasks.delete(name);
  }

  private lookAgain(backup: DatabaseBackup): void {
    const task = this.tasks.get(backup.database.name);
    if (task?.backup === backup && task.timer === undefined && task.running === undefined) this.schedule(task, 0);
  }

  /** On the path of every transaction. */
  private touch(db: ReplicatedDatabase): void {
    const task = this.tasks.get(db.name);
    if (task === undefined) return;
    task.behindSinceMs ??= Date.now();
    if (task.timer === undefined && task.running === undefined) this.schedule(task, this.intervalMs);
  }

  private schedule(task: Task, delayMs: number): void {
    if (this.stopped || task.closed) return;
    clearTimeout(task.timer);
    task.timer = setTimeout(() => {
      task.timer = undefined;
      this.run(task);
    }, delayMs);
    task.timer.unref();
  }

  /** Runs now, unless it runs already; never rejects. */
  private run(task: Task): Promise<void> {
    const startMs = performance.now();
    task.running ??= this.bringUpToDate(task).finally(() => {
      task.running = undefined;
      const { hurried } = task;
      task.hurried = false;
      if (task.failures > 0) this.schedule(task, this.retryMs(task.failures));
      else if (hurried && !task.backup.upToDate) this.schedule(task, 0);
      else if (!task.backup.upToDate) this.schedule(task, Math.max(0, this.intervalMs - (performance.now() - startMs)));
    });
    return task.running;
  }

  private async flushTask(task: Task): Promise<void> {
    // What is under way may have begun before the last transaction.
    await task.running;
    clearTimeout(task.timer);
    task.timer = undefined;
    if (!task.backup.upToDate && !task.closed) await this.run(task);
  }

  private async bringUpToDate(task: Task): Promise<void> {
    const { backup } = task;
    const startMs = Date.now();
    const target = backup.database.position.txid;
    try {
      for (let step = backup.nextStep(); step !== undefined && !task.closed; step = backup.nextStep()) {
        const published = await this.take(task, step);
        this.noteGap(task);
        // What came meanwhile has an interval of its own.
        if (published && backup.position.txid >= target) break;
      }
      this.succeeded(task, startMs);
    } catch (error) {
      if (!task.closed) this.failed(task, error);
    }
  }

  /** When there is room for it. */
  private async take(task: Task, step: Step): Promise<boolean> {
    const slots = this.slots[step];
    await slots.acquire();
    try {
      return !task.closed && (await task.backup.take(step));
    } finally {
      slots.release();
    }
  }

  private noteGap(task: Task): void {
    const { gap, database } = task.backup;
    if ((gap === undefined) === (task.gapSinceMs === undefined)) return;
    task.gapSinceMs = gap === undefined ? undefined : Date.now();
    const fields = { database: database.name };
    if (gap === undefined) this.options.log.info(fields, 'the backup can be restored again');
    else this.options.log.warn({ ...fields, error: describeError(gap) }, 'the backup lacks a file');
  }

  private uploaded(event: UploadEvent): void {
    this.lastUploadMs = Date.now();
    this.options.hooks?.uploaded?.(event);
    this.options.hooks?.stored?.(event.database, event.position);
  }

  private succeeded(task: Task, startMs: number): void {
    // What is not stored now came while this ran.
    task.behindSinceMs = task.backup.upToDate ? undefined : startMs;
    task.failures = 0;
    const { database: db, ledger } = task.backup;
    if (ledger.confirmed.txid > 0) this.options.hooks?.stored?.(db.name, ledger.confirmed);
    if (task.failure === undefined) return;
    task.failure = undefined;
    this.options.log.info({ database: task.backup.database.name }, 'backup works again');
  }

  private failed(task: Task, error: unknown): void {
    const database = task.backup.database.name;
    const nowMs = Date.now();
    const before = task.failure;
    const same = before !== undefined && errorCode(before.error) === errorCode(error);
    const quiet = same && nowMs - before.loggedMs < LOG_AGAIN_MS;
    task.failures++;
    task.behindSinceMs ??= nowMs;
    task.failure = { error, sinceMs: before?.sinceMs ?? nowMs, loggedMs: quiet ? before.loggedMs : nowMs };
    if (!quiet) this.options.log.warn({ database, error: describeError(error) }, 'backup fails; trying again');
    if (errorCode(error) === 'STORE_FENCED') this.tellFenced(task);
    this.options.hooks?.failed?.(database, error);
  }

  /** Once, when there is something that is not stored. */
  private tellFenced(task: Task): void {
    const { database, ledger } = task.backup;
    if (task.toldFenced || database.position.txid <= ledger.confirmed.txid) return;
    task.toldFenced = true;
    this.options.hooks?.fenced?.(database.name, ledger.confirmed);
  }

  /** Half of it is random, so that many databases do not come back at once. */
  private retryMs(failures: number): number {
    const { retryMinMs, retryMaxMs } = this.limits;
    return Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures - 1, 30)) * (0.5 + Math.random() / 2);
  }
}

function describeProblem(code: string, subject: string, error: unknown, sinceMs: number): Problem {
  return {
    code,
    subject,
    message: error instanceof Error ? error.message : String(error),
    hint: error instanceof SluiceError ? error.hint : '',
    since: new Date(sinceMs).toISOString(),
  };
}
