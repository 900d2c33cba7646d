import { lockPage } from '../ltx/index.js';
import {
  frameCommitSize,
  frameIsOf,
  framePageNumber,
  WAL_FRAME_HEADER_SIZE,
  type WalIndexHeader,
} from '../sqlite/index.js';
import type { Database } from './database.js';
import type { FrameBuffer } from './frame-buffer.js';
import { databaseFileFacts, PageImages } from './page-images.js';
import { checkPageCount, grownPages } from './page-numbers.js';
import type { SharedState } from './shared.js';
import { type ChangedPage, changedPage, type TransactionWriter } from './transaction-writer.js';
import { nextTurn, WalFile } from './wal-file.js';

/** Frames that are read from a WAL at a time; a transaction of more is a large one. */
const READ_BYTES = 1024 * 1024;
/** The kernel is told to cache a WAL up to this size, and again when it has grown by so much. */
const CACHED_BYTES = 32 * 1024 * 1024;
const CACHE_STEP_BYTES = 256 * 1024;
/** Frame headers between two turns of the event loop. */
const FRAMES_PER_TURN = 2048;
/** Until the worker has looked at a WAL that began afresh. */
export const RESTART_MS = 20;
/** That is waited for at most so many times. */
const RESTART_TRIES = 100;
/** From so many bytes that wait to be logged on, the commits in each piece that is read are one transaction: that is how to catch up. */
const BEHIND_BYTES = 4 * READ_BYTES;

/** Turns the commits in one database's WAL into transactions. Main thread; one call at a time. */
export class WalCapture {
  private wal: WalFile | undefined;
  private generation = -1;
  /** Frames of that WAL that are in the log. */
  private logged = 0;
  /** The frame that the last of them begins with. */
  private lastFrom = 0;
  /** The WAL that was there at the start was replaced. */
  private replaced = false;
  /** Waits for the worker to have seen the WAL that is in the file. */
  private restartTries = 0;
  private readonly offsets = new Map<number, number>();
  /** Frames of it that its wal-index says are committed, though the worker has not seen it. */
  private published: { readonly generation: number; readonly frames: number } | undefined;
  /** What the kernel was told to cache of the file. */
  private cachedBytes = 0;

  constructor(
    private readonly database: Database,
    private readonly shared: SharedState,
    private readonly writer: TransactionWriter,
    private readonly buffer: FrameBuffer,
    private readonly cache: (path: string, bytes: number) => boolean,
  ) {}

  /** Frames of the WAL that are in the log. */
  get loggedFrames(): number {
    return this.logged;
  }

  /** The WAL's generation, and its frames that are known to be committed. */
  committed(): { readonly generation: number; readonly frames: number } {
    const { published } = this;
    const { generation, frames } = this.shared.wal(this.database.slot);
    const isSame = published?.generation === generation;
    return { generation, frames: isSame ? Math.max(frames, published.frames) : frames };
  }

  /** Takes the word of a wal-index for how far the WAL is committed. False if it is one of another WAL, or of no more frames. */
  publish(index: WalIndexHeader): boolean {
    const { wal } = this;
    const { generation, frames } = this.committed();
    if (wal === undefined || generation !== this.generation || index.frames <= frames) return false;
    if (index.salt1 !== wal.header.salt1 || index.salt2 !== wal.header.salt2) return false;
    this.published = { generation, frames: index.frames };
    return true;
  }

  /**
   * Logs what is committed in the WAL and not logged yet; small transactions in this turn of the event loop. A promise
   * only if it is much, or if the database has to be read whole first. `progress`: something was logged.
   */
  take(readWhole: () => Promise<void>, progress: () => void): void | Promise<void> {
    const { database, shared } = this;
    const { slot } = database;
    for (;;) {
      const { generation, frames: end } = this.committed();
      this.at(generation);
      if (this.logged >= end) return;
      if (!this.isAt(generation)) return this.untilSeen().then(() => this.take(readWhole, progress));
      if (this.wal === undefined) throw new Error('the WAL cannot be opened');
      // Of another page size: another database was copied over this one.
      const isOther = this.wal.header.pageSize !== database.pageSize;
      if (database.needsWholeRead || isOther) return readWhole().then(() => this.take(readWhole, progress));
      if (this.takeSmall(end)) return this.takeLarge(end).then(() => this.take(readWhole, progress));
      shared.publishLogged(slot, generation, this.logged);
      progress();
      // Others get their turn when there is much.
      if (this.logged < end) return nextTurn().then(() => this.take(readWhole, progress));
    }
  }

