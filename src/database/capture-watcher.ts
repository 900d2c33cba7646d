import {
  DEFER,
  type FileNode,
  type HeldLocks,
  type LockFileFacts,
  PROCEED,
  type Verdict,
  type Watcher,
} from '../fuse/index.js';
import { HEADER_SIZE, hasDatabaseMagic, hasJournalMagic, JOURNAL_HEADER_SIZE } from '../sqlite/index.js';
import { CommitGate, type CommitParts } from './commit-gate.js';
import { DatabaseGate } from './database-gate.js';
import { FileOwners, type Owner } from './file-owners.js';
import { MainLink } from './main-link.js';
import { PinDesk } from './pin-desk.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';
import { TrackedDatabases } from './tracked-databases.js';
import type { UnloggedMarks } from './unlogged-marks.js';
import { VirtualFiles } from './virtual-files.js';
import { WalGate } from './wal-gate.js';
import type { FromWorker, Looked, ToWorker } from './worker-messages.js';

const EACCES = 13;
const EBUSY = 16;
const NOTHING: readonly number[] = [];
/** Of a journal. */
const MAGIC_SIZE = 8;

export interface CaptureOptions {
  readonly shared: SharedState;
  readonly backing: string;
  readonly marks: UnloggedMarks;
  /** Databases that exist already, with their slots. */
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  /** Whether the kernel may write WALs by itself; see WalLook. */
  readonly passthrough?: boolean;
  /** Where commits may have to wait until they are on other machines. */
  readonly commits?: CommitParts | undefined;
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
  private readonly main: MainLink;
  private readonly files: DatabaseGate;
  private readonly wals: WalGate;
  private readonly pins: PinDesk;
  private readonly owners: FileOwners;
  private readonly commits: CommitGate;
  private readonly syncList: number[] = [-1];

  constructor(private readonly options: CaptureOptions) {
    this.shared = options.shared;
    this.main = new MainLink(options.shared, options.send, (database) => this.pins.grant(database));
    this.files = new DatabaseGate(options.shared, this.main, options.marks);
    this.wals = new WalGate(this.main, this.files);
    this.commits = new CommitGate(options.commits, options.shared, this.main, (database) =>
      this.files.isReserved(database),
    );
    this.pins = new PinDesk(options.shared, this.main, (database) => this.wals.inFile(database));
    this.databases = new TrackedDatabases(options.backing, options.shared, options.databases, (slot, name) =>
      options.send({ kind: 'found', slot, name }),
    );
    const { databases, main, files, wals, pins } = this;
    this.owners = new FileOwners({ databases, marks: options.marks, main, files, wals, pins });
    this.virtualFiles = new VirtualFiles(this.shared, (name) => this.databases.slotOf(name));
    for (const database of this.databases.all()) {
      this.databases.load(database);
      if (options.marks.has(database.name)) {
        database.dirtyUnknown = true;
        database.marked = true;
      }
      this.main.publishWal(database);
      // Somebody may be in the middle of a transaction, by the locks that are seen once the mount answers.
      if (database.marked && !database.journalOpen) this.main.tellUnjournaled(database);
    }
  }

  serving(locks: HeldLocks): void {
    this.files.locks = locks;
  }

  // --- names ----------------------------------------------------------------------------------------------------

  added(node: FileNode, created: boolean): void {
    this.owners.added(node, created);
  }

  removed(node: FileNode): void {
    this.owners.removed(node);
  }

  renamed(node: FileNode, oldPath: string): void {
    this.owners.renamed(node, oldPath);
  }

  // --- may it happen? -------------------------------------------------------------------------------------------

  mayOpen(): Verdict {
    return PROCEED;
  }

  /** A WAL, and the wal-index that tells how far it is committed: both or none. */
  mayPass(node: FileNode): boolean {
    const { kind, database } = node.tag as Owner;
    if (this.options.passthrough !== true || database === undefined || this.commits.isAwaited(database)) return false;
    if (kind === 'shm') return true;
    if (kind !== 'wal' || isUsedUnpassed(database.shmNode)) return false;
    this.owners.watchWal(database, true);
    return true;
  }

