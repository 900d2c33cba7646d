import { existsSync, statSync } from 'node:fs';
import { lockPage } from '../ltx/index.js';
import type { WalIndexHeader } from '../sqlite/index.js';
import type { Database } from './database.js';
import type { DatabaseEvents } from './events.js';
import type { FrameBuffer } from './frame-buffer.js';
import { databaseFileFacts, hasHotJournal, PageImages } from './page-images.js';
import { allPages, grownPages } from './page-numbers.js';
import type { SharedState } from './shared.js';
import type { Comparison } from './tracked-database.js';
import { type ChangedPage, changedPage, TransactionWriter } from './transaction-writer.js';
import { WalCapture } from './wal-capture.js';
import { WholeCapture } from './whole-capture.js';

/** Changed pages of a rollback transaction up to which it is written in one go. */
const SMALL_PAGES = 256;
/** Wait before a database that could not be captured is read whole again. */
const RETRY_MS = 2000;
const IDLE_POLL_MS = 1;
/** A database that is doubted is read whole at most so often. */
const DOUBT_MS = 5 * 60_000;

export interface CaptureHooks {
  /** Lets the worker look again at what it holds back. */
  wakeWorker(): void;
  /** Has the kernel cache the start of a file of the mount; false if it cannot now. */
  cache(path: string, bytes: number): boolean;
  /** A transaction was logged: for metrics. */
  logged(db: Database, pages: number, bytes: number): void;
  /** It was looked for commits: what was there is logged, or could not be. */
  captured(db: Database): void;
  /** Whether its position may not be that of what is committed. */
  lost(db: Database, lost: boolean): void;
  warn(db: Database, message: string, error: unknown): void;
  /** The database is gone, and nothing is captured of it any more. */
  ended(db: Database): void;
}

type Task = () => void | Promise<void>;

/**
 * The main thread's half of capture, for one database: takes what the worker says is committed and turns it into
 * transactions. One thing at a time, in order; small transactions in the same turn of the event loop.
 */
export class Capture {
  private readonly tasks: Task[] = [];
  private running = false;
  /** What runs was asked for, and is not the WAL's next commits. */
  private runsTask = false;
  private attention = false;
  private closed = false;
  private doubtAgainMs = 0;
  private retry: NodeJS.Timeout | undefined;
  private readonly writer: TransactionWriter;
  private readonly wal: WalCapture;
  private readonly whole: WholeCapture;

  constructor(
    readonly database: Database,
    private readonly shared: SharedState,
    private readonly events: DatabaseEvents,
    private readonly hooks: CaptureHooks,
    buffer: FrameBuffer,
    /** Whether listeners know of the database. */
    private announced: boolean,
  ) {
    this.writer = new TransactionWriter(
      database,
      (ltx, pages) => {
        hooks.logged(database, pages, ltx?.length ?? database.log.get(database.state.txid)?.size ?? 0);
        database.problem = undefined;
        this.announce();
        this.events.transaction(database, ltx);
      },
      (error) => {
        database.fail(
          error,
          'LOG_WRITE',
          'Free disk space on the data folder; replicas and backups go on with a snapshot',
        );
        hooks.warn(database, 'the log could not take a transaction; replicas and backups need a snapshot', error);
        this.events.reset(database);
      },
    );
    this.wal = new WalCapture(database, shared, this.writer, buffer, hooks.cache);
    this.whole = new WholeCapture(database, shared, this.wal, this.writer);
  }

  /** The worker rang: the WAL has more commits. */
  attend(): void {
    this.attention = true;
    this.pump();
  }

  /** The wal-index of a WAL that the kernel writes by itself says that there are more commits. False: the worker has to be asked. */
  published(index: WalIndexHeader): boolean {
    if (!this.wal.publish(index)) return false;
    this.attend();
    return true;
  }

  /** Frames of the WAL that are known to be committed. */
  get committedFrames(): number {
    return this.wal.committed().frames;
  }

  /** The database file changed without the WAL; `pages` ascending, undefined if not known. */
  changed(sequence: number, pages: Uint32Array | undefined, marked: boolean): void {
    this.enqueue(sequence, () => {
      const result = this.captureChange(pages);
      if (!marked) return result;
      // Of a file that is new: what is known of the old one must not be what a crash of the machine leaves.
      const clear = () => this.database.clearUnlogged(pages === undefined);
      if (result !== undefined) return result.then(clear);
      clear();
    });
  }

  /** The WAL, all of which is in the log, is about to go, when `kept` has it. */
  leaving(sequence: number, compare: Comparison, kept: Promise<unknown> | undefined): void {
    this.enqueue(sequence, async () => {
      await kept;
      if (compare === 'none' || this.database.needsWholeRead || (await this.wal.compare(compare === 'all'))) return;
      // Without the WAL, which says nothing of the file that is there now.
      await this.captureWhole(0);
    });
  }

