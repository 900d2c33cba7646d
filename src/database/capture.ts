import { existsSync, statSync } from 'node:fs';
import { type DatabaseSums, type LtxPage, lockPage } from '../ltx/index.js';
import { frameCommitSize, framePageNumber, WAL_FRAME_HEADER_SIZE } from '../sqlite/index.js';
import type { Database } from './database.js';
import type { DatabaseEvents } from './events.js';
import { databaseFileFacts, hasHotJournal, PageImages } from './page-images.js';
import type { SharedState } from './shared.js';
import { TransactionWriter } from './transaction-writer.js';
import { nextTurn, WalFile } from './wal-file.js';
import { readWhole } from './whole-read.js';

/** Frames that are read from a WAL at a time; a transaction of more is a large one. */
const READ_BYTES = 1024 * 1024;
/** Frame headers between two turns of the event loop. */
const FRAMES_PER_TURN = 2048;
/** Changed pages of a rollback transaction up to which it is written in one go. */
const SMALL_PAGES = 256;
/** A database that comes in whole is put in the log up to this many bytes; a larger one is left to snapshots. */
const IMPORT_LOG_BYTES = 4 * 1024 * 1024;

/** Wait before a database that could not be captured is read whole again. */
const RETRY_MS = 2000;
/** Reads of a whole database until one was not disturbed by a write that was under way when they began. */
const WHOLE_READ_TRIES = 5;
const IDLE_POLL_MS = 1;
/** For LTX headers: a transaction that comes from the WAL's state as a whole points to its beginning. */
const WAL_START = 32;

/** Memory for WAL frames on their way to the log, shared by all databases since it is used within one turn. */
export class FrameBuffer {
  bytes = Buffer.alloc(0);

  reserve(size: number): Buffer {
    if (this.bytes.length < size) this.bytes = Buffer.allocUnsafeSlow(size);
    return this.bytes;
  }
}

export interface CaptureHooks {
  /** Lets the worker look again at what it holds back. */
  wakeWorker(): void;
  /** A transaction was logged: for metrics. */
  logged(db: Database, pages: number, bytes: number): void;
  warn(db: Database, message: string, error: unknown): void;
}

type Task = () => void | Promise<void>;

/**
 * The main thread's half of capture, for one database: takes what the worker says is committed and turns it into
 * transactions. One thing at a time, in order; small transactions in the same turn of the event loop.
 */
export class Capture {
  private readonly tasks: Task[] = [];
  private running = false;
  private attention = false;
  private wal: WalFile | undefined;
  private walGeneration = -1;
  /** Frames of that WAL that are in the log. */
  private walFrames = 0;
  private retry: NodeJS.Timeout | undefined;
  private readonly offsets = new Map<number, number>();
  private readonly writer: TransactionWriter;

  constructor(
    readonly database: Database,
    private readonly shared: SharedState,
    private readonly events: DatabaseEvents,
    private readonly hooks: CaptureHooks,
    private readonly buffer: FrameBuffer,
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
  }

  /** The worker rang: the WAL has more commits. */
  attend(): void {
    this.attention = true;
    this.pump();
  }

  /** The database file changed without the WAL; `pages` ascending, undefined if not known. */
  changed(sequence: number, pages: Uint32Array | undefined): void {
    this.enqueue(sequence, () => this.captureChange(pages));
  }

  /** Frames behind `frames` are void. */
  undo(sequence: number, generation: number, frames: number): void {
    this.enqueue(sequence, () => this.captureUndo(generation, frames));
  }