  mustPass(node: FileNode): boolean {
    const { kind, database } = node.tag as Owner;
    return kind === 'shm' && database?.isPassed === true;
  }

  mayCreate(path: string): Verdict {
    return this.virtualFiles.isReserved(path) ? EACCES : PROCEED;
  }

  maySetAttributes(): Verdict {
    return PROCEED;
  }

  mayChange(): Verdict {
    return PROCEED;
  }

  mayWrite(node: FileNode, position: number, data: Buffer, start: number, length: number, pid: number): Verdict {
    const tag = node.tag as Owner;
    const database = tag.database;
    if (database === undefined) return PROCEED;
    switch (tag.kind) {
      case 'wal':
        return this.mayWriteWal(database, node, position, data, start, length);
      case 'journal':
        return isJournalCommit(position, data, start, length) ? this.mayEndJournal(database, node) : PROCEED;
      case 'main': {
        const caughtUp = this.wals.mayCheckpoint(database);
        return caughtUp === PROCEED ? this.files.mayWrite(database, node, position, length, pid) : caughtUp;
      }
      default:
        return PROCEED;
    }
  }

  mayResize(node: FileNode, size: number): Verdict {
    const tag = node.tag as Owner;
    const database = tag.database;
    if (database === undefined) return PROCEED;
    switch (tag.kind) {
      case 'wal':
        this.wals.look(database);
        return size < database.wal.committedEnd ? this.wals.mayLeave(database, true) : PROCEED;
      case 'journal':
        return size === 0 ? this.mayEndJournal(database, node) : PROCEED;
      case 'main': {
        const caughtUp = this.wals.mayEndCheckpoint(database, node, size);
        return caughtUp === PROCEED ? this.files.mayResize(database, node, size) : caughtUp;
      }
      default:
        return PROCEED;
    }
  }

  mayUnlink(node: FileNode): Verdict {
    const tag = node.tag as Owner;
    if (tag.database === undefined) return PROCEED;
    if (this.isOthers(node, tag)) return EBUSY;
    if (tag.kind === 'wal') return this.wals.mayLeave(tag.database, true);
    if (tag.kind === 'journal') return this.mayEndJournal(tag.database, node);
    if (tag.kind !== 'main') return PROCEED;
    this.wals.look(tag.database);
    // Its state and its log stay, and would be believed of the file that comes in its place.
    return this.files.mark(tag.database, 'durably');
  }

  mayRename(oldPath: string, newPath: string, replaced: FileNode | undefined): Verdict {
    if (this.virtualFiles.isReserved(newPath)) return EACCES;
    for (const database of this.databases.all()) {
      const { name, main } = database;
      if (main === undefined || (name !== oldPath && !name.startsWith(`${oldPath}/`))) continue;
      this.wals.look(database);
      const marked = this.files.mark(database, 'durably');
      if (marked !== PROCEED) return marked;
    }
    return replaced === undefined ? PROCEED : this.mayUnlink(replaced);
  }

  // --- it happened ----------------------------------------------------------------------------------------------

  wrote(node: FileNode, position: number, data: Buffer, start: number, length: number, pid: number): void {
    const tag = node.tag as Owner;
    const database = tag.database;
    switch (tag.kind) {
      case 'wal':
        if (database !== undefined) this.wals.wrote(database, position, data, start, length);
        return;
      case 'journal':
        if (database === undefined) return;
        if (isJournalCommit(position, data, start, length)) this.pins.journalEnded(database);
        // Without its magic number a journal is none yet: nothing of its transaction is in the database file.
        else if (position === 0 && length >= MAGIC_SIZE && hasJournalMagic(data, start)) database.journalOpen = true;
        return;
      case 'main':
        this.wroteMain(node, tag, position, data, start, length, pid);
        return;
      default:
    }
  }