  /** Whether it is at this generation's WAL, or knows that there is none: not if the file holds another one than the worker saw. */
  isAt(generation: number): boolean {
    return generation === this.generation;
  }

  /** The WAL of this generation, opened if it is not; undefined if there is none, or another one in its place. */
  at(generation: number): WalFile | undefined {
    if (generation !== this.generation) this.open(generation);
    return this.wal;
  }

  /** The log, or what takes its place, has these frames. */
  skipTo(generation: number, frames: number): void {
    this.logged = frames;
    this.lastFrom = 0;
    this.shared.publishLogged(this.database.slot, generation, frames);
  }

  close(): void {
    this.wal?.close();
    this.wal = undefined;
    this.generation = -1;
  }

  /** Logs that the frames behind `frames` are void, as a transaction that brings back what they replaced. */
  async undo(generation: number, frames: number): Promise<void> {
    this.published = undefined;
    const wal = this.wal;
    if (wal === undefined || generation !== this.generation || this.logged <= frames) return;
    const undone = await wal.newestFrames(frames, this.logged);
    const before = await wal.newestFrames(0, frames);
    const commit =
      frames > 0 ? wal.frameHeader(frames - 1).commitSize : (databaseFileFacts(this.database.path)?.pageCount ?? 0);
    const images = new PageImages(this.database.path, wal.header.pageSize, { file: wal, newest: before });
    try {
      const { salt1, salt2 } = wal.header;
      await this.writer.writeLarge(
        grownPages(this.database, undone.keys(), commit),
        (pgno, target, offset) => images.read(pgno, target, offset),
        { commit, timeMs: Date.now(), wal: { size: 0, salt1, salt2, frames } },
        false,
      );
      this.database.noteWal(salt1, salt2, frames);
    } finally {
      images.close();
    }
    this.skipTo(generation, frames);
  }

  /**
   * Before a WAL goes, all of it logged: the database file must have what the last transaction (or all of them) wrote.
   * It has not if the writer died, or failed, after its commit frame and before it published it, or if it is not SQLite
   * that takes the WAL away. Then what the file has becomes the next transaction. False if it is of another page size,
   * and must be read whole.
   */
  async compare(all: boolean): Promise<boolean> {
    this.replaced = true;
    const { wal, database } = this;
    const facts = databaseFileFacts(database.path);
    if (wal === undefined || facts === undefined || this.logged === 0) return true;
    const { header, pageCount } = facts;
    if (header.pageSize !== database.pageSize) return false;
    const newest = await wal.newestFrames(all ? 0 : this.lastFrom, this.logged);
    const images = new PageImages(database.path, header.pageSize);
    try {
      await this.writer.writeLarge(
        grownPages(database, newest.keys(), pageCount),
        (pgno, target, offset) => images.read(pgno, target, offset),
        { commit: pageCount, timeMs: Date.now() },
        true,
      );
      return true;
    } finally {
      images.close();
    }
  }

  /** Reads committed frames and logs the transactions in them; true if the next one does not fit the buffer. */
  private takeSmall(end: number): boolean {
    const wal = this.wal!;
    const fit = Math.max(1, Math.floor(READ_BYTES / wal.frameSize));
    const frames = this.buffer.reserve(fit * wal.frameSize);
    const first = this.logged;
    const count = wal.readFrames(frames, first, Math.min(fit, end - first));
    const isBehind = (end - first) * wal.frameSize >= BEHIND_BYTES;
    let from = 0;
    let changed: boolean | undefined = true;
    let last = 0;
    let lastCommit = 0;
    try {
      for (let i = 0; i < count && changed !== undefined; i++) {
        if (!frameIsOf(wal.header, frames, i * wal.frameSize)) throw new Error(`frame ${first + i} is of another WAL`);
        const commit = frameCommitSize(frames, i * wal.frameSize);
        if (commit === 0) continue;
        last = i + 1;
        lastCommit = commit;
        if (isBehind) continue;
        changed = this.takeFrames(from, last, first, commit);
        if (changed !== undefined) from = last;
      }
      if (isBehind && last > 0) {
        changed = this.takeFrames(0, last, first, lastCommit);
        if (changed !== undefined) from = last;
      }
    } finally {
      this.writer.writePrepared();
    }
    if (changed === undefined) return from === 0;
    if (!changed) this.database.noteWal(wal.header.salt1, wal.header.salt2, this.logged);
    if (from > 0) return false;
    if (count < fit) throw new Error(`the WAL has ${count} frames after ${first}, without the commit that was seen`);
    return true;
  }

