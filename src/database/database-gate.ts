import { DEFER, errnoOf, type FileNode, PROCEED, type Verdict } from '../fuse/index.js';
import type { MainLink } from './main-link.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';
import type { UnloggedMarks } from './unlogged-marks.js';

/** What may happen to a database file, and when; its changes that no WAL has become transactions here. On the worker. */
export class DatabaseGate {
  constructor(
    private readonly shared: SharedState,
    private readonly main: MainLink,
    private readonly marks: UnloggedMarks,
  ) {}

  mayWrite(database: TrackedDatabase, node: FileNode, position: number, length: number): Verdict {
    if (!this.mayChange(database)) return DEFER;
    for (const pin of database.pins) pin.save(node.fd(), position, length);
    return database.marked || database.journaled ? PROCEED : this.mark(database);
  }

  mayResize(database: TrackedDatabase, node: FileNode, size: number): Verdict {
    if (!this.mayChange(database)) return DEFER;
    // SQLite cuts the file, at a checkpoint or when the journal is gone, to the last commit's size and not further.
    if (!database.journalOpen && this.cutsContent(database, size)) {
      if (!this.main.isLogged(database)) return DEFER;
      if (this.cutsContent(database, size)) {
        const marked = database.marked ? PROCEED : this.mark(database);
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

  /** What changes from now on is only known here: the next process must know that something did. */
  mark(database: TrackedDatabase): Verdict {
    try {
      this.marks.set(database.name);
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

  private cutsContent(database: TrackedDatabase, size: number): boolean {
    return size < this.shared.position(database.slot).pageCount * database.pageSize;
  }
}
