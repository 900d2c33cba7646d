import { readSync } from '../disk/index.js';
import {
  DEFER,
  F_RDLCK,
  F_UNLCK,
  type FileNode,
  type HeldLocks,
  type LockFileFacts,
  type LockOwner,
  type MayLock,
  PROCEED,
  type Verdict,
  type VirtualLock,
  type VirtualNode,
} from '../fuse/index.js';
import { monotonicMs } from '../monotonic.js';
import {
  companionOf,
  hasJournalMagic,
  JOURNAL_HEADER_SIZE,
  RESERVED_BYTE,
  SHARED_FIRST,
  SHARED_SIZE,
  WAL_CHECKPOINT_BYTE,
  WAL_WRITE_BYTE,
} from '../sqlite/index.js';
import { HandLocks } from './hand-locks.js';
import { nameProblem } from './names.js';
import { ReplicaWatcher, type ReplicaWatcherOptions } from './replica-watcher.js';
import type { FromWorker, ToWorker, WorkerCommit } from './worker-messages.js';
import { isOwner, WrittenDatabase } from './written-database.js';

const EIO = 5;
const EAGAIN = 11;
const EACCES = 13;
const EROFS = 30;
const O_TRUNC = 0x200;
const MAGIC_SIZE = 8;
/** SQLite attaches 125 databases at most. */
const MAX_SUPER_BYTES = 256 * 1024;
/** What SQLite calls the journal of a transaction over several databases. */
const SUPER_JOURNAL = /-mj[0-9A-F]{6,}$/;

type Kind = 'main' | 'wal' | 'shm' | 'journal' | 'super';

interface Owner {
  readonly kind: Kind;
  readonly database: WrittenDatabase | undefined;
}

export interface ForwardingOptions extends ReplicaWatcherOptions {
  readonly send: (message: FromWorker) => void;
}

/**
 * The watcher of a replica where applications write. SQLite's write lock is had when the primary's is; what a transaction
 * writes stays scratch, which readers do not look at, until the write that commits it, which waits for the primary's word.
 */
export class ForwardingWatcher extends ReplicaWatcher {
  private readonly written = new Map<string, WrittenDatabase>();
  private locks: HeldLocks | undefined;
  private readonly byHand: HandLocks;

  constructor(private readonly forwarding: ForwardingOptions) {
    super(forwarding);
    this.byHand = new HandLocks(forwarding.send);
  }

  serving(locks: HeldLocks): void {
    this.locks = locks;
  }

  // --- names ----------------------------------------------------------------------------------------------------

  override added(node: FileNode): void {
    const companion = companionOf(node.path);
    const kind = companion?.kind ?? (SUPER_JOURNAL.test(node.path) ? 'super' : 'main');
    const name = companion?.database ?? node.path;
    const database = kind === 'super' || nameProblem(name) !== undefined ? undefined : this.databaseOf(name);
    node.tag = { kind, database } satisfies Owner;
    if (database === undefined) return;
    if (kind === 'main') database.main = node;
    else if (kind === 'wal') database.walNode = node;
    else if (kind === 'shm') database.shmNode = node;
    else if (startsJournal(node)) {
      // Its transaction began under an earlier process: what it has written is not known.
      database.journalOpen = true;
      database.dirtyUnknown = true;
    }
  }

  override removed(node: FileNode): void {
    const { kind, database } = node.tag as Owner;
    if (database === undefined) return;
    if (kind === 'journal') this.journalEnded(database);
    else if (kind === 'wal' && database.walNode === node) database.walNode = undefined;
    else if (kind === 'shm' && database.shmNode === node) database.shmNode = undefined;
    else if (kind === 'main' && database.main === node) database.main = undefined;
    const { main, walNode, shmNode, journalOpen, holder, waiting } = database;
    const isUsed = main !== undefined || walNode !== undefined || shmNode !== undefined || journalOpen;
    if (!isUsed && holder === undefined && waiting.length === 0) this.written.delete(database.name);
  }

  override renamed(node: FileNode): void {
    this.removed(node);
    this.added(node);
  }

  // --- locks ----------------------------------------------------------------------------------------------------