  /**
   * Prepares the frames `from`..`to - 1` of the buffer, one transaction; `base` is the WAL frame that it begins with.
   * False if they change nothing; undefined, with nothing done, if they are not all of it: SQLite need not write a page
   * that it added and freed in one transaction, and there may be any number of them.
   */
  private takeFrames(from: number, to: number, base: number, commit: number): boolean | undefined {
    const wal = this.wal!;
    const { offsets } = this;
    const { pageSize } = wal.header;
    const lock = lockPage(pageSize);
    const bytes = this.buffer.bytes;
    offsets.clear();
    for (let i = from; i < to; i++) {
      const at = i * wal.frameSize;
      const pgno = framePageNumber(bytes, at);
      if (pgno <= commit && pgno !== lock) offsets.set(pgno, at + WAL_FRAME_HEADER_SIZE);
    }
    const pages: ChangedPage[] = [];
    const before = this.writer.pageCount;
    let missing = commit - before - (before < lock && lock <= commit ? 1 : 0);
    for (const [pgno, at] of offsets) {
      pages.push(changedPage(pgno, bytes.subarray(at, at + pageSize)));
      if (pgno > before) missing--;
    }
    if (missing > 0) return undefined;
    pages.sort((a, b) => a.pgno - b.pgno);
    const frames = base + to;
    const { salt1, salt2 } = wal.header;
    const changed = this.writer.prepare(pages, {
      commit,
      timeMs: Date.now(),
      wal: { size: (to - from) * wal.frameSize, salt1, salt2, frames },
    });
    this.logged = frames;
    this.lastFrom = base + from;
    return changed;
  }

  private async takeLarge(end: number): Promise<void> {
    const wal = this.wal!;
    const from = this.logged;
    let to = from;
    let commit = 0;
    for (; commit === 0 && to < end; to++) {
      commit = wal.frameHeader(to).commitSize;
      if (to % FRAMES_PER_TURN === 0) await nextTurn();
    }
    const newest = await wal.newestFrames(from, to);
    checkPageCount(commit, this.database.pageCount + newest.size);
    const all = await wal.newestFrames(0, from);
    for (const [pgno, frame] of newest) all.set(pgno, frame);
    const images = new PageImages(this.database.path, wal.header.pageSize, { file: wal, newest: all });
    try {
      const { salt1, salt2 } = wal.header;
      const written = await this.writer.writeLarge(
        grownPages(this.database, newest.keys(), commit),
        (pgno, target, offset) => images.read(pgno, target, offset),
        {
          commit,
          timeMs: Date.now(),
          wal: { size: (to - from) * wal.frameSize, salt1, salt2, frames: to },
        },
        false,
      );
      if (!written) this.database.noteWal(salt1, salt2, to);
    } finally {
      images.close();
    }
    this.skipTo(this.generation, to);
    this.lastFrom = from;
  }

  private open(generation: number): void {
    this.close();
    const { slot, walPath, state } = this.database;
    const wal = WalFile.open(walPath);
    if (wal !== undefined && !this.shared.isWal(slot, generation, wal.header)) {
      wal.close();
      this.logged = 0;
      return;
    }
    this.generation = generation;
    this.wal = wal;
    this.cacheOld();
    const known =
      !this.replaced &&
      this.wal !== undefined &&
      state.walFrames > 0 &&
      state.walSalt1 === this.wal.header.salt1 &&
      state.walSalt2 === this.wal.header.salt2;
    this.restartTries = 0;
    // After a start: what the last process logged of this WAL. A WAL that starts afresh has other salts.
    this.skipTo(generation, known ? state.walFrames : 0);
  }

  /** Where the kernel writes the WAL by itself, it can have begun afresh since the worker looked. */
  private async untilSeen(): Promise<void> {
    if (++this.restartTries > RESTART_TRIES) {
      this.restartTries = 0;
      throw new Error('the WAL in the file is not the one that was seen');
    }
    await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
  }

  /**
   * Frames are about to be written over those of an earlier WAL: the kernel does that in fewer requests if it has them
   * in its cache. Once for each size that the file grows to.
   */
  private cacheOld(): void {
    const bytes = Math.min(this.wal?.size ?? 0, CACHED_BYTES);
    const grown = bytes > this.cachedBytes + CACHE_STEP_BYTES;
    const cut = bytes < this.cachedBytes;
    if (cut || (grown && this.cache(`${this.database.name}-wal`, bytes))) this.cachedBytes = bytes;
  }
}
