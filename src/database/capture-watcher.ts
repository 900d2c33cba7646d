import { readSync } from 'node:fs';
import { DEFER, type FileNode, PROCEED, type Verdict, type Watcher } from '../fuse/index.js';
import { companionOf, HEADER_SIZE, hasDatabaseMagic, hasJournalMagic, JOURNAL_HEADER_SIZE } from '../sqlite/index.js';
import { PinFlags } from './pin-flags.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';
import { TrackedDatabases } from './tracked-databases.js';
import { VirtualFiles } from './virtual-files.js';
import type { FromWorker, ToWorker } from './worker-messages.js';
import { WorkerPin } from './worker-pin.js';

const EACCES = 13;
const COMPANIONS = ['wal', 'shm', 'journal'] as const;
const NOTHING: readonly number[] = [];

type Kind = 'main' | 'wal' | 'shm' | 'journal';

interface Tag {
  kind: Kind;
  database: TrackedDatabase | undefined;
}

export interface CaptureOptions {
  readonly shared: SharedState;
  readonly backing: string;
  /** Databases that exist already, with their slots. */
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  readonly send: (message: FromWorker) => void;
  /** The next message from main, if there is one. */
  readonly receive: () => ToWorker | undefined;
}

/**
 * The primary's watcher: sees each write, finds out where transactions end, and holds back what must not happen before
 * main has logged them. On the worker thread.
 */
export class CaptureWatcher implements Watcher {
  private readonly shared: SharedState;
  private readonly databases: TrackedDatabases;
  private readonly virtualFiles: VirtualFiles;
  /** Main files and candidates that the kernel knows, by path. */
  private readonly mains = new Map<string, FileNode>();
  /** Files with a companion's suffix whose database is not known (yet), by path. */
  private readonly strays = new Map<string, FileNode>();
  private readonly pinWaiters = new Set<TrackedDatabase>();
  private readonly syncList: number[] = [-1];
  private sequence = 0;
  private compare = Buffer.alloc(0);

  constructor(private readonly options: CaptureOptions) {
    this.shared = options.shared;
    this.databases = new TrackedDatabases(options.backing, options.databases, (slot, name) =>
      options.send({ kind: 'found', slot, name }),
    );
    this.virtualFiles = new VirtualFiles(this.shared, (name) => this.databases.get(name)?.slot);
    for (const database of this.databases.all()) {
      this.databases.load(database);
      this.shared.publishWal(database.slot, database.wal.generation, database.wal.committedFrames);
    }
  }

  // --- names ----------------------------------------------------------------------------------------------------

  added(node: FileNode, created: boolean): void {
    const companion = companionOf(node.path);
    if (companion === undefined) {
      const database = this.databases.get(node.path);
      if (database !== undefined) database.main = node;
      this.mains.set(node.path, node);
      node.tag = { kind: 'main', database } satisfies Tag;
      return;
    }
    const main = this.mains.get(companion.database);
    const database =
      this.databases.get(companion.database) ?? (main === undefined ? undefined : this.create(main, main.tag as Tag));
    node.tag = { kind: companion.kind, database } satisfies Tag;
    if (database === undefined) this.strays.set(node.path, node);
    else if (companion.kind === 'wal') {
      database.walNode = node;
      if (created) this.clearWal(database);
    }
  }

  removed(node: FileNode): void {
    const tag = node.tag as Tag | undefined;
    if (tag === undefined) return;
    const database = tag.database;
    this.strays.delete(node.path);
    if (tag.kind === 'main') {
      if (this.mains.get(node.path) === node) this.mains.delete(node.path);
      if (database?.main === node) this.drop(database);
    } else if (database !== undefined) {
      this.companionGone(tag.kind, database, node);
    }
    tag.database = undefined;
  }

  renamed(node: FileNode, oldPath: string): void {
    const tag = node.tag as Tag | undefined;
    if (tag === undefined) return;
    this.strays.delete(oldPath);
    if (tag.kind === 'main') {
      if (this.mains.get(oldPath) === node) this.mains.delete(oldPath);
      if (tag.database?.main === node) this.drop(tag.database);
    } else if (tag.database !== undefined) {
      this.companionGone(tag.kind, tag.database, node);
    }
    this.added(node, false);
    const now = node.tag as Tag;
    if (now.kind === 'main') this.arrived(node, now);
    else if (now.kind === 'wal' && now.database !== undefined) {
      now.database.wal.load();
      this.publishWal(now.database);
    }
  }

