import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseSet, ReplicatedDatabase } from '../database/types.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { formatTxid } from '../ltx/index.js';
import type { BackupStatus, Problem } from '../status.js';
import { DatabaseBackup, type UploadEvent } from './database-backup.js';
import { Slots } from './slots.js';
import type { StoreRoot } from './store.js';
import type { UploadLimits } from './upload-plan.js';

/** The part of a pino logger that a backup uses. */
export interface BackupLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** For metrics. Called after the fact; must not throw. */
export interface BackupHooks {
  uploaded?(event: UploadEvent): void;
  failed?(database: string, error: unknown): void;
}

export interface BackupLimits extends UploadLimits {
  /** Databases that upload at the same time. */
  readonly concurrency: number;
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
  /** How long transactions are collected for one file. */
  readonly intervalMs?: number;
  readonly log: BackupLog;
  readonly hooks?: BackupHooks;
  readonly limits?: Partial<BackupLimits>;
}

const DEFAULT_INTERVAL_MS = 1000;
const DEFAULT_FLUSH_MS = 10_000;
/** The same failure is logged again after this. */
const LOG_AGAIN_MS = 10 * 60_000;
const DEFAULT_LIMITS: BackupLimits = {
  mergeBytes: 8 * 1024 * 1024,
  mergeTransactions: 10_000,
  concurrency: 4,
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
  /** When the oldest transaction that is not stored was made, or began to be waited for. */
  behindSinceMs: number | undefined;
  failures: number;
  failure: Failure | undefined;
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
  private readonly slots: Slots;
  private unsubscribe: (() => void) | undefined;
  private lastUploadMs: number | undefined;
  private stopped = false;

  constructor(private readonly options: BackupOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.intervalMs = options.intervalMs ?? DEFAULT_INTERVAL_MS;
    this.slots = new Slots(this.limits.concurrency);
  }

  start(): void {
    this.unsubscribe = this.options.databases.subscribe({
      opened: (db) => this.add(db),
      transaction: (db) => this.touch(db),
      reset: (db) => this.touch(db),
      dropped: (name) => this.remove(name),
    });
    for (const db of this.options.databases.all()) this.add(db);
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

  /** Ends all uploads, waiting a little for those under way, and closes the store. Does not upload what is left. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.unsubscribe?.();
    const timeout = new AbortController();
    const running = [...this.tasks.values()].map((task) => {
      clearTimeout(task.timer);
      task.closed = true;
      return task.running;
    });
    await Promise.race([
      Promise.all(running),
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
        txid: formatTxid(task.backup.position.txid),
        lagMs: task.behindSinceMs === undefined ? 0 : Math.max(0, Date.now() - task.behindSinceMs),
      })),
    };
  }

  /** What is wrong now: `STORE_AHEAD`, `STORE_DIVERGED`, or `BACKUP_FAILING` for all else. The subject is the database. */
  problems(): Problem[] {
    const problems: Problem[] = [];
    for (const [name, { failure }] of this.tasks) {
      if (failure === undefined) continue;
      const code = errorCode(failure.error);
      problems.push({
        code: code === 'STORE_AHEAD' || code === 'STORE_DIVERGED' ? code : 'BACKUP_FAILING',
        subject: name,
        message: failure.error instanceof Error ? failure.error.message : String(failure.error),
        hint: failure.error instanceof SluiceError ? failure.error.hint : '',
        since: new Date(failure.sinceMs).toISOString(),
      });
    }
    return problems;
  }

  private add(db: ReplicatedDatabase): void {
    this.remove(db.name);
    const store = this.options.store.database(db.name);
    const task: Task = {
      backup: new DatabaseBackup(db, store, this.limits, (event) => this.uploaded(event)),
      timer: undefined,
      running: undefined,
      closed: false,
      behindSinceMs: Date.now(),
      failures: 0,
      failure: undefined,
    };
    this.tasks.set(db.name, task);
    this.schedule(task, 0);
  }

  private remove(name: string): void {
    const task = this.tasks.get(name);
    if (task === undefined) return;
    task.closed = true;
    clearTimeout(task.timer);
    this.tasks.delete(name);
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
    task.running ??= this.bringUpToDate(task).finally(() => {
      task.running = undefined;
      if (task.failures > 0) this.schedule(task, this.retryMs(task.failures));
      else if (!task.backup.upToDate) this.schedule(task, this.intervalMs);
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
    await this.slots.acquire();
    const { backup } = task;
    const startMs = Date.now();
    const target = backup.database.position.txid;
    try {
      let more = !task.closed;
      while (more) more = (await backup.advance()) && backup.position.txid < target && !task.closed;
      this.succeeded(task, startMs);
    } catch (error) {
      if (!task.closed) this.failed(task, error);
    } finally {
      this.slots.release();
    }
  }

  private uploaded(event: UploadEvent): void {
    this.lastUploadMs = Date.now();
    this.options.hooks?.uploaded?.(event);
  }

  private succeeded(task: Task, startMs: number): void {
    // What is not stored now came while this ran.
    task.behindSinceMs = task.backup.upToDate ? undefined : startMs;
    task.failures = 0;
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
    this.options.hooks?.failed?.(database, error);
  }

  /** Half of it is random, so that many databases do not come back at once. */
  private retryMs(failures: number): number {
    const { retryMinMs, retryMaxMs } = this.limits;
    return Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures - 1, 30)) * (0.5 + Math.random() / 2);
  }
}