  readonly mayLock: MayLock = (node, low, high, type, start, end, pid) => {
    const { kind, database } = node.tag as Owner;
    if (database === undefined || (kind !== 'shm' && kind !== 'main')) return PROCEED;
    const byte = kind === 'shm' ? WAL_WRITE_BYTE : RESERVED_BYTE;
    if (start > byte || end < byte) return PROCEED;
    if (type === F_UNLCK) {
      this.unlocked(database, low, high);
      return PROCEED;
    }
    if (type === F_RDLCK || this.isApplier(pid) || isOwner(database.holder, low, high)) return PROCEED;
    // Somebody here has it: the table says so.
    if (this.locks?.isWriteLocked(node, byte, byte) === true) return PROCEED;
    const refused = takeOwner(database.refused, low, high);
    // This process may have stood still since main said so, and the primary has gone on.
    if (database.grant !== undefined && monotonicMs() >= database.grant.untilMs) database.grant = undefined;
    if (database.grant !== undefined) {
      database.serial = database.grant.serial;
      database.holder = { low, high };
      database.isBegun = true;
      takeOwner(database.waiting, low, high);
      return PROCEED;
    }
    if (refused) return EAGAIN;
    if (!database.waiting.some((owner) => isOwner(owner, low, high))) database.waiting.push({ low, high });
    this.ask(database);
    return DEFER;
  };

  override lockFile(path: string): LockFileFacts | undefined {
    const facts = super.lockFile(path);
    return facts === undefined ? undefined : { ...facts, mayWrite: PROCEED };
  }

  mayLockVirtual(lock: VirtualLock): Verdict {
    return this.byHand.mayLock(lock, (node, byte) => this.locks?.isWriteLocked(node, byte, byte) === true);
  }

  lockInherited(node: VirtualNode, owner: LockOwner): void {
    this.byHand.inherited(node, owner);
  }

  private unlocked(database: WrittenDatabase, low: number, high: number): void {
    takeOwner(database.waiting, low, high);
    takeOwner(database.refused, low, high);
    if (!isOwner(database.holder, low, high)) return;
    database.holder = undefined;
    database.isBegun = false;
    const committed = database.commit === 'made';
    const { name, serial } = database;
    // What was written is not known to be what readers see before main has looked.
    if (database.commit !== 'none') database.grant = undefined;
    database.commit = 'none';
    this.forwarding.send({ kind: 'lock-released', name, serial, committed });
  }

  private ask(database: WrittenDatabase): void {
    if (database.asked) return;
    database.asked = true;
    this.forwarding.send({ kind: 'lock-wanted', name: database.name });
  }

  // --- may it happen? -------------------------------------------------------------------------------------------

  override mayOpen(node: FileNode, flags: number, pid: number): Verdict {
    const { kind, database } = node.tag as Owner;
    if ((flags & O_TRUNC) === 0 || this.isApplier(pid)) return PROCEED;
    // A copy over a database is no transaction.
    return kind === 'main' && database !== undefined ? EROFS : PROCEED;
  }

  override mayCreate(path: string, pid: number): Verdict {
    if (this.isApplier(pid)) return PROCEED;
    if (this.virtualFiles.isReserved(path)) return EACCES;
    const companion = companionOf(path);
    if (companion?.kind !== 'journal') return PROCEED;
    // A journal is begun by who has RESERVED; without locks (nolock=1) nobody would know of its transaction.
    const main = this.written.get(companion.database)?.main;
    const isReserved = main === undefined || this.locks?.isWriteLocked(main, RESERVED_BYTE, RESERVED_BYTE) === true;
    return isReserved ? PROCEED : EROFS;
  }

  override mayWrite(
    node: FileNode,
    position: number,
    data: Buffer,
    start: number,
    length: number,
    pid: number,
  ): Verdict {
    const { kind, database } = node.tag as Owner;
    if (kind === 'shm' || kind === 'super') return PROCEED;
    if (this.isApplier(pid)) {
      // What it writes is not what the grant says.
      if (database !== undefined && kind === 'wal') database.grant = undefined;
      return PROCEED;
    }
    if (database === undefined) return EROFS;
    if (kind === 'wal') return this.mayWriteWal(database, position, data, start, length);
    if (kind === 'journal')
      return isJournalCommit(position, data, start, length) ? this.mayEndJournal(database) : PROCEED;
    if (database.journalOpen) return this.isExclusive(database) ? PROCEED : EROFS;
    return this.isCheckpointing(database) ? PROCEED : EROFS;
  }