  // --- may it happen? -------------------------------------------------------------------------------------------

  mayOpen(): Verdict {
    return PROCEED;
  }

  mayCreate(path: string): Verdict {
    return this.virtualFiles.isReserved(path) ? EACCES : PROCEED;
  }

  mayChange(): Verdict {
    return PROCEED;
  }

  mayWrite(node: FileNode, position: number, data: Buffer, start: number, length: number): Verdict {
    const tag = node.tag as Tag;
    const database = tag.database;
    if (database === undefined) return PROCEED;
    switch (tag.kind) {
      case 'wal':
        return this.mayWriteWal(database, node, position, data, start, length);
      case 'journal':
        return isJournalCommit(position, data, start, length) ? this.settle(database) : PROCEED;
      case 'main':
        if (!this.mayChangeMain(database)) return DEFER;
        for (const pin of database.pins) pin.save(node.fd(), position, length);
        return PROCEED;
      default:
        return PROCEED;
    }
  }

  mayResize(node: FileNode, size: number): Verdict {
    const tag = node.tag as Tag;
    const database = tag.database;
    if (database === undefined) return PROCEED;
    switch (tag.kind) {
      case 'wal':
        return size < database.wal.committedEnd ? this.mayLoseWal(database) : PROCEED;
      case 'journal':
        return size === 0 ? this.settle(database) : PROCEED;
      case 'main':
        if (!this.mayChangeMain(database)) return DEFER;
        for (const pin of database.pins) pin.saveTail(node.fd(), size);
        return PROCEED;
      default:
        return PROCEED;
    }
  }

  mayUnlink(node: FileNode): Verdict {
    const tag = node.tag as Tag;
    if (tag.database === undefined) return PROCEED;
    if (tag.kind === 'wal') return this.mayLoseWal(tag.database);
    if (tag.kind === 'journal') return this.settle(tag.database);
    return PROCEED;
  }

  mayRename(_oldPath: string, newPath: string, replaced: FileNode | undefined): Verdict {
    if (this.virtualFiles.isReserved(newPath)) return EACCES;
    return replaced === undefined ? PROCEED : this.mayUnlink(replaced);
  }

  // --- it happened ----------------------------------------------------------------------------------------------

  wrote(node: FileNode, position: number, data: Buffer, start: number, length: number): void {
    const tag = node.tag as Tag;
    const database = tag.database;
    switch (tag.kind) {
      case 'wal':
        if (database !== undefined) this.wroteWal(database, position, data, start, length);
        return;
      case 'journal':
        if (database === undefined) return;
        if (isJournalCommit(position, data, start, length)) this.journalEnded(database);
        else database.journalOpen = true;
        return;
      case 'main':
        this.wroteMain(node, tag, position, data, start, length);
        return;
      default:
    }
  }

  resized(node: FileNode, size: number): void {
    const tag = node.tag as Tag;
    const database = tag.database;
    if (database === undefined) return;
    if (tag.kind === 'wal') {
      if (size === 0) this.clearWal(database);
      else if (size < database.wal.committedEnd) {
        database.wal.load();
        this.publishWal(database);
      }
    } else if (tag.kind === 'journal') {
      if (size === 0) this.journalEnded(database);
    } else if (tag.kind === 'main') {
      this.shared.countFileWrite(database.slot);
      if (!database.checkpointing) this.resizedMain(database, size);
    }
  }

  released(node: FileNode, wrote: boolean): void {
    if (!wrote) return;
    const tag = node.tag as Tag | undefined;
    if (tag?.kind !== 'main' || node.writers > 0) return;
    const database = tag.database;
    // Its first bytes may have come in pieces too small to be known for a database.
    if (database === undefined) {
      if (!node.orphan) this.arrived(node, tag);
      return;
    }
    if (this.hasUnjournaled(database)) this.settle(database);
  }

  /** The mount is gone: what was written without a journal, and not closed in time to be seen, is a transaction too. */
  ended(): void {
    for (const database of this.databases.all()) {
      if (this.hasUnjournaled(database)) this.settle(database);
    }
  }

