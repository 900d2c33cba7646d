import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatabaseSet } from '../database/types.js';
import { SluiceError } from '../errors.js';
import { formatChecksum, formatTxid, type Txid } from '../ltx/index.js';
import type { Problem } from '../status.js';
import type { BackupLog } from './backup.js';
import type { StoreSettings } from './open-store.js';
import { type Trial, tryRestore } from './trial-restore.js';
import { databaseUrl } from './urls.js';

/** The first trial after a start comes at the latest then, not at once: a node that has just come up has other things to do. */
const FIRST_LIMIT_MS = 10 * 60_000;
/** The next one after one that failed, or found nothing to restore, at the latest. */
const AGAIN_LIMIT_MS = 15 * 60_000;
/** How much of a wait is left to chance, so that nodes of one store do not come all at once. */
const JITTER = 0.5;
/** Room on the disk that a trial leaves to the databases. */
const ROOM_BYTES = 256 * 1024 * 1024;

/** A store whose backups are tried. */
export interface VerifiedStore {
  readonly config: StoreSettings;
  readonly intervalMs: number;
  /** Names of databases, and up to where they are stored; 0: not at all yet. */
  stored(): ReadonlyMap<string, Txid>;
}

/** What came of one trial. */
export interface VerifyEvent {
  /** The store's url. */
  readonly store: string;
  readonly database: string;
  readonly ok: boolean;
  readonly durationMs: number;
}

export interface ScheduledVerifyOptions {
  readonly stores: readonly VerifiedStore[];
  readonly databases: DatabaseSet;
  /** Where databases are restored to, and removed from. */
  readonly spool: string;
  readonly log: BackupLog;
  readonly onVerified?: (event: VerifyEvent) => void;
  /** For tests. */
  readonly freeBytes?: (folder: string) => Promise<number>;
  readonly random?: () => number;
}

/** What is wrong with one database's backup in one store. */
interface Failure {
  readonly code: 'VERIFY_FAILED' | 'VERIFY_NO_ROOM';
  readonly database: string;
  readonly error: SluiceError;
  readonly sinceMs: number;
}

/**
 * Restores the databases of a node from its stores now and then, and has SQLite check what came of it: one at a time. What
 * fails is a problem of the node until it succeeds.
 */
export class ScheduledVerify {
  private readonly failures = new Map<string, Failure>();
  private readonly timers = new Map<VerifiedStore, NodeJS.Timeout>();
  private readonly abort = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private runs = 0;

  constructor(private readonly options: ScheduledVerifyOptions) {}

  start(): void {
    for (const store of this.options.stores) this.schedule(store, Math.min(store.intervalMs, FIRST_LIMIT_MS));
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.abort.abort();
    for (const timer of this.timers.values()) clearTimeout(timer);
    await this.running;
  }

  /** `VERIFY_FAILED`, `VERIFY_NO_ROOM`. The subject is the backup's address. */
  problems(): Problem[] {
    return [...this.failures].map(([subject, { code, error, sinceMs }]) => ({
      code,
      subject,
      message: error.message,
      hint: error.hint,
      since: new Date(sinceMs).toISOString(),
    }));
  }

  private schedule(store: VerifiedStore, delayMs: number): void {
    const { random = Math.random } = this.options;
    const timer = setTimeout(
      () => {
        this.running = this.running.then(() => this.run(store));
      },
      delayMs * (1 - JITTER * random()),
    );
    timer.unref();
    this.timers.set(store, timer);
  }

  /** Never rejects. */
  private async run(store: VerifiedStore): Promise<void> {
    const { config, intervalMs } = store;
    const known = store.stored();
    this.forgetOthers(config.url, known);
    const stored = [...known].filter(([, txid]) => txid > 0);
    let isGood = stored.length > 0;
    for (const [name, txid] of stored) {
      if (this.abort.signal.aborted) return;
      isGood = (await this.verify(config, name, txid)) && isGood;
    }
    if (!this.abort.signal.aborted) this.schedule(store, isGood ? intervalMs : Math.min(intervalMs, AGAIN_LIMIT_MS));
  }

  /** Those of databases that are no longer there. */
  private forgetOthers(url: string, known: ReadonlyMap<string, Txid>): void {
    for (const [subject, { database }] of this.failures) {
      if (subject === databaseUrl(url, database) && !known.has(database)) this.failures.delete(subject);
    }
  }

