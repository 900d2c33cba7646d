import { fstatSync } from 'node:fs';
import { readSync } from '../disk/index.js';
import { DEFER, type FileNode, PROCEED, type Verdict } from '../fuse/index.js';
import { WAL_HEADER_SIZE } from '../sqlite/index.js';
import type { DatabaseGate } from './database-gate.js';
import type { MainLink } from './main-link.js';
import type { Comparison, TrackedDatabase } from './tracked-database.js';
import { WalLook } from './wal-look.js';
import type { Looked } from './worker-messages.js';

/** What may happen to a database's WAL, and when; finds its commits. On the worker. */
export class WalGate {
  private bytes = Buffer.alloc(0);
  private readonly looks: WalLook;
  /** At the last look: what its users have published, if that is less than what was taken for committed. */
  private behind: number | undefined;

  constructor(
    private readonly main: MainLink,
    private readonly files: DatabaseGate,
  ) {
    this.looks = new WalLook((database) => files.isLocked(database));
  }

  /**
   * Takes what stands in a WAL whose writes nobody tells of, and tells main. Whether there may soon be more. `last`: the
   * WAL may be gone, or begin afresh, after this.
   */
  look(database: TrackedDatabase, last = false): boolean {
    if (!database.isPassed) return false;
    const { changed, more, published, broken } = this.looks.look(database, last);
    if (changed) this.main.publishWal(database);
    const { passed } = database;
    if (broken) passed.broken = true;
    if (passed.broken) this.readWhole(database);
    this.behind = published;
    return more;
  }

  /** Frames that are in the database file for sure. */
  inFile(database: TrackedDatabase): number {
    const { wal } = database;
    const { backfilled } = database.passed;
    const known = backfilled?.generation === wal.generation ? backfilled.frames : 0;
    return Math.max(known, this.looks.backfilled(database));
  }

  /** A look that main asks for. */
  lookFor(database: TrackedDatabase): Looked {
    const { wal, passed } = database;
    const { generation, committedFrames: before } = wal;
    const more = this.look(database);
    const { committedFrames } = wal;
    const frames = wal.generation === generation ? committedFrames - before : committedFrames;
    const isExact = !passed.broken && passed.published === committedFrames && database.pending === undefined;
    return { frames, more: more || passed.broken, published: isExact ? committedFrames : undefined };
  }

  /** Before a write to the database file: what a checkpoint brings there must be in the log. */
  mayCheckpoint(database: TrackedDatabase): Verdict {
    if (!database.isPassed || database.journalOpen) return PROCEED;
    const { main } = this;
    if (this.looks.isLogged(database, (frames) => main.isLoggedTo(database, frames))) return PROCEED;
    this.look(database, true);
    return main.resolve(database) && main.isLogged(database) ? PROCEED : DEFER;
  }

  /**
   * Before the database file gets its size, which is the last that a checkpoint does before it says that it is complete: from then
   * on the WAL may begin afresh, without anybody telling.
   */
  mayEndCheckpoint(database: TrackedDatabase, node: FileNode, size: number): Verdict {
    const { wal } = database;
    if (!database.isPassed || database.journalOpen) return PROCEED;
    // With mmap_size SQLite makes the file longer when it begins a checkpoint; which may be what is done here.
    const mayBegin = size > fstatSync(node.fd()).size;
    const { main } = this;
    if (!main.resolve(database) || main.isHeld(database)) return DEFER;
    this.look(database, true);
    if (wal.header === undefined) return PROCEED;
    const ending = this.looks.ending(database);
    // What others commit meanwhile keeps the WAL from beginning afresh.
    const isEnough = ending !== undefined && main.isLoggedTo(database, ending.frames);
    if (!main.resolve(database) || !(isEnough || main.isLogged(database))) return DEFER;
    if (this.behind !== undefined) return main.askToUndo(database, this.behind);
    // Where others may commit meanwhile, the last transaction need not be in the file.
    const how = isShared(database) ? 'none' : 'last';
    const mustCompare = how === 'last' && !mayBegin;
    if (mustCompare || database.pins.some((pin) => pin.needsWal)) {
      const compare = mustCompare ? how : 'none';
      if (!this.isCompared(database, compare) && main.askToCompare(database, compare) === DEFER) return DEFER;
      for (const pin of database.pins) pin.saveWal();
    }
    if (mayBegin) return PROCEED;
    database.passed.backfilled = ending === undefined ? undefined : { generation: wal.generation, ...ending };
    return PROCEED;
  }