  // --- durability -----------------------------------------------------------------------------------------------

  /**
   * A checkpoint makes the database file the durable copy of transactions instead of the WAL, so the log has to be
   * durable too. In rollback modes the commit is durable before it is logged, and main syncs the log now and then.
   */
  alsoSync(node: FileNode): readonly number[] {
    const tag = node.tag as Tag;
    const database = tag.database;
    if (database === undefined || tag.kind !== 'main' || !database.checkpointing) return NOTHING;
    if (!this.shared.takeLogDirty(database.slot)) return NOTHING;
    const fd = this.shared.logFd(database.slot);
    if (fd < 0) return NOTHING;
    this.syncList[0] = fd;
    return this.syncList;
  }

  alsoSyncFolder(): readonly number[] {
    return NOTHING;
  }

  // --- virtual files, wake-ups -----------------------------------------------------------------------------------

  virtual(path: string): Buffer | undefined {
    if (path === '.primary') this.takeMessages();
    return this.virtualFiles.content(path);
  }

  hidden(name: string): boolean {
    return this.virtualFiles.isHidden(name);
  }

  woken(): void {
    this.takeMessages();
    for (const database of this.pinWaiters) {
      if (this.resolvePending(database)) this.grantPins(database);
    }
  }

  // --- WAL ------------------------------------------------------------------------------------------------------

  private mayWriteWal(
    database: TrackedDatabase,
    node: FileNode,
    position: number,
    data: Buffer,
    start: number,
    length: number,
  ): Verdict {
    if (database.waitingPins.length > 0) {
      this.grantPins(database);
      if (database.waitingPins.length > 0 && !database.journalOpen) return DEFER;
    }
    if (position < 32) return database.wal.header === undefined ? PROCEED : this.mayLoseWal(database);
    if (!database.wal.overwritesCommitted(position)) return PROCEED;
    if (this.isSame(node, position, data, start, Math.min(length, database.wal.committedEnd - position)))
      return PROCEED;
    if (!this.resolvePending(database)) return DEFER;
    // Taken back by now, if that was what main had to finish.
    if (!database.wal.overwritesCommitted(position)) return PROCEED;
    if (this.isHeld(database) || !this.isLogged(database)) return DEFER;
    for (const pin of database.pins) pin.saveWal();
    const frames = database.wal.framesBefore(position);
    const sequence = ++this.sequence;
    database.pending = { kind: 'undo', sequence, frames };
    const { slot, wal } = database;
    this.options.send({ kind: 'undo', slot, sequence, generation: wal.generation, frames });
    return this.resolvePending(database) ? PROCEED : DEFER;
  }

  /** Before the WAL's frames go away (a new header, truncation, removal): all of it must be in the log. */
  private mayLoseWal(database: TrackedDatabase): Verdict {
    if (database.wal.header === undefined) return PROCEED;
    if (this.isHeld(database)) return DEFER;
    if (database.wal.verify()) this.publishWal(database);
    if (!this.isLogged(database)) return DEFER;
    for (const pin of database.pins) pin.saveWal();
    return PROCEED;
  }

  private wroteWal(database: TrackedDatabase, position: number, data: Buffer, start: number, length: number): void {
    const wal = database.wal;
    let skip = 0;
    if (wal.overwritesCommitted(position)) {
      // A request that the kernel presented again: these bytes are what the file has.
      skip = wal.committedEnd - position;
      if (skip >= length) return;
    }
    const generation = wal.generation;
    const committed = wal.wrote(position + skip, data, start + skip, length - skip);
    if (wal.generation !== generation) this.shared.beginWal(database.slot, wal.generation);
    if (committed) this.publishWal(database);
  }

  private publishWal(database: TrackedDatabase): void {
    this.shared.publishWal(database.slot, database.wal.generation, database.wal.committedFrames);
  }

  private clearWal(database: TrackedDatabase): void {
    database.wal.clear();
    this.shared.beginWal(database.slot, database.wal.generation);
  }

