import { type Backing, DEFERRED, type Result, watcherOf } from './backing.js';
import { Deferrals, type KeptRequest } from './deferrals.js';
import { EAGAIN, EINTR, EINVAL, ENOLCK, ENOSYS, EPERM, ESTALE, errnoOf, isSystemError } from './errno.js';
import { Exchange } from './exchange.js';
import { FileRequests, type Sync } from './file-requests.js';
import { FileOperations } from './files.js';
import { F_UNLCK, LockTable, type MayLock } from './lock-table.js';
import { type Lockable, Locks } from './locks.js';
import { NameRequests } from './name-requests.js';
import { type Negotiated, negotiate } from './negotiation.js';
import type { Node, RegularFile } from './nodes.js';
import type { Passthrough } from './passthrough.js';
import * as p from './protocol.js';
import * as w from './reply.js';
import * as r from './request.js';
import { DEFER, PROCEED } from './watcher.js';

/** What a session needs around it. */
export interface SessionOptions {
  readonly backing: Backing;
  /** What an earlier process negotiated; undefined before INIT. */
  readonly negotiated: Negotiated | undefined;
  /** Used if INIT is still to come. */
  readonly locks: 'kernel' | 'sluice';
  /** See Exchange. */
  readonly incarnation: number;
  /** Carries a reply to the kernel: the first `bytes` of `reply`. Must not throw. */
  readonly reply: (reply: Buffer, bytes: number) => void;
  readonly sync: Sync;
  /** Called when INIT settled, before its reply. */
  readonly onNegotiated: (negotiated: Negotiated) => void;
  /** Where the kernel may read and write backing files by itself; undefined: nowhere. */
  readonly passthrough?: Passthrough | undefined;
  /** Called before `watcher.woken()`. */
  readonly onWake: () => void;
  readonly mayLock?: MayLock | undefined;
  /** The locks of `locks: sluice`; by default a new table that nobody records. */
  readonly lockTable?: LockTable | undefined;
  readonly log?: ((message: string) => void) | undefined;
  /** Requests that wait for a wake-up at most; see `full`. */
  readonly maxDeferred?: number | undefined;
}

/** Answered already, to be answered by someone else, or never to be answered. */
const NO_REPLY = -4097;

/**
 * One mount's conversation with the kernel: a request in, exactly one reply out (none for FORGET, BATCH_FORGET,
 * INTERRUPT and NOTIFY_REPLY). Never throws, whatever the bytes are. Deferred requests are presented again by `wake`.
 */
export class Session {
  readonly #o: SessionOptions;
  readonly #x: Exchange;
  readonly #operations: FileOperations;
  readonly #files: FileRequests;
  readonly #names: NameRequests;
  readonly #locks: Locks;
  readonly #deferrals: Deferrals;
  /** The request being answered, if it was kept before. */
  #kept: KeptRequest | undefined;
  #answered = false;
  /** Bytes that the request has written, if only its answer waits; else -1. */
  #written = -1;
  /** The request was a LOOKUP of the wake file. */
  #wakeWanted = false;

  constructor(options: SessionOptions) {
    this.#o = options;
    this.#x = new Exchange(options.backing, options.incarnation, options.negotiated, options.passthrough);
    this.#operations = new FileOperations(options.backing);
    this.#files = new FileRequests(this.#x, this.#operations, options.sync);
    this.#names = new NameRequests(this.#x, this.#operations);
    this.#deferrals = new Deferrals(options.maxDeferred);
    this.#locks = new Locks(options.lockTable ?? new LockTable(), options.mayLock, options.backing.watcher);
  }

  /** Requests that wait for a wake-up or a lock. */
  get waiting(): number {
    return this.#deferrals.count + this.#locks.waiters.count;
  }

  /** Who keeps the locks; undefined before INIT. */
  get locks(): Negotiated['locks'] | undefined {
    return this.#x.negotiated?.locks;
  }

  /** No request may be handled before a wake-up has made room: it could not be kept. */
  get full(): boolean {
    return this.#deferrals.full;
  }