  awaits(node: FileNode): boolean {
    const { kind, database } = node.tag as Owner;
    return kind === 'wal' && database !== undefined && this.commits.isAwaited(database);
  }

  mayAnswer(node: FileNode, position: number, length: number): Verdict {
    const { database } = node.tag as Owner;
    return database === undefined ? PROCEED : this.commits.mayAnswer(database, node, position, length);
  }

  resized(node: FileNode, size: number): void {
    const tag = node.tag as Owner;
    const database = tag.database;
    if (database === undefined) return;
    if (tag.kind === 'wal') this.wals.resized(database, size);
    else if (tag.kind === 'journal') {
      if (size === 0) this.pins.journalEnded(database);
    } else if (tag.kind === 'main') {
      this.shared.countFileWrite(database.slot);
      if (database.journalOpen) database.resized = true;
      // By its path: no close follows.
      else if (node.writers === 0) this.files.settleUnjournaled(database);
    }
  }

  released(node: FileNode, wrote: boolean): void {
    if (!wrote) return;
    const tag = node.tag as Owner | undefined;
    if (tag?.kind === 'shm' && tag.database !== undefined) {
      const { passed } = tag.database;
      passed.indexMoves = false;
      // It may be long since that was seen.
      passed.published = undefined;
    }
    if (tag?.kind !== 'main' || node.writers > 0) return;
    const database = tag.database;
    // Its first bytes may have come in pieces too small to be known for a database.
    if (database === undefined) {
      if (!node.orphan) this.owners.arrived(node, tag);
      return;
    }
    this.wals.look(database);
    this.files.settleUnjournaled(database);
  }

  /** The mount is gone: what was written without a journal, and not closed in time to be seen, is a transaction too. */
  ended(): void {
    for (const database of this.databases.all()) {
      this.wals.look(database, true);
      this.files.settleUnjournaled(database);
    }
  }

  // --- durability -----------------------------------------------------------------------------------------------

