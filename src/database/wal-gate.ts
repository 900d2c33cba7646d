import { readSync } from '../disk/index.js';
import { DEFER, type FileNode, PROCEED, type Verdict } from '../fuse/index.js';
import { WAL_HEADER_SIZE } from '../sqlite/index.js';
import type { MainLink } from './main-link.js';
import type { TrackedDatabase } from './tracked-database.js';

/** What may happen to a database's WAL, and when; finds its commits. On the worker. */
export class WalGate {
  private bytes = Buffer.alloc(0);

  constructor(private readonly main: MainLink) {}

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
    const { wal } = database;
    if (wal.header === undefined) return PROCEED;
    if (!main.resolve(database) || main.isHeld(database)) return DEFER;
    if (wal.verify()) main.publishWal(database);
    if (!main.isLogged(database)) return DEFER;
    if (!this.isCompared(database) && main.askToCompare(database, all) === DEFER) return DEFER;
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

  private isCompared({ wal, compared }: TrackedDatabase): boolean {
    if (wal.committedFrames === 0) return true;
    return compared?.generation === wal.generation && compared.frames === wal.committedFrames;
  }

  private isSame(node: FileNode, position: number, data: Buffer, start: number, length: number): boolean {
    if (this.bytes.length < length) this.bytes = Buffer.alloc(length);
    const read = readSync(node.fd(), this.bytes, 0, length, position);
    return read === length && this.bytes.compare(data, start, start + length, 0, length) === 0;
  }
}