  override mayResize(node: FileNode, size: number, pid: number): Verdict {
    const { kind, database } = node.tag as Owner;
    if (kind === 'shm' || kind === 'super') return PROCEED;
    if (this.isApplier(pid)) {
      if (database !== undefined && kind === 'wal') database.grant = undefined;
      return PROCEED;
    }
    if (database === undefined) return EROFS;
    if (kind === 'journal') return size === 0 ? this.mayEndJournal(database) : PROCEED;
    // After the journal is gone SQLite cuts what the transaction has no use for; before, as it plays it back or commits.
    if (kind === 'main' && database.size() === size) return PROCEED;
    if (kind === 'main' && database.journalOpen) return this.isExclusive(database) ? PROCEED : EROFS;
    return this.isCheckpointing(database) ? PROCEED : EROFS;
  }

  override mayUnlink(node: FileNode, pid: number): Verdict {
    const { kind, database } = node.tag as Owner;
    if (this.isApplier(pid)) return PROCEED;
    if (kind === 'super') return this.mayEndSuper(node);
    if (kind === 'journal' && database !== undefined) return this.mayEndJournal(database);
    return EROFS;
  }

  private mayWriteWal(
    database: WrittenDatabase,
    position: number,
    data: Buffer,
    start: number,
    length: number,
  ): Verdict {
    const { shmNode } = database;
    const isLocked = shmNode !== undefined && this.locks?.isWriteLocked(shmNode, WAL_WRITE_BYTE, WAL_WRITE_BYTE);
    if (isLocked !== true) return EIO;
    database.holder ??= this.locks?.writerOf?.(shmNode!, WAL_WRITE_BYTE, WAL_WRITE_BYTE);
    if (!database.isBegun) {
      // An earlier process granted the lock. What its holder has not committed is no commit in the file.
      database.wal.load();
      database.isBegun = true;
    }
    const answer = this.answerOf(database);
    if (answer !== undefined) return answer;
    const { wal } = database;
    const from = wal.committedFrames;
    const to = wal.tries(position, data, start, length);
    if (to === 0 || wal.header === undefined) return PROCEED;
    const { salt1, salt2 } = wal.header;
    const bytes = Uint8Array.prototype.slice.call(data, start, start + length);
    return this.askToCommit(database, { kind: 'wal', from, to, salt1, salt2, position, bytes });
  }

  private mayEndJournal(database: WrittenDatabase): Verdict {
    const answer = this.answerOf(database);
    if (answer !== undefined) return answer;
    const { main } = database;
    if (!database.changed || main === undefined) return PROCEED;
    // Whoever plays back what a dead application left has EXCLUSIVE, and not RESERVED.
    const writer = this.locks?.writerOf?.(main, RESERVED_BYTE, RESERVED_BYTE);
    if (writer === undefined) return this.isExclusive(database) ? PROCEED : EROFS;
    database.holder ??= writer;
    const pages = database.dirtyUnknown ? undefined : database.dirty.toArray();
    return this.askToCommit(database, { kind: 'rollback', pages });
  }

  /** What main said of the transaction; undefined if it was not asked. */
  private answerOf(database: WrittenDatabase): Verdict | undefined {
    switch (database.commit) {
      case 'asked':
        return DEFER;
      case 'taken':
      case 'undone':
        return PROCEED;
      case 'refused':
        // Once: what SQLite does next is to take its changes back, which ends in the same way.
        database.commit = 'none';
        return EIO;
      default:
        return undefined;
    }
  }

  /**
   * A transaction over several databases commits when its super-journal goes: after that SQLite asks nobody. So all of them are
   * asked for here. If one is not taken none is made, and those that were taken come back as what the primary has.
   */
  private mayEndSuper(node: FileNode): Verdict {
    const databases = this.journalsIn(node).filter(({ journalOpen, changed }) => journalOpen && changed);
    for (const database of databases) if (database.commit === 'none') this.mayEndJournal(database);
    if (databases.some(({ commit }) => commit === 'asked')) return DEFER;
    if (databases.every(({ commit }) => commit !== 'refused')) return PROCEED;
    for (const database of databases) {
      if (database.commit === 'taken') database.commit = 'undone';
      else if (database.commit === 'refused') database.commit = 'none';
    }
    return EIO;
  }

  /** The databases whose journals a super-journal names, by the paths that the application has for them. */
  private journalsIn(node: FileNode): WrittenDatabase[] {
    const bytes = Buffer.alloc(MAX_SUPER_BYTES);
    const length = readSync(node.fd(), bytes, 0, bytes.length, 0);
    const paths = bytes.toString('utf8', 0, length).split('\0');
    return [...this.written.values()].filter(({ name }) => paths.some((path) => path.endsWith(`/${name}-journal`)));
  }

