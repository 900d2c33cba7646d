import { fstatSync } from 'node:fs';
import { readSync } from '../disk/index.js';
import { DEFER, errnoOf, type FileNode, type HeldLocks, PROCEED, type Verdict } from '../fuse/index.js';
import {
  databasePageCount,
  HEADER_SIZE,
  parseDatabaseHeader,
  RESERVED_BYTE,
  SHARED_FIRST,
  SHARED_SIZE,
} from '../sqlite/index.js';
import type { MainLink } from './main-link.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';
import type { UnloggedMarks } from './unlogged-marks.js';

/** What may happen to a database file, and when; its changes that no WAL has become transactions here. On the worker. */
export class DatabaseGate {
  /** Who holds locks on the files; nobody knows before the mount answers. */
  locks: HeldLocks | undefined;
  private readonly head = Buffer.alloc(HEADER_SIZE);

  constructor(
    private readonly shared: SharedState,
    private readonly main: MainLink,
    private readonly marks: UnloggedMarks,
  ) {}

  /** `pid`: see Watcher. */
  mayWrite(database: TrackedDatabase, node: FileNode, position: number, length: number, pid: number): Verdict {
    if (!this.mayChange(database)) return DEFER;
    for (const pin of database.pins) pin.save(node.fd(), position, length);
    return database.journaled ? PROCEED : this.unjournaled(database, pid);
  }

  /** A write that neither a journal nor a WAL tells of. */
  unjournaled(database: TrackedDatabase, pid: number): Verdict {
    if (pid === 0) database.writtenUnseen = true;
    this.main.tellUnjournaled(database);
    return database.marked ? PROCEED : this.mark(database);
  }

  mayResize(database: TrackedDatabase, node: FileNode, size: number): Verdict {
    if (!this.mayChange(database)) return DEFER;
    // SQLite cuts the file, at a checkpoint or when the journal is gone, to the last commit's size and not further.
    if (!database.journalOpen && this.cutsContent(database, size)) {
      if (!this.main.isLogged(database)) return DEFER;
      if (this.cutsContent(database, size)) {
        const marked = this.mark(database, 'durably');
        if (marked !== PROCEED) return marked;
        // What comes back may be zeros that nobody writes.
        database.dirtyUnknown = true;
      }
    }
    for (const pin of database.pins) pin.saveTail(node.fd(), size);
    return PROCEED;
  }

  /** Before a journal ends, or after the last writer of a file without one: main logs what changed. */
  settle(database: TrackedDatabase): Verdict {
    if (!this.main.resolve(database)) return DEFER;
    return database.changed ? this.main.askToLog(database) : PROCEED;
  }

  /** After the last writer, or at the end of the mount: what neither a journal's transaction nor a checkpoint changed. */
  settleUnjournaled(database: TrackedDatabase): void {
    const { changed, journalOpen, dirtyUnknown, checkpointing } = database;
    if (changed && !journalOpen && (dirtyUnknown || !checkpointing)) this.settle(database);
  }

  /**
   * After a sync of the file: SQLite makes one, without a journal, only at the end of a transaction. Not of a file that is
   * still being copied, piece by piece.
   */
  settleSynced(database: TrackedDatabase): void {
    if (database.changed && !database.journaled && this.isWhole(database)) this.settle(database);
  }

  /**
   * Makes a transaction of what was written without a journal, unless somebody may be in the middle of one: SQLite holds
   * EXCLUSIVE from its first write to its last. Nothing is written while this looks, and until it is logged. False: ask
   * again.
   */
  settleUnlocked(database: TrackedDatabase): boolean {
    if (!this.main.resolve(database)) return false;
    if (database.changed && !database.journaled) {
      if (database.writtenUnseen || !this.isWhole(database) || this.isLocked(database)) return false;
      this.settle(database);
    }
    database.watched = false;
    return true;
  }

  /**
   * What changes from now on is only known here: the next process must know that something did. `durably`: before another
   * file takes the place of the one that is there, also after a crash of the machine.
   */
  mark(database: TrackedDatabase, durably?: 'durably'): Verdict {
    try {
      if (durably === undefined) this.marks.set(database.name);
      else this.marks.setDurably(database.name);
      database.marked = true;
      return PROCEED;
    } catch (error) {
      return errnoOf(error);
    }
  }

  private mayChange(database: TrackedDatabase): boolean {
    if (database.pending !== undefined && !this.main.resolve(database)) return false;
    return !this.main.isHeld(database);
  }

  /** The file is as long as its header says, or nobody has it open. */
  private isWhole({ main }: TrackedDatabase): boolean {
    if (main === undefined) return true;
    if (readSync(main.fd(), this.head, 0, HEADER_SIZE, 0) < HEADER_SIZE) return false;
    const header = parseDatabaseHeader(this.head);
    if (header === undefined) return false;
    const { size } = fstatSync(main.fd());
    return databasePageCount(header, size) * header.pageSize <= size;
  }

  /** Whether somebody holds EXCLUSIVE, as far as can be known. */
  isLocked({ main }: TrackedDatabase): boolean {
    if (this.locks === undefined) return true;
    return main !== undefined && this.locks.isWriteLocked(main, SHARED_FIRST, SHARED_FIRST + SHARED_SIZE - 1);
  }

  /** Whether a transaction is being written, and not one played back: whoever does that goes from SHARED to EXCLUSIVE. */
  isReserved({ main }: TrackedDatabase): boolean {
    if (this.locks === undefined) return true;
    return main !== undefined && this.locks.isWriteLocked(main, RESERVED_BYTE, RESERVED_BYTE);
  }

  /** Whether somebody holds a lock to write on any byte of the file, wherever his SQLite has its lock bytes. */
  isWriteLocked({ main }: TrackedDatabase): boolean {
    return (
      this.locks === undefined || (main !== undefined && this.locks.isWriteLocked(main, 0, Number.MAX_SAFE_INTEGER))
    );
  }

  private cutsContent(database: TrackedDatabase, size: number): boolean {
    const { wal, checkpointing, isPassed } = database;
    const { backfilled } = database.passed;
    // Others may have made it longer, in the WAL, while a checkpoint waited.
    const isCheckpoint = checkpointing && isPassed && backfilled?.generation === wal.generation;
    const pages = isCheckpoint ? backfilled.pages : this.shared.position(database.slot).pageCount;
    return size < pages * database.pageSize;
  }
}