  /** Frames behind `frames` are void. */
  undo(sequence: number, generation: number, frames: number): void {
    this.enqueue(sequence, () => this.captureUndo(generation, frames));
  }

  dropped(sequence: number): void {
    this.enqueue(sequence, async () => {
      try {
        if (!this.database.needsWholeRead) await this.captureWal();
      } catch (error) {
        this.hooks.warn(
          this.database,
          'the last transactions before the database was removed are not in the log',
          error,
        );
      }
      const { generation, frames } = this.shared.wal(this.database.slot);
      this.shared.publishLogged(this.database.slot, generation, frames);
      this.wal.close();
      clearTimeout(this.retry);
      this.database.problem = undefined;
      try {
        this.gone();
      } finally {
        // Before main says that it is done: from then on the slot may be another database's.
        this.close();
        this.hooks.ended(this.database);
      }
    });
  }

  /**
   * Compares every page with its checksum, or reads a database that is new: after a journal was played back, or a file
   * came in while the node was down. Resolves when it is done.
   */
  compare(): Promise<void> {
    this.tasks.push(() => this.captureChange(undefined));
    return this.idle();
  }

  /**
   * A snapshot did not have the checksum of its position, so what the database is may not be what was logged of it: it is read
   * whole. If it differs that is its next position, and whoever follows gets a snapshot.
   */
  doubt(): void {
    const nowMs = performance.now();
    if (nowMs < this.doubtAgainMs) return;
    this.doubtAgainMs = nowMs + DOUBT_MS;
    const { txid } = this.database.position;
    this.hooks.warn(
      this.database,
      `a snapshot is not what was logged up to transaction ${txid}; reading it whole`,
      undefined,
    );
    this.tryWhole();
  }

  /**
   * Resolves when all that is known to be committed now is in the log, whatever is committed meanwhile; false if that is not
   * so by `deadlineMs`, of performance.now().
   */
  async logged(deadlineMs: number): Promise<boolean> {
    this.attend();
    const { slot } = this.database;
    const { generation, frames } = this.shared.wal(slot);
    let before = this.tasks.length > 0 || this.runsTask;
    if (before) {
      this.tasks.push(() => {
        before = false;
      });
    }
    const isLogged = () => {
      if (this.closed) return true;
      const now = this.shared.wal(slot);
      // A WAL begins afresh only when all of it is in the log; what was taken back will never be there.
      if (before || now.generation !== generation) return !before;
      return this.shared.isLogged(slot, generation, Math.min(frames, now.frames));
    };
    while (!isLogged()) {
      if (performance.now() > deadlineMs) return false;
      await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
    }
    return true;
  }