  /** Handles the request in the first `length` bytes of `request`, which may be reused afterwards. */
  handle(request: Buffer, length: number): void {
    this.#present(request, length, undefined);
  }

  /** Tells the watcher, then presents all deferred requests again, in order. */
  wake(): void {
    this.#o.onWake();
    try {
      this.#o.backing.watcher.woken();
    } catch (error) {
      this.#report(error, 'woken');
    }
    if (this.#deferrals.count === 0) return;
    for (const kept of this.#deferrals.takeAll()) this.#present(kept.bytes, kept.length, kept);
  }

  #present(request: Buffer, length: number, kept: KeptRequest | undefined): void {
    if (length < p.IN_HEADER) return;
    const opcode = r.headerOpcode(request);
    this.#x.length = length;
    this.#x.uniqueLow = r.headerUniqueLow(request);
    this.#x.uniqueHigh = r.headerUniqueHigh(request);
    this.#kept = kept;
    this.#written = kept?.written ?? -1;
    this.#answered = !expectsReply(opcode);
    let result: Result;
    try {
      const whole = r.headerLength(request) === length && length >= p.IN_HEADER + p.minBody(opcode);
      result = whole ? this.#dispatch(opcode, request) : -EINVAL;
    } catch (error) {
      result = -errnoOf(error);
      if (!isSystemError(error)) this.#report(error, p.OPCODE_NAMES.get(opcode) ?? `${opcode}`);
    }
    if (result === DEFERRED) result = this.#keep(this.#deferrals, request);
    if (result !== NO_REPLY) this.#reply(result);
    if (this.#wakeWanted) {
      this.#wakeWanted = false;
      this.wake();
    }
    if (this.#locks.released >= 0) this.#retryLocks();
  }

  /** Sends the one reply: a body of `result` bytes, or a negative errno. */
  #reply(result: Result): void {
    if (this.#answered) return;
    this.#answered = true;
    const bytes = result > 0 ? result : 0;
    w.writeHeader(this.#x.out, bytes, result < 0 ? -result : 0, this.#x.uniqueLow, this.#x.uniqueHigh);
    this.#o.reply(this.#x.out, p.OUT_HEADER + bytes);
  }

  #keep(where: Deferrals, request: Buffer): Result {
    where.keep(request, this.#x.length, this.#kept, this.#written);
    return NO_REPLY;
  }

  #dispatch(opcode: number, request: Buffer): Result {
    switch (opcode) {
      case p.FUSE_READ:
        return this.#files.read(request);
      case p.FUSE_WRITE:
        return this.#write(request);
      case p.FUSE_SETLK:
      case p.FUSE_SETLKW:
      case p.FUSE_GETLK:
        return this.#lock(opcode, request);
      case p.FUSE_FLUSH:
        return this.#flush(request);
      case p.FUSE_FSYNC:
        return answeredElsewhere(this.#files.fsync(request));
      case p.FUSE_NOTIFY_REPLY:
        this.wake();
        return NO_REPLY;
      case p.FUSE_GETATTR:
        return this.#files.getattr(this.#x.node(request));
      case p.FUSE_LOOKUP:
        return this.#lookup(request);
      case p.FUSE_FORGET:
        this.#forget(r.headerNodeId(request), r.forgetCount(request));
        return NO_REPLY;
      case p.FUSE_BATCH_FORGET:
        return this.#forgetMany(request);
      case p.FUSE_OPEN:
        return this.#files.open(request);
      case p.FUSE_RELEASE:
        return this.#release(request);
      case p.FUSE_CREATE:
        return this.#names.create(request);
      case p.FUSE_UNLINK:
      case p.FUSE_RMDIR:
        return this.#names.remove(opcode, request);
      case p.FUSE_FSYNCDIR:
        return answeredElsewhere(this.#files.fsyncFolder(request));
      default:
        return this.#dispatchRare(opcode, request);
    }
  }

  #dispatchRare(opcode: number, request: Buffer): Result {
    switch (opcode) {
      case p.FUSE_INIT:
        return this.#init(request);
      case p.FUSE_SETATTR:
        return this.#files.setattr(request);
      case p.FUSE_MKNOD:
      case p.FUSE_MKDIR:
        return this.#names.make(opcode, request);
      case p.FUSE_RENAME:
        return this.#names.rename(request, r.RENAME_NAMES, 0);
      case p.FUSE_RENAME2:
        return this.#names.rename(request, r.RENAME2_NAMES, r.rename2Flags(request));
      case p.FUSE_OPENDIR:
        if (this.#x.negotiated?.foldersNeedNoOpen === true) return -ENOSYS;
        return w.writeOpen(this.#x.out, 0, 0, 0);
      case p.FUSE_READDIR:
        return this.#names.readdir(request);
      case p.FUSE_STATFS:
        return this.#names.statfs();
      case p.FUSE_FALLOCATE:
        return this.#files.allocate(request);
      case p.FUSE_READLINK:
        return this.#files.readLink(request);
      case p.FUSE_INTERRUPT:
        return this.#interrupt(request);
      case p.FUSE_SYMLINK:
        return this.#names.symlink(request);
      case p.FUSE_LINK:
        // A file has one name here, by which it is replicated if it is a database.
        return -EPERM;
      case p.FUSE_RELEASEDIR:
      case p.FUSE_DESTROY:
        return 0;
      default:
        // Extended attributes, ACCESS, LSEEK, COPY_FILE_RANGE, IOCTL, ...: the kernel remembers and does without.
        return -ENOSYS;
    }
  }

  /** Replies before the watcher looks at the bytes, so that the application goes on meanwhile; but where answers may have to wait. */
  #write(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    const size = r.writeSize(request);
    if (size > this.#x.length - r.WRITE_DATA) return -EINVAL;
    const position = r.writeOffset(request);
    const pid = r.headerPid(request);
    const isMade = this.#written >= 0;
    const written = isMade ? this.#written : this.#operations.write(node, position, request, r.WRITE_DATA, size, pid);
    if (written < 0 || node.kind !== 'file') return written;
    const watcher = watcherOf(this.#o.backing, node);
    if (written > 0 && watcher.awaits?.(node) === true) {
      if (!isMade) watcher.wrote(node, position, request, r.WRITE_DATA, written, pid);
      return this.#answerWrite(node, position, written);
    }
    this.#reply(w.writeWritten(this.#x.out, written));
    if (written > 0 && !isMade) watcher.wrote(node, position, request, r.WRITE_DATA, written, pid);
    return NO_REPLY;
  }

  #answerWrite(node: RegularFile, position: number, written: number): Result {
    const verdict = watcherOf(this.#o.backing, node).mayAnswer?.(node, position, written) ?? PROCEED;
    if (verdict === DEFER) {
      this.#written = written;
      return DEFERRED;
    }
    return verdict === PROCEED ? w.writeWritten(this.#x.out, written) : -verdict;
  }

  #lookup(request: Buffer): Result {
    const result = this.#names.lookup(request);
    this.#wakeWanted = result > 0 && w.entryId(this.#x.out) === p.WAKE_ID;
    return result;
  }

  #lock(opcode: number, request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    if (!isLockable(node) || !this.#mayBeLocked(node, request)) return -EINVAL;
    if (opcode === p.FUSE_GETLK) return this.#locks.get(node, request, this.#x.out);
    const result = this.#locks.set(node, request);
    if (result !== -EAGAIN || opcode !== p.FUSE_SETLKW) return result;
    // The requests that free locks come the same way, so that no longer reading them would be no help here.
    if (this.#kept === undefined && this.#locks.waiters.full) return -ENOLCK;
    return this.#keep(this.#locks.waiters, request);
  }

  /** What is held of a lock file can be given back also when its database is gone. */
  #mayBeLocked(node: Lockable, request: Buffer): boolean {
    if (node.kind === 'file' || r.lkType(request) === F_UNLCK) return true;
    return this.#o.backing.watcher.lockFile?.(node.path) !== undefined;
  }

  /** ENOSYS, where locks are the kernel's, ends these requests for good. */
  #flush(request: Buffer): Result {
    if (this.#x.negotiated?.locks !== 'sluice') return -ENOSYS;
    const node = this.#x.node(request);
    if (isLockable(node)) this.#locks.close(node, request);
    return 0;
  }

  #release(request: Buffer): Result {
    const node = this.#x.node(request);
    if (isLockable(node) && this.#x.negotiated?.locks === 'sluice') this.#locks.release(node, request);
    return this.#files.release(request);
  }

  /** Presents requests again that waited for a lock on the file whose lock was just released. */
  #retryLocks(): void {
    const id = this.#locks.released;
    this.#locks.released = -1;
    for (const kept of this.#locks.waiters.takeNode(id)) this.#present(kept.bytes, kept.length, kept);
  }

  /** Only a lock request that waits is ended by a signal; all else is answered when it is done. */
  #interrupt(request: Buffer): Result {
    const low = r.interruptLow(request);
    const high = r.interruptHigh(request);
    let kept = this.#locks.waiters.takeUnique(low, high);
    if (kept === undefined) {
      const found = this.#deferrals.find(low, high);
      const opcode = found === undefined ? 0 : r.headerOpcode(found.bytes);
      if (opcode === p.FUSE_SETLK || opcode === p.FUSE_SETLKW) kept = this.#deferrals.takeUnique(low, high);
    }
    if (kept === undefined) return NO_REPLY;
    const node = this.#x.node(kept.bytes);
    if (isLockable(node)) this.#locks.ended(node, kept.bytes);
    this.#x.uniqueLow = low;
    this.#x.uniqueHigh = high;
    this.#answered = false;
    return -EINTR;
  }

  #forget(id: number, count: number): void {
    const { table, descriptors } = this.#o.backing;
    const node = table.forget(id, count);
    if (!isLockable(node)) return;
    this.#locks.table.dropFile(node.id);
    if (node.kind === 'virtual') return;
    if (node.orphan) this.#operations.endOrphan(node);
    else descriptors.close(node);
  }

  #forgetMany(request: Buffer): Result {
    const fits = Math.floor((this.#x.length - p.IN_HEADER - 8) / 16);
    const count = Math.min(r.batchForgetCount(request), fits);
    for (let i = 0; i < count; i++) this.#forget(r.batchForgetId(request, i), r.batchForgetLookups(request, i));
    return NO_REPLY;
  }

  #init(request: Buffer): Result {
    if (this.#x.negotiated !== undefined) return -EINVAL;
    const settled = negotiate(
      r.initMajor(request),
      r.initMinor(request),
      r.initReadahead(request),
      r.initFlags(request),
      r.initFlags2(request, this.#x.length),
      this.#o.locks,
      this.#o.passthrough !== undefined,
    );
    if (settled === undefined) {
      this.#o.log?.(`file system: kernel protocol ${r.initMajor(request)}.${r.initMinor(request)} is too old`);
      return -ENOSYS;
    }
    this.#x.negotiated = settled.negotiated;
    this.#o.onNegotiated(settled.negotiated);
    return w.writeInit(this.#x.out, settled.reply);
  }

  #report(error: unknown, what: string): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#o.log?.(`file system: ${what} failed: ${text}`);
  }
}

const isLockable = (node: Node | undefined): node is Lockable => node?.kind === 'file' || node?.kind === 'virtual';

const answeredElsewhere = (result: Result): Result => (result < 0 ? result : NO_REPLY);

function expectsReply(opcode: number): boolean {
  return (
    opcode !== p.FUSE_FORGET &&
    opcode !== p.FUSE_BATCH_FORGET &&
    opcode !== p.FUSE_INTERRUPT &&
    opcode !== p.FUSE_NOTIFY_REPLY
  );
}