  mayWrite(
    database: TrackedDatabase,
    node: FileNode,
    position: number,
    data: Buffer,
    start: number,
    length: number,
  ): Verdict {
    const { wal } = database;
    if (position < WAL_HEADER_SIZE) return wal.header === undefined ? PROCEED : this.mayLeave(database, false);
    if (!wal.overwritesCommitted(position)) return PROCEED;
    if (this.isSame(node, position, data, start, Math.min(length, wal.committedEnd - position))) return PROCEED;
    if (!this.main.resolve(database)) return DEFER;
    // Taken back by now, if that was what main had to finish.
    if (!wal.overwritesCommitted(position)) return PROCEED;
    if (this.main.isHeld(database) || !this.main.isLogged(database)) return DEFER;
    for (const pin of database.pins) pin.saveWal();
    return this.main.askToUndo(database, wal.framesBefore(position));
  }

  /**
   * Before the WAL's frames go away (a new header, truncation, removal): all of it must be in the log, and what the log
   * has must be in the database file. A commit whose writer died before it published it was logged, but no checkpoint
   * brought it there. `all`: whoever takes the WAL away may not be SQLite.
   */
  mayLeave(database: TrackedDatabase, all: boolean): Verdict {
    const { main } = this;
    const { wal, isPassed } = database;
    if (isPassed) this.look(database, true);
    if (wal.header === undefined) return PROCEED;
    if (!main.resolve(database) || main.isHeld(database)) return DEFER;
    if (!isPassed && wal.verify()) main.publishWal(database);
    if (!main.isLogged(database)) return DEFER;
    if (isPassed && this.behind !== undefined) return main.askToUndo(database, this.behind);
    const how = all ? 'all' : 'last';
    if (!this.isCompared(database, how) && main.askToCompare(database, how) === DEFER) return DEFER;
    // Main has copied it for those that it read from when it was asked.
    for (const pin of database.pins) pin.saveWal();
    return PROCEED;
  }

  wrote(database: TrackedDatabase, position: number, data: Buffer, start: number, length: number): void {
    const { wal } = database;
    let skip = 0;
    if (wal.overwritesCommitted(position)) {
      // A request that the kernel presented again: these bytes are what the file has.
      skip = wal.committedEnd - position;
      if (skip >= length) return;
    }
    const { generation } = wal;
    const committed = wal.wrote(position + skip, data, start + skip, length - skip);
    if (wal.generation !== generation) this.main.beginWal(database);
    if (committed) this.main.publishWal(database);
  }

  resized(database: TrackedDatabase, size: number): void {
    if (size === 0) this.clear(database);
    else if (size < database.wal.committedEnd) this.load(database);
  }

  /** Takes what the file holds: it came under its name by a rename, or was there before. */
  load(database: TrackedDatabase): void {
    database.wal.load();
    this.main.publishWal(database);
  }

  /** The WAL is gone, or empty. Main is told at once: what it holds open of a removed file takes up room. */
  clear(database: TrackedDatabase): void {
    database.wal.clear();
    this.main.publishWal(database);
  }

  /** Main cannot tell from the WAL what changed: it compares all pages. */
  private readWhole(database: TrackedDatabase): void {
    if (!this.main.resolve(database)) return;
    database.passed.broken = false;
    database.dirtyUnknown = true;
    this.files.mark(database);
    database.wal.load();
    this.main.publishWal(database);
    this.main.askToLog(database);
  }

  private isCompared({ wal, compared }: TrackedDatabase, how: Comparison): boolean {
    if (wal.committedFrames === 0) return true;
    if (compared?.how === 'none' && how !== 'none') return false;
    return compared?.generation === wal.generation && compared.frames === wal.committedFrames;
  }

  private isSame(node: FileNode, position: number, data: Buffer, start: number, length: number): boolean {
    if (this.bytes.length < length) this.bytes = Buffer.alloc(length);
    const read = readSync(node.fd(), this.bytes, 0, length, position);
    return read === length && this.bytes.compare(data, start, start + length, 0, length) === 0;
  }
}

/** Whether somebody may have the wal-index open. */
function isShared({ shmNode }: TrackedDatabase): boolean {
  return shmNode !== undefined && (shmNode.handles > 0 || shmNode.inherited);
}