  private isLogged(database: TrackedDatabase): boolean {
    const { slot, wal } = database;
    if (this.shared.isLogged(slot, wal.generation, wal.committedFrames)) return true;
    this.shared.setWaiting(slot);
    if (this.shared.isLogged(slot, wal.generation, wal.committedFrames)) return true;
    this.shared.ringBell(slot);
    return false;
  }

  /** Whether main reads the whole database just now. */
  private isHeld(database: TrackedDatabase): boolean {
    const { slot } = database;
    if (!this.shared.isHeld(slot)) return false;
    this.shared.setWaiting(slot);
    return this.shared.isHeld(slot);
  }

  private isSame(node: FileNode, position: number, data: Buffer, start: number, length: number): boolean {
    if (this.compare.length < length) this.compare = Buffer.alloc(length);
    const read = readSync(node.fd(), this.compare, 0, length, position);
    return read === length && this.compare.compare(data, start, start + length, 0, length) === 0;
  }

  // --- rollback journal -----------------------------------------------------------------------------------------

  /** Before a journal ends, or after the last writer of a file without one: main logs what changed. */
  private settle(database: TrackedDatabase): Verdict {
    if (!this.resolvePending(database)) return DEFER;
    if (!database.changed) return PROCEED;
    const sequence = ++this.sequence;
    database.pending = { kind: 'changed', sequence };
    const pages = database.dirtyUnknown ? undefined : database.dirty.toArray();
    this.options.send({ kind: 'changed', slot: database.slot, sequence, pages });
    return this.resolvePending(database) ? PROCEED : DEFER;
  }

  /** Whether main is done with what was asked; if so its consequences are drawn. */
  private resolvePending(database: TrackedDatabase): boolean {
    const pending = database.pending;
    if (pending === undefined) return true;
    if (this.shared.settled(database.slot) < pending.sequence) {
      this.shared.setWaiting(database.slot);
      if (this.shared.settled(database.slot) < pending.sequence) return false;
    }
    database.pending = undefined;
    if (pending.kind === 'changed') database.clearChanges();
    if (pending.kind === 'undo') {
      database.wal.takeBack(pending.frames);
      this.publishWal(database);
    }
    this.grantPins(database);
    return true;
  }

  private journalEnded(database: TrackedDatabase): void {
    database.journalOpen = false;
    this.grantPins(database);
  }

  // --- database file --------------------------------------------------------------------------------------------

  private wroteMain(node: FileNode, tag: Tag, position: number, data: Buffer, start: number, length: number): void {
    let database = tag.database;
    if (database === undefined) {
      if (position !== 0 || length < HEADER_SIZE || !hasDatabaseMagic(data, start)) return;
      database = this.create(node, tag);
      if (database === undefined) return;
    }
    this.shared.countFileWrite(database.slot);
    if (position === 0) database.notePageSize(data, start, length);
    if (!database.checkpointing) database.noteWrite(position, length);
  }

  private mayChangeMain(database: TrackedDatabase): boolean {
    if (database.pending !== undefined && !this.resolvePending(database)) return false;
    return !this.isHeld(database);
  }

  /** Whether the file has changes that are neither a journal's transaction nor a checkpoint's. */
  private hasUnjournaled(database: TrackedDatabase): boolean {
    return database.changed && !database.journalOpen && (database.dirtyUnknown || !database.checkpointing);
  }

  private resizedMain(database: TrackedDatabase, size: number): void {
    if (database.journalOpen) {
      database.resized = true;
      return;
    }
    // In a rollback mode SQLite cuts off free space when the journal is gone: the position is of that size already.
    // Cut further, without a journal, by something else than SQLite: what comes back may be zeros that nobody writes.
    const { pageCount } = this.shared.position(database.slot);
    if (size < pageCount * database.pageSize) database.dirtyUnknown = true;
  }

  /** A file came under this name by a rename: if it is a database, all of it is new. */
  private arrived(node: FileNode, tag: Tag): void {
    const head = Buffer.alloc(HEADER_SIZE);
    if (readSync(node.fd(), head, 0, HEADER_SIZE, 0) < HEADER_SIZE || !hasDatabaseMagic(head)) return;
    const database = tag.database ?? this.create(node, tag);
    if (database === undefined) return;
    database.main = node;
    database.notePageSize(head, 0, HEADER_SIZE);
    database.dirtyUnknown = true;
    // A drop that is still under way keeps its place: main takes both in order.
    database.pending = undefined;
    this.settle(database);
  }