  /**
   * A checkpoint makes the database file the durable copy of transactions instead of the WAL, so the log has to be
   * durable too. In rollback modes the commit is durable before it is logged, and main syncs the log now and then.
   * Without a journal, this is the end of a transaction.
   */
  alsoSync(node: FileNode): readonly number[] {
    const tag = node.tag as Owner;
    const database = tag.database;
    if (database === undefined || tag.kind !== 'main') return NOTHING;
    if (!database.checkpointing) {
      this.files.settleSynced(database);
      return NOTHING;
    }
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

  /** Here who has it has that lock, and nothing else. */
  lockFile(path: string): LockFileFacts | undefined {
    const like = this.virtualFiles.lockedBy(path);
    return like === undefined ? undefined : { like, mayWrite: PROCEED };
  }

  hidden(name: string): boolean {
    return this.virtualFiles.isHidden(name);
  }

  woken(): void {
    this.takeMessages();
    this.pins.tryAll();
  }

  private mayEndJournal(database: TrackedDatabase, journal: FileNode): Verdict {
    this.commits.settling(database);
    const settled = this.files.settle(database);
    if (settled !== PROCEED) return settled;
    const verdict = this.commits.mayEndJournal(database, journal);
    if (verdict === DEFER) this.pins.grant(database);
    return verdict;
  }

  private mayWriteWal(
    database: TrackedDatabase,
    node: FileNode,
    position: number,
    data: Buffer,
    start: number,
    length: number,
  ): Verdict {
    const refused = this.commits.mayWrite(database, position, length);
    if (refused !== PROCEED) return refused;
    if (database.waitingPins.length > 0) {
      this.pins.grant(database);
      if (database.waitingPins.length > 0 && !database.journalOpen) return DEFER;
    }
    return this.wals.mayWrite(database, node, position, data, start, length);
  }

  /**
   * A -wal or -shm that somebody may write, and not who unlinks it: SQLite holds EXCLUSIVE then. It is an application that
   * outlived an earlier mount, and finds this one's files by their path when it closes its own.
   */
  private isOthers(node: FileNode, { kind, database }: Owner): boolean {
    if ((kind !== 'wal' && kind !== 'shm') || node.writers === 0) return false;
    return database?.main !== undefined && database.pageSize !== 0 && !this.files.isWriteLocked(database);
  }

  private look(slot: number): void {
    const database = this.databases.at(slot);
    let looked: Looked = { frames: 0, more: false, published: undefined };
    try {
      if (database !== undefined) looked = this.wals.lookFor(database);
    } catch {
      // The files cannot be read now: main asks again.
      looked = { ...looked, more: true };
    }
    this.options.send({ kind: 'looked', slot, looked });
  }

  // --- database file --------------------------------------------------------------------------------------------

  private wroteMain(
    node: FileNode,
    tag: Owner,
    position: number,
    data: Buffer,
    start: number,
    length: number,
    pid: number,
  ): void {
    let database = tag.database;
    if (database === undefined) {
      // Without a name it is nobody's database, though its last user may go on with it.
      if (node.orphan || position !== 0 || length < HEADER_SIZE || !hasDatabaseMagic(data, start)) return;
      database = this.owners.create(node, tag);
      if (database === undefined) return;
      if (!database.journaled) this.files.unjournaled(database, pid);
    }
    this.shared.countFileWrite(database.slot);
    if (position === 0) database.notePageSize(data, start, length);
    if (!database.checkpointing) database.noteWrite(position, length);
  }

  /** What was written without a journal is, or was, taken for a transaction. */
  private isSettled(database: TrackedDatabase | undefined): boolean {
    try {
      if (database === undefined) return true;
      this.wals.look(database);
      return this.files.settleUnlocked(database);
    } catch {
      // The file cannot be read now: main asks again.
      return false;
    }
  }

  /** Tells main of all that is committed. False if something could not be looked at, or may be in the middle of a transaction. */
  private catchUp(slot: number | undefined): boolean {
    let complete = true;
    for (const database of this.databases.all()) {
      if (slot !== undefined && database.slot !== slot) continue;
      try {
        this.wals.look(database);
        if (database.watched && !this.files.settleUnlocked(database)) complete = false;
      } catch {
        complete = false;
      }
    }
    return complete;
  }

  // --- pins -----------------------------------------------------------------------------------------------------

  private takeMessages(): void {
    for (let message = this.options.receive(); message !== undefined; message = this.options.receive()) {
      if (message.kind === 'primary') {
        this.virtualFiles.primary = message.address;
        continue;
      }
      // A replica's.
      if ('name' in message) continue;
      if (message.kind === 'look') {
        this.look(message.slot);
        continue;
      }
      if (message.kind === 'catch-up') {
        this.options.send({ kind: 'caught-up', ticket: message.ticket, complete: this.catchUp(message.slot) });
        continue;
      }
      const database = this.databases.at(message.slot);
      if (message.kind === 'settle') {
        this.options.send({ kind: 'settled', slot: message.slot, ended: this.isSettled(database) });
      } else if (message.kind === 'unpin') {
        if (database !== undefined) this.pins.end(database, message.pin);
      } else if (database === undefined) this.pins.refuse(message.slot, message.pin, 'no such database');
      else this.pins.ask(database, message);
    }
  }
}

/** By handles that ask us. */
function isUsedUnpassed(node: FileNode | undefined): boolean {
  return node !== undefined && !node.passed && (node.handles > 0 || node.inherited);
}

function isJournalCommit(position: number, data: Buffer, start: number, length: number): boolean {
  if (position !== 0 || length !== JOURNAL_HEADER_SIZE) return false;
  for (let i = start; i < start + length; i++) if (data[i] !== 0) return false;
  return true;
}