  private async verify(config: StoreSettings, name: string, storedTxid: Txid): Promise<boolean> {
    const { log, spool, onVerified } = this.options;
    const startMs = performance.now();
    const folder = join(spool, `verify-${++this.runs}`);
    let failure: unknown;
    try {
      await this.checkRoom(name);
      await mkdir(folder, { recursive: true });
      const request = { config, database: name, output: join(folder, 'database') };
      const trial = await tryRestore(request, this.abort.signal);
      this.compare(name, storedTxid, trial);
      mustBeWhole(trial);
      const { txid, sizeBytes, unchecked } = trial;
      const durationMs = Math.round(performance.now() - startMs);
      const fields = { database: name, store: config.url, txid: formatTxid(txid), sizeBytes, durationMs };
      log.info(
        { ...fields, ...(unchecked !== undefined && { unchecked }) },
        'the backup was restored on trial, and is right',
      );
    } catch (error) {
      failure = error;
    } finally {
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    }
    if (this.abort.signal.aborted) return false;
    this.note(config.url, name, failure);
    onVerified?.({
      store: config.url,
      database: name,
      ok: failure === undefined,
      durationMs: performance.now() - startMs,
    });
    return failure === undefined;
  }

  private note(url: string, name: string, failure: unknown): void {
    const subject = databaseUrl(url, name);
    if (failure === undefined) {
      this.failures.delete(subject);
      return;
    }
    const error = failure instanceof SluiceError ? failure : new SluiceError('VERIFY_FAILED', String(failure));
    const code = error.code === 'VERIFY_NO_ROOM' ? 'VERIFY_NO_ROOM' : 'VERIFY_FAILED';
    const sinceMs = this.failures.get(subject)?.sinceMs ?? Date.now();
    const told = new SluiceError(code, `${name}: ${error.message}`, error.hint, { cause: error });
    this.failures.set(subject, { code, database: name, error: told, sinceMs });
    this.options.log.warn(
      { database: name, store: url, err: error },
      'the trial restore of the backup found a problem',
    );
  }

  /** Throws `VERIFY_NO_ROOM`. */
  private async checkRoom(name: string): Promise<void> {
    const { databases, spool, freeBytes = freeBytesOf } = this.options;
    const database = databases.get(name);
    const neededBytes = (database === undefined ? 0 : database.pageSize * database.pageCount) + ROOM_BYTES;
    const free = await freeBytes(spool);
    if (free >= neededBytes) return;
    const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 1024 / 1024)} MiB`;
    throw new SluiceError(
      'VERIFY_NO_ROOM',
      `the backup was not restored on trial: ${mebibytes(neededBytes)} are needed in ${spool}, ${mebibytes(free)} are free`,
      'Make room on the disk of the data folder, or leave out backup: verify:',
    );
  }

  /** What was restored must be as new as what was stored, and the same as here, as far back as the log goes. */
  private compare(name: string, storedTxid: Txid, { txid, checksum }: Trial): void {
    if (txid < storedTxid) {
      throw new SluiceError(
        'VERIFY_FAILED',
        `the backup leads up to TXID ${formatTxid(txid)} only, and ${formatTxid(storedTxid)} was stored`,
        'Run sluice verify on it',
      );
    }
    const own = this.options.databases.get(name)?.log.get(txid)?.after.checksum;
    if (own === undefined || checksum === 0n || own === checksum) return;
    throw new SluiceError(
      'VERIFY_FAILED',
      `the backup of TXID ${formatTxid(txid)} has the checksum ${formatChecksum(checksum)}, the database had ${formatChecksum(own)}`,
      'It is of another history: see whether another primary writes there',
    );
  }
}

/** The state may be right by other files: those that are damaged are a problem before it depends on them. */
function mustBeWhole({ txid, damaged }: Trial): void {
  if (damaged.length === 0) return;
  throw new SluiceError(
    'VERIFY_FAILED',
    `the backup of TXID ${formatTxid(txid)} was restored by other files, since ${damaged.length === 1 ? 'one is' : `${damaged.length} are`} damaged: ${damaged.join('; ')}`,
    'The newest state is right; sluice backup now --snapshot stores it anew, and sluice verify tells what else is wrong',
  );
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