  /** Takes a file for a database from now on, with what stands beside it. Undefined if the node holds too many. */
  private create(node: FileNode, tag: Tag): TrackedDatabase | undefined {
    const database = this.databases.create(node.path);
    if (database === undefined) return undefined;
    database.main = node;
    database.dirtyUnknown = true;
    tag.database = database;
    for (const kind of COMPANIONS) {
      const companion = this.strays.get(`${node.path}-${kind}`);
      if (companion === undefined) continue;
      this.strays.delete(companion.path);
      (companion.tag as Tag).database = database;
      if (kind === 'wal') {
        database.walNode = companion;
        database.wal.load();
        this.publishWal(database);
      } else if (kind === 'journal') {
        database.journalOpen = startsJournal(companion);
      }
    }
    return database;
  }

  private drop(database: TrackedDatabase): void {
    database.main = undefined;
    database.pageSize = 0;
    database.journalOpen = false;
    database.clearChanges();
    for (const pin of database.pins.splice(0)) pin.close();
    const sequence = ++this.sequence;
    database.pending = { kind: 'dropped', sequence };
    this.options.send({ kind: 'dropped', slot: database.slot, sequence });
  }

  private companionGone(kind: Kind, database: TrackedDatabase, node: FileNode): void {
    if (kind === 'wal' && database.walNode === node) {
      this.clearWal(database);
      database.walNode = undefined;
    } else if (kind === 'journal') {
      this.journalEnded(database);
    }
  }

  // --- pins -----------------------------------------------------------------------------------------------------

  private takeMessages(): void {
    for (let message = this.options.receive(); message !== undefined; message = this.options.receive()) {
      if (message.kind === 'primary') {
        this.virtualFiles.primary = message.address;
        continue;
      }
      if (message.kind === 'slot') continue;
      const database = this.databases.at(message.slot);
      if (message.kind === 'pin') {
        if (database === undefined) {
          this.refusePin(message.slot, message.pin, 'no such database');
          continue;
        }
        database.waitingPins.push(message);
        this.pinWaiters.add(database);
      } else if (database !== undefined) {
        const index = database.pins.findIndex((pin) => pin.id === message.pin);
        if (index >= 0) database.pins.splice(index, 1)[0]!.close();
        const waiting = database.waitingPins.findIndex((pin) => pin.pin === message.pin);
        if (waiting >= 0) database.waitingPins.splice(waiting, 1);
      }
    }
  }

  private refusePin(slot: number, pin: number, reason: string): void {
    this.options.send({ kind: 'pin-failed', slot, pin, reason });
  }

  /** Grants what waits, if the database is between two transactions and main has logged all of them. */
  private grantPins(database: TrackedDatabase): void {
    if (database.waitingPins.length === 0) return;
    const { slot, wal } = database;
    if (database.journalOpen || database.pending !== undefined) return;
    if (database.changed && !database.checkpointing) return;
    if (!this.isLogged(database)) return;
    this.pinWaiters.delete(database);
    const frames = wal.header === undefined ? 0 : wal.committedFrames;
    const position = this.shared.position(slot);
    for (const { pin, path } of database.waitingPins.splice(0)) {
      if (database.pageSize === 0 || position.pageCount === 0) {
        this.refusePin(slot, pin, 'the database is gone');
        continue;
      }
      const flags = new PinFlags({ pages: position.pageCount });
      database.pins.push(new WorkerPin(pin, flags, path, database.pageSize, database.walPath, frames));
      const { pageSize } = database;
      this.options.send({ kind: 'pinned', slot, pin, flags: flags.buffer, frames, pageSize, ...position });
    }
  }
}

function startsJournal(node: FileNode): boolean {
  const head = Buffer.alloc(JOURNAL_HEADER_SIZE);
  return readSync(node.fd(), head, 0, head.length, 0) === head.length && hasJournalMagic(head);
}

function isJournalCommit(position: number, data: Buffer, start: number, length: number): boolean {
  if (position !== 0 || length !== JOURNAL_HEADER_SIZE) return false;
  for (let i = start; i < start + length; i++) if (data[i] !== 0) return false;
  return true;
}