  /** Resolves when nothing is left to do: what is committed meanwhile is waited for too. */
  async idle(): Promise<void> {
    this.attend();
    while (!this.closed && (this.running || this.tasks.length > 0))
      await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.retry);
    this.wal.close();
  }

  // --- one thing at a time --------------------------------------------------------------------------------------

  private enqueue(sequence: number, task: Task): void {
    this.tasks.push(async () => {
      try {
        await task();
      } catch (error) {
        // Before the worker goes on.
        if (existsSync(this.database.path)) this.hooks.lost(this.database, true);
        throw error;
      } finally {
        this.shared.settle(this.database.slot, sequence);
        this.wakeIfWaiting();
      }
    });
    this.pump();
  }

  private pump(): void {
    while (!this.running && !this.closed) {
      const queued = this.tasks.shift();
      const task = queued ?? (this.attention ? this.walTask : undefined);
      if (task === undefined) return;
      let result: void | Promise<void>;
      try {
        result = task();
      } catch (error) {
        this.failed(error);
        continue;
      }
      if (result === undefined) continue;
      this.running = true;
      this.runsTask = queued !== undefined;
      result
        .catch((error: unknown) => this.failed(error))
        .finally(() => {
          this.running = false;
          this.runsTask = false;
          this.pump();
        });
    }
  }

  private readonly walTask: Task = () => {
    this.attention = false;
    return this.captureWal();
  };

  private readonly wakeIfWaiting = (): void => {
    this.hooks.captured(this.database);
    if (this.shared.takeWaiting(this.database.slot)) this.hooks.wakeWorker();
  };

  /** Nothing may hang because one database cannot be captured: it is reported, and read whole at its next change. */
  private failed(error: unknown): void {
    const { database } = this;
    const { generation, frames } = this.wal.committed();
    // Removed while it was read: that it is gone will be said next.
    if (existsSync(database.path)) this.report(error);
    this.wal.skipTo(generation, frames);
    this.wakeIfWaiting();
  }

  private report(error: unknown): void {
    const { database } = this;
    this.hooks.lost(database, true);
    database.fail(error, 'CAPTURE_FAILED', 'It is read whole at its next transaction; if this goes on, check the disk');
    this.hooks.warn(database, 'a transaction could not be captured', error);
    try {
      database.log.cut(database.state.txid);
      database.distrust();
    } catch {
      // The disk refuses even that; the untrusted flag stays in memory.
      database.state = { ...database.state, untrusted: true };
    }
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.tryWhole(), RETRY_MS);
    this.retry.unref();
  }

  /** In the middle of a rollback transaction the end of its journal leads there instead. */
  private tryWhole(): void {
    this.tasks.push(() => (hasHotJournal(this.database.path) ? undefined : this.captureWhole()));
    this.pump();
  }

  // --- WAL ------------------------------------------------------------------------------------------------------

  /** Logs what is committed in the WAL and not logged yet. A promise only if something is large. */
  private captureWal(): void | Promise<void> {
    const result = this.wal.take(this.readWhole, this.wakeIfWaiting);
    if (result === undefined) this.wakeIfWaiting();
    return result?.then(() => this.wakeIfWaiting());
  }

  private async captureUndo(generation: number, frames: number): Promise<void> {
    await this.captureWal();
    try {
      if (this.database.needsWholeRead) await this.captureWhole(frames);
      else await this.wal.undo(generation, frames);
    } finally {
      // The worker says so itself when it is woken: until then they would be found, and logged once more.
      this.shared.takeBackWal(this.database.slot, generation, frames);
    }
  }

  // --- rollback journal, and files that came in -------------------------------------------------------------------

  private captureChange(pages: Uint32Array | undefined): void | Promise<void> {
    const { database } = this;
    const facts = databaseFileFacts(database.path);
    if (facts === undefined) {
      this.unreadable();
      return;
    }
    const { pageSize } = facts.header;
    const inWal = pages === undefined && this.wal.committed().frames > 0;
    if (database.needsWholeRead || pageSize !== database.pageSize) return this.captureWhole();
    if (inWal) return this.captureBesideWal();
    const numbers =
      pages === undefined
        ? allPages(facts.pageCount, lockPage(pageSize))
        : grownPages(database, pages, facts.pageCount);
    const images = new PageImages(database.path, pageSize);
    const change = { commit: facts.pageCount, timeMs: Date.now() };
    if (numbers.length > SMALL_PAGES) {
      return this.writer
        .writeLarge(numbers, (pgno, target, offset) => images.read(pgno, target, offset), change, pages === undefined)
        .then(() => undefined)
        .finally(() => images.close());
    }
    try {
      const list: ChangedPage[] = [];
      for (const pgno of numbers) {
        const data = Buffer.allocUnsafe(pageSize);
        images.read(pgno, data, 0);
        list.push(changedPage(pgno, data));
      }
      this.writer.writeSmall(list, change);
    } finally {
      images.close();
    }
  }

  /** The WAL first: what it has beyond the log would look like a change that nobody knows, and cost the log. */
  private async captureBesideWal(): Promise<void> {
    await this.captureWal();
    await this.captureWhole(this.wal.loggedFrames);
  }

  /** Emptied, which drops it; or overwritten with something else, which is damage, and must not cost the others their copies. */
  private unreadable(): void {
    const { database } = this;
    const size = statSync(database.path, { throwIfNoEntry: false })?.size ?? 0;
    if (size === 0 || !database.live) {
      this.gone();
      return;
    }
    database.failAsDamaged();
    database.distrust();
  }

  /** There is no database under the name any more. */
  private gone(): void {
    const { database } = this;
    if (!database.live) return;
    const { position } = database;
    database.markDropped();
    database.problem = undefined;
    this.announced = false;
    this.events.dropped(database.name, position);
  }

  private readonly readWhole = (): Promise<void> => this.captureWhole();

  private async captureWhole(limit?: number): Promise<void> {
    const { database } = this;
    try {
      const outcome = await this.whole.take(limit);
      if (outcome === 'unreadable') {
        this.unreadable();
        return;
      }
      if (outcome === 'not logged') {
        if (this.announced) this.events.reset(database);
        this.hooks.logged(database, database.pageCount, 0);
      }
      database.problem = undefined;
      this.hooks.lost(database, false);
      this.announce();
    } finally {
      this.wakeIfWaiting();
    }
  }

  private announce(): void {
    if (this.announced) return;
    this.announced = true;
    this.events.opened(this.database);
  }
}