  dropped(sequence: number): void {
    this.enqueue(sequence, async () => {
      try {
        if (!this.needsWholeRead()) await this.captureWal();
      } catch (error) {
        this.hooks.warn(
          this.database,
          'the last transactions before the database was removed are not in the log',
          error,
        );
      }
      const { generation, frames } = this.shared.wal(this.database.slot);
      this.shared.publishLogged(this.database.slot, generation, frames);
      this.closeWal();
      clearTimeout(this.retry);
      this.database.problem = undefined;
      this.gone();
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

  /** Resolves when all that is committed now is in the log. */
  async idle(): Promise<void> {
    this.attend();
    while (this.running || this.tasks.length > 0) await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
  }

  close(): void {
    clearTimeout(this.retry);
    this.closeWal();
  }

  // --- one thing at a time --------------------------------------------------------------------------------------

  private enqueue(sequence: number, task: Task): void {
    this.tasks.push(async () => {
      try {
        await task();
      } finally {
        this.shared.settle(this.database.slot, sequence);
        this.wakeIfWaiting();
      }
    });
    this.pump();
  }

  private pump(): void {
    while (!this.running) {
      const task = this.tasks.shift() ?? (this.attention ? this.walTask : undefined);
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
      result
        .catch((error: unknown) => this.failed(error))
        .finally(() => {
          this.running = false;
          this.pump();
        });
    }
  }

  private readonly walTask: Task = () => {
    this.attention = false;
    return this.captureWal();
  };

  private wakeIfWaiting(): void {
    if (this.shared.takeWaiting(this.database.slot)) this.hooks.wakeWorker();
  }

  /** Nothing may hang because one database cannot be captured: it is reported, and read whole at its next change. */
  private failed(error: unknown): void {
    const { database, shared } = this;
    const { generation, frames } = shared.wal(database.slot);
    this.walFrames = frames;
    // Removed while it was read: that it is gone will be said next.
    if (existsSync(database.path)) this.report(error);
    shared.publishLogged(database.slot, generation, frames);
    this.wakeIfWaiting();
  }

  private report(error: unknown): void {
    const { database } = this;
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
    const { slot } = this.database;
    for (;;) {
      const { generation, frames: end } = this.shared.wal(slot);
      if (generation !== this.walGeneration) this.openWal(generation);
      if (this.walFrames >= end) break;
      if (this.wal === undefined) throw new Error('the WAL cannot be opened');
      if (this.needsWholeRead()) return this.captureWhole().then(() => this.captureWal());
      const large = this.captureSmallFrames(end);
      if (large) return this.captureLargeFrames(end).then(() => this.captureWal());
      this.shared.publishLogged(slot, generation, this.walFrames);
    }
    this.wakeIfWaiting();
  }

  private needsWholeRead(): boolean {
    return !this.database.live || this.database.state.untrusted;
  }

  /** Reads committed frames and logs the transactions in them; true if the next one does not fit the buffer. */
  private captureSmallFrames(end: number): boolean {
    const wal = this.wal!;
    const fit = Math.max(1, Math.floor(READ_BYTES / wal.frameSize));
    const frames = this.buffer.reserve(fit * wal.frameSize);
    const first = this.walFrames;
    const count = wal.readFrames(frames, first, Math.min(fit, end - first));
    let from = 0;
    for (let i = 0; i < count; i++) {
      const commit = frameCommitSize(frames, i * wal.frameSize);
      if (commit === 0) continue;
      this.captureFrames(from, i + 1, first, commit);
      from = i + 1;
    }
    if (from > 0) return false;
    if (count < fit) throw new Error(`the WAL has ${count} frames after ${first}, without the commit that was seen`);
    return true;
  }

  /** Logs the frames `from`..`to - 1` of the buffer, one transaction; `base` is the WAL frame that it begins with. */
  private captureFrames(from: number, to: number, base: number, commit: number): void {
    const wal = this.wal!;
    const { database, offsets } = this;
    const { pageSize } = wal.header;
    const lock = lockPage(pageSize);
    const bytes = this.buffer.bytes;
    offsets.clear();
    for (let i = from; i < to; i++) {
      const at = i * wal.frameSize;
      const pgno = framePageNumber(bytes, at);
      if (pgno <= commit && pgno !== lock) offsets.set(pgno, at + WAL_FRAME_HEADER_SIZE);
    }
    const pages: LtxPage[] = [];
    for (const [pgno, at] of offsets) pages.push({ pgno, data: bytes.subarray(at, at + pageSize) });
    for (let pgno = database.pageCount + 1; pgno <= commit; pgno++) {
      // SQLite need not write a page that it added and freed in one transaction.
      if (!offsets.has(pgno) && pgno !== lock) pages.push({ pgno, data: this.untouchedPage(pgno, base + to) });
    }
    pages.sort((a, b) => a.pgno - b.pgno);
    const frames = base + to;
    const { salt1, salt2 } = wal.header;
    const offset = wal.offsetOf(base + from);
    const written = this.writer.writeSmall(pages, {
      commit,
      timeMs: Date.now(),
      wal: { offset, size: (to - from) * wal.frameSize, salt1, salt2, frames },
    });
    if (!written) database.noteWal(salt1, salt2, frames);
    this.walFrames = frames;
  }

  private untouchedPage(pgno: number, endFrame: number): Buffer {
    const wal = this.wal!;
    const page = Buffer.alloc(wal.header.pageSize);
    for (let frame = endFrame - 1; frame >= 0; frame--) {
      if (wal.frameHeader(frame).pageNumber !== pgno) continue;
      wal.readPage(page, 0, frame);
      return page;
    }
    const images = new PageImages(this.database.path, wal.header.pageSize);
    try {
      images.read(pgno, page, 0);
    } finally {
      images.close();
    }
    return page;
  }

  private async captureLargeFrames(end: number): Promise<void> {
    const wal = this.wal!;
    const from = this.walFrames;
    let to = from;
    let commit = 0;
    for (; commit === 0 && to < end; to++) {
      commit = wal.frameHeader(to).commitSize;
      if (to % FRAMES_PER_TURN === 0) await nextTurn();
    }
    const newest = await wal.newestFrames(from, to);
    const all = await wal.newestFrames(0, from);
    for (const [pgno, frame] of newest) all.set(pgno, frame);
    const images = new PageImages(this.database.path, wal.header.pageSize, { file: wal, newest: all });
    try {
      const { salt1, salt2 } = wal.header;
      const written = await this.writer.writeLarge(
        this.withGrowth(newest.keys(), commit),
        (pgno, target, offset) => images.read(pgno, target, offset),
        {
          commit,
          timeMs: Date.now(),
          wal: { offset: wal.offsetOf(from), size: (to - from) * wal.frameSize, salt1, salt2, frames: to },
        },
        false,
      );
      if (!written) this.database.noteWal(salt1, salt2, to);
    } finally {
      images.close();
    }
    this.walFrames = to;
    this.shared.publishLogged(this.database.slot, this.walGeneration, to);
  }

  /** The page numbers up to `commit`, with those that the database grew by, ascending, without the lock page. */
  private withGrowth(numbers: Iterable<number>, commit: number): Uint32Array {
    const { database } = this;
    const lock = lockPage(database.sums.pageSize);
    const kept = new Set<number>();
    for (const pgno of numbers) if (pgno <= commit && pgno !== lock) kept.add(pgno);
    for (let pgno = database.pageCount + 1; pgno <= commit; pgno++) if (pgno !== lock) kept.add(pgno);
    return Uint32Array.from(kept).sort();
  }

  private openWal(generation: number): void {
    this.closeWal();
    this.walGeneration = generation;
    this.wal = WalFile.open(this.database.walPath);
    const { state } = this.database;
    const known =
      this.wal !== undefined &&
      state.walFrames > 0 &&
      state.walSalt1 === this.wal.header.salt1 &&
      state.walSalt2 === this.wal.header.salt2;
    // After a start: what the last process logged of this WAL. A WAL that starts afresh has other salts.
    this.walFrames = known ? state.walFrames : 0;
    this.shared.publishLogged(this.database.slot, generation, this.walFrames);
  }

  private closeWal(): void {
    this.wal?.close();
    this.wal = undefined;
    this.walGeneration = -1;
  }

  private async captureUndo(generation: number, frames: number): Promise<void> {
    await this.captureWal();
    if (this.needsWholeRead()) return this.captureWhole(frames);
    const wal = this.wal;
    if (wal === undefined || generation !== this.walGeneration || this.walFrames <= frames) return;
    const undone = await wal.newestFrames(frames, this.walFrames);
    const before = await wal.newestFrames(0, frames);
    const commit =
      frames > 0 ? wal.frameHeader(frames - 1).commitSize : (databaseFileFacts(this.database.path)?.pageCount ?? 0);
    const images = new PageImages(this.database.path, wal.header.pageSize, { file: wal, newest: before });
    try {
      const { salt1, salt2 } = wal.header;
      await this.writer.writeLarge(
        this.withGrowth(undone.keys(), commit),
        (pgno, target, offset) => images.read(pgno, target, offset),
        { commit, timeMs: Date.now(), wal: { offset: WAL_START, size: 0, salt1, salt2, frames } },
        false,
      );
      this.database.noteWal(salt1, salt2, frames);
    } finally {
      images.close();
    }
    this.walFrames = frames;
    this.shared.publishLogged(this.database.slot, generation, frames);
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
    const inWal = pages === undefined && this.shared.walFrames(database.slot) > 0;
    if (this.needsWholeRead() || inWal || pageSize !== database.pageSize) return this.captureWhole();
    const numbers =
      pages === undefined ? allPages(facts.pageCount, lockPage(pageSize)) : this.withGrowth(pages, facts.pageCount);
    const images = new PageImages(database.path, pageSize);
    const change = { commit: facts.pageCount, timeMs: Date.now() };
    if (numbers.length > SMALL_PAGES) {
      return this.writer
        .writeLarge(numbers, (pgno, target, offset) => images.read(pgno, target, offset), change, pages === undefined)
        .then(() => undefined)
        .finally(() => images.close());
    }
    try {
      const list: LtxPage[] = [];
      for (const pgno of numbers) {
        const data = Buffer.allocUnsafe(pageSize);
        images.read(pgno, data, 0);
        list.push({ pgno, data });
      }
      this.writer.writeSmall(list, change);
    } finally {
      images.close();
    }
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

  /**
   * Takes the whole database as it is, WAL and all (or its first `limit` frames), for its new position. Nobody may
   * write the database file meanwhile, not even a checkpoint: it would put later transactions under earlier ones.
   */
  private async captureWhole(limit?: number): Promise<void> {
    const { shared } = this;
    const { slot } = this.database;
    shared.hold(slot, true);
    try {
      for (let n = 0; n < WHOLE_READ_TRIES; n++) {
        const writes = shared.fileWrites(slot);
        const image = await this.readImage(limit);
        if (shared.fileWrites(slot) !== writes) continue;
        if (image === undefined) this.unreadable();
        else await this.takeWhole(image);
        return;
      }
      throw new Error('the database file changed while it was read whole');
    } finally {
      shared.hold(slot, false);
      this.wakeIfWaiting();
    }
  }

  private async readImage(limit: number | undefined): Promise<WholeImage | undefined> {
    const { database, shared } = this;
    const { generation, frames: committed } = shared.wal(database.slot);
    const frames = Math.min(committed, limit ?? committed);
    if (generation !== this.walGeneration) this.openWal(generation);
    const facts = databaseFileFacts(database.path);
    if (facts === undefined) {
      shared.publishLogged(database.slot, generation, committed);
      this.walFrames = committed;
      return undefined;
    }
    const wal = frames > 0 ? this.wal : undefined;
    const overlay = wal === undefined ? undefined : { file: wal, newest: await wal.newestFrames(0, frames) };
    const pageSize = wal?.header.pageSize ?? facts.header.pageSize;
    const pageCount = wal?.frameHeader(frames - 1).commitSize ?? facts.pageCount;
    const sums = await readWhole(database.path, pageSize, pageCount, overlay);
    return { sums, pageSize, pageCount, overlay, generation, frames };
  }

  private async takeWhole({ sums, pageSize, pageCount, overlay, generation, frames }: WholeImage): Promise<void> {
    const { database, shared } = this;
    const { slot } = database;
    const { position } = database;
    const first = position.txid === 0;
    const walState =
      overlay === undefined
        ? undefined
        : { salt1: overlay.file.header.salt1, salt2: overlay.file.header.salt2, frames };
    const same = database.live && pageSize === database.pageSize && pageCount === database.pageCount;
    if (same && sums.checksum() === position.checksum) {
      database.sums = sums;
      database.advance({
        position,
        pageSize,
        pageCount,
        timeMs: database.state.timeMs,
        pages: undefined,
        wal: walState,
      });
    } else if (first && pageCount * pageSize <= IMPORT_LOG_BYTES) {
      const images = new PageImages(database.path, pageSize, overlay);
      database.sums = sums;
      database.sums.truncate(0);
      try {
        const facts = { commit: pageCount, timeMs: Date.now() };
        const withWal = walState === undefined ? facts : { ...facts, wal: { offset: WAL_START, size: 0, ...walState } };
        const read = (pgno: number, target: Buffer, offset: number) => images.read(pgno, target, offset);
        await this.writer.writeLarge(allPages(pageCount, lockPage(pageSize)), read, withWal, false);
      } finally {
        images.close();
      }
    } else {
      database.sums = sums;
      const next = { txid: position.txid + 1, checksum: sums.checksum() };
      database.log.cut(next.txid);
      database.advance({ position: next, pageSize, pageCount, timeMs: Date.now(), pages: undefined, wal: walState });
      if (this.announced) this.events.reset(database);
      this.hooks.logged(database, pageCount, 0);
    }
    database.problem = undefined;
    if (overlay !== undefined) {
      this.walFrames = frames;
      shared.publishLogged(slot, generation, frames);
    }
    this.announce();
  }

  private announce(): void {
    if (this.announced) return;
    this.announced = true;
    this.events.opened(this.database);
  }
}

interface WholeImage {
  readonly sums: DatabaseSums;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly overlay: { readonly file: WalFile; readonly newest: ReadonlyMap<number, number> } | undefined;
  readonly generation: number;
  readonly frames: number;
}

function allPages(count: number, lock: number): Uint32Array {
  const pages = new Uint32Array(count >= lock ? count - 1 : count);
  for (let i = 0, pgno = 1; i < pages.length; i++, pgno++) {
    if (pgno === lock) pgno++;
    pages[i] = pgno;
  }
  return pages;
}