  private askToCommit(database: WrittenDatabase, commit: WorkerCommit): Verdict {
    database.commit = 'asked';
    const { name, serial } = database;
    this.forwarding.send({ kind: 'commit', name, serial, commit });
    return DEFER;
  }

  private isExclusive({ main }: WrittenDatabase): boolean {
    return main !== undefined && this.locks?.isWriteLocked(main, SHARED_FIRST, SHARED_FIRST + SHARED_SIZE - 1) === true;
  }

  private isCheckpointing({ shmNode }: WrittenDatabase): boolean {
    return shmNode !== undefined && this.locks?.isWriteLocked(shmNode, WAL_WRITE_BYTE, WAL_CHECKPOINT_BYTE) === true;
  }

  // --- it happened ----------------------------------------------------------------------------------------------

  override wrote(node: FileNode, position: number, data: Buffer, start: number, length: number, pid: number): void {
    const { kind, database } = node.tag as Owner;
    if (database === undefined) return;
    if (kind === 'journal') {
      if (isJournalCommit(position, data, start, length)) this.journalEnded(database);
      else if (position === 0 && length >= MAGIC_SIZE && hasJournalMagic(data, start)) database.journalOpen = true;
      return;
    }
    if (this.isApplier(pid)) return;
    if (kind === 'wal') {
      if (database.wal.wrote(position, data, start, length)) this.made(database);
    } else if (kind === 'main' && database.journalOpen) database.noteWrite(position, length);
  }

  override resized(node: FileNode, size: number): void {
    const { kind, database } = node.tag as Owner;
    if (database === undefined) return;
    if (kind === 'journal' && size === 0) this.journalEnded(database);
    else if (kind === 'main' && database.journalOpen) database.resized = true;
  }

  private journalEnded(database: WrittenDatabase): void {
    const { name, commit, changed, dirtyUnknown } = database;
    if (commit !== 'taken' && changed) {
      const pages = dirtyUnknown ? undefined : database.dirty.toArray();
      this.forwarding.send({ kind: 'played-back', name, pages });
    }
    database.journalEnded();
    this.made(database);
  }

  private made(database: WrittenDatabase): void {
    if (database.commit !== 'taken') return;
    database.commit = 'made';
    this.forwarding.send({ kind: 'commit-made', name: database.name });
  }

  // --- main's answers -------------------------------------------------------------------------------------------

  protected override take(message: ToWorker): void {
    switch (message.kind) {
      case 'grant':
        this.databaseOf(message.name).begin(message.serial, message.untilMs, message.wal);
        return;
      case 'lock-refused': {
        const database = this.databaseOf(message.name);
        database.asked = false;
        database.refused.push(...database.waiting.splice(0));
        return;
      }
      case 'grant-return':
        this.returnGrant(message.name, message.serial);
        return;
      case 'hand':
        this.byHand.take(message.name, message.what);
        return;
      case 'commit-answer': {
        const database = this.databaseOf(message.name);
        if (database.commit === 'asked') database.commit = message.taken ? 'taken' : 'refused';
        return;
      }
      default:
        super.take(message);
    }
  }

  private returnGrant(name: string, serial: number): void {
    const database = this.databaseOf(name);
    // Whoever has the lock by it keeps that.
    const ended = database.holder === undefined;
    if (database.grant?.serial === serial) database.grant = undefined;
    this.forwarding.send({ kind: 'grant-returned', name, serial, ended });
  }

  private databaseOf(name: string): WrittenDatabase {
    let database = this.written.get(name);
    if (database === undefined) {
      database = new WrittenDatabase(name);
      this.written.set(name, database);
    }
    return database;
  }
}

function takeOwner(owners: { low: number; high: number }[], low: number, high: number): boolean {
  const index = owners.findIndex((owner) => isOwner(owner, low, high));
  if (index >= 0) owners.splice(index, 1);
  return index >= 0;
}

function startsJournal(node: FileNode): boolean {
  const head = Buffer.alloc(MAGIC_SIZE);
  return readSync(node.fd(), head, 0, MAGIC_SIZE, 0) === MAGIC_SIZE && hasJournalMagic(head);
}

/** A journal's header is overwritten with zeros. */
function isJournalCommit(position: number, data: Buffer, start: number, length: number): boolean {
  if (position !== 0 || length !== JOURNAL_HEADER_SIZE) return false;
  for (let i = start; i < start + length; i++) if (data[i] !== 0) return false;
  return true;
}
