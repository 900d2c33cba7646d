import { type Backing, DEFERRED, type Result } from './backing.js';
import { DEFERRED_LIMIT, DEFERRED_LIMIT_BYTES, Deferrals, type KeptRequest } from './deferrals.js';
import {
  EAGAIN,
  EEXIST,
  EINTR,
  EINVAL,
  ENOENT,
  ENOSYS,
  ENOTDIR,
  EPERM,
  ESTALE,
  errnoOf,
  isSystemError,
} from './errno.js';
import { type AttributeChange, FileOperations } from './files.js';
import { Listing } from './listing.js';
import type { MayLock } from './lock-table.js';
import { Locks } from './locks.js';
import { type Caller, NameOperations } from './names.js';
import { type Negotiated, negotiate } from './negotiation.js';
import type { Node, RegularFile } from './nodes.js';
import * as p from './protocol.js';
import * as w from './reply.js';
import * as r from './request.js';

/** What a session needs around it. */
export interface SessionOptions {
  readonly backing: Backing;
  /** What an earlier process negotiated; undefined before INIT. */
  readonly negotiated: Negotiated | undefined;
  /** Used if INIT is still to come. */
  readonly locks: 'kernel' | 'sluice';
  /** Which process of the mount this is, from 1; it is the handle of all files that it opens. */
  readonly incarnation: number;
  /** Carries a reply to the kernel: the first `bytes` of `reply`. Must not throw. */
  readonly reply: (reply: Buffer, bytes: number) => void;
  /** Syncs descriptors, then answers the request itself (with `reply` or on its own). Must not throw. */
  readonly sync: Sync;
  /** Called when INIT settled, before its reply. */
  readonly onNegotiated: (negotiated: Negotiated) => void;
  /** Called before `watcher.woken()`. */
  readonly onWake: () => void;
  readonly mayLock?: MayLock | undefined;
  readonly log?: ((message: string) => void) | undefined;
}

/** See syncer.ts. */
export interface Sync {
  file(uniqueLow: number, uniqueHigh: number, file: RegularFile, also: readonly number[], dataOnly: boolean): void;
  folder(uniqueLow: number, uniqueHigh: number, path: string, also: readonly number[]): void;
}

/** Answered already, or never to be answered. */
const NO_REPLY = -4097;

/** Entries and attributes stay valid in the kernel: nothing changes but through it. */
const LONG_S = 86_400;
/** What the kernel must ask for each time. */
const NEVER_CACHED_S = 0;

/**
 * One mount's conversation with the kernel: a request in, exactly one reply out (none for FORGET, BATCH_FORGET,
 * INTERRUPT and NOTIFY_REPLY). Never throws, whatever the bytes are. Deferred requests are presented again by `wake`.
 */
export class Session {
  readonly #o: SessionOptions;
  readonly #backing: Backing;
  readonly #files: FileOperations;
  readonly #names: NameOperations;
  readonly #listing: Listing;
  readonly #locks: Locks;
  readonly #deferrals = new Deferrals();
  readonly #out = Buffer.alloc(p.REPLY_BUFFER_BYTES);
  readonly #caller: Caller = { uid: 0, gid: 0, pid: 0 };
  readonly #change: AttributeChange = {
    mode: undefined,
    uid: undefined,
    gid: undefined,
    size: undefined,
    atime: undefined,
    mtime: undefined,
  };
  #negotiated: Negotiated | undefined;
  #length = 0;
  #kept: KeptRequest | undefined;
  #low = 0;
  #high = 0;
  #answered = false;
  /** The request was a LOOKUP of the wake file. */
  #wakeWanted = false;

  constructor(options: SessionOptions) {
    this.#o = options;
    this.#backing = options.backing;
    this.#files = new FileOperations(options.backing);
    this.#names = new NameOperations(options.backing);
    this.#listing = new Listing(options.backing);
    this.#locks = new Locks(options.mayLock);
    this.#negotiated = options.negotiated;
  }

  /** Requests that wait for a wake-up or a lock. */
  get waiting(): number {
    return this.#deferrals.count + this.#locks.waiters.count;
  }

  /** Handles the request in the first `length` bytes of `request`, which may be reused afterwards. */
  handle(request: Buffer, length: number): void {
    this.#present(request, length, undefined);
  }

  /** Tells the watcher, then presents all deferred requests again, in order. */
  wake(): void {
    this.#o.onWake();
    try {
      this.#backing.watcher.woken();
    } catch (error) {
      this.#report(error, 'woken');
    }
    if (this.#deferrals.count === 0) return;
    for (const kept of this.#deferrals.takeAll()) this.#present(kept.bytes, kept.length, kept);
  }

  #present(request: Buffer, length: number, kept: KeptRequest | undefined): void {
    if (length < p.IN_HEADER) return;
    const opcode = r.headerOpcode(request);
    this.#length = length;
    this.#kept = kept;
    this.#low = r.headerUniqueLow(request);
    this.#high = r.headerUniqueHigh(request);
    this.#answered = !expectsReply(opcode);
    let result: Result;
    try {
      const whole = r.headerLength(request) === length && length >= p.IN_HEADER + p.minBody(opcode);
      result = whole ? this.#dispatch(opcode, request) : -EINVAL;
    } catch (error) {
      result = -errnoOf(error);
      if (!isSystemError(error)) this.#report(error, p.OPCODE_NAMES.get(opcode) ?? `opcode ${opcode}`);
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
    w.writeHeader(this.#out, bytes, result < 0 ? -result : 0, this.#low, this.#high);
    this.#o.reply(this.#out, p.OUT_HEADER + bytes);
  }

  #keep(where: Deferrals, request: Buffer): Result {
    const bytes = this.#deferrals.bytes + this.#locks.waiters.bytes + this.#length;
    if (this.#kept === undefined && (this.waiting >= DEFERRED_LIMIT || bytes > DEFERRED_LIMIT_BYTES)) return -EAGAIN;
    where.keep(request, this.#length, this.#kept);
    return NO_REPLY;
  }

  #dispatch(opcode: number, request: Buffer): Result {
    switch (opcode) {
      case p.FUSE_READ:
        return this.#read(request);
      case p.FUSE_WRITE:
        return this.#write(request);
      case p.FUSE_SETLK:
      case p.FUSE_SETLKW:
      case p.FUSE_GETLK:
        return this.#lock(opcode, request);
      case p.FUSE_FLUSH:
        return this.#flush(request);
      case p.FUSE_FSYNC:
        return this.#fsync(request);
      case p.FUSE_NOTIFY_REPLY:
        this.wake();
        return NO_REPLY;
      case p.FUSE_GETATTR:
        return this.#getattr(this.#node(request));
      case p.FUSE_LOOKUP:
        return this.#lookup(request);
      case p.FUSE_FORGET:
        this.#forget(r.headerNodeId(request), r.forgetCount(request));
        return NO_REPLY;
      case p.FUSE_BATCH_FORGET:
        return this.#forgetMany(request);
      case p.FUSE_OPEN:
        return this.#open(request);
      case p.FUSE_RELEASE:
        return this.#release(request);
      case p.FUSE_CREATE:
        return this.#create(request);
      case p.FUSE_UNLINK:
      case p.FUSE_RMDIR:
        return this.#remove(opcode, request);
      case p.FUSE_FSYNCDIR:
        return this.#fsyncFolder(request);
      default:
        return this.#dispatchRare(opcode, request);
    }
  }

  #dispatchRare(opcode: number, request: Buffer): Result {
    switch (opcode) {
      case p.FUSE_INIT:
        return this.#init(request);
      case p.FUSE_SETATTR:
        return this.#setattr(request);
      case p.FUSE_MKNOD:
      case p.FUSE_MKDIR:
        return this.#make(opcode, request);
      case p.FUSE_RENAME:
        return this.#rename(request, p.IN_HEADER + 8, 0);
      case p.FUSE_RENAME2:
        return this.#rename(request, p.IN_HEADER + 16, r.rename2Flags(request));
      case p.FUSE_OPENDIR:
        if (this.#negotiated?.foldersNeedNoOpen === true) return -ENOSYS;
        return w.writeOpen(this.#out, 0, this.#o.incarnation, 0);
      case p.FUSE_READDIR:
        return this.#readdir(request);
      case p.FUSE_STATFS:
        return w.writeStatfs(this.#out, this.#names.statfs(), p.MAX_NAME_BYTES);
      case p.FUSE_FALLOCATE:
        return this.#allocate(request);
      case p.FUSE_READLINK:
        return this.#readlink(request);
      case p.FUSE_INTERRUPT:
        return this.#interrupt(request);
      case p.FUSE_SYMLINK:
      case p.FUSE_LINK:
        return -EPERM;
      case p.FUSE_RELEASEDIR:
      case p.FUSE_DESTROY:
        return 0;
      default:
        // Extended attributes, ACCESS, LSEEK, COPY_FILE_RANGE, IOCTL, ...: the kernel remembers and does without.
        return -ENOSYS;
    }
  }

  #read(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    const size = Math.min(r.readSize(request), p.MAX_WRITE);
    return this.#files.read(node, this.#out, p.OUT_HEADER, size, r.readOffset(request));
  }

  /** Replies before the watcher looks at the bytes, so that the application goes on meanwhile. */
  #write(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    const size = r.writeSize(request);
    if (size > this.#length - r.WRITE_DATA) return -EINVAL;
    const position = r.writeOffset(request);
    const pid = r.headerPid(request);
    const written = this.#files.write(node, position, request, r.WRITE_DATA, size, pid);
    if (written < 0 || node.kind !== 'file') return written;
    this.#reply(w.writeWritten(this.#out, written));
    if (written > 0) this.#backing.watcher.wrote(node, position, request, r.WRITE_DATA, written, pid);
    return NO_REPLY;
  }

  #lock(opcode: number, request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    if (node.kind !== 'file') return -EINVAL;
    if (opcode === p.FUSE_GETLK) return this.#locks.get(node, request, this.#out);
    const result = this.#locks.set(node, request);
    if (result !== -EAGAIN || opcode !== p.FUSE_SETLKW) return result;
    return this.#keep(this.#locks.waiters, request);
  }

  #flush(request: Buffer): Result {
    if (this.#negotiated?.locks !== 'sluice') return -ENOSYS;
    const node = this.#node(request);
    if (node?.kind === 'file') this.#locks.close(node, request);
    return 0;
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
    const node = this.#node(kept.bytes);
    if (node?.kind === 'file') this.#locks.ended(node, kept.bytes);
    this.#low = low;
    this.#high = high;
    this.#answered = false;
    return -EINTR;
  }

  #fsync(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    if (node.kind !== 'file') return 0;
    const also = this.#backing.watcher.alsoSync(node);
    const dataOnly = (r.fsyncFlags(request) & p.FSYNC_FDATASYNC) !== 0;
    this.#o.sync.file(this.#low, this.#high, node, also, dataOnly);
    return NO_REPLY;
  }

  #fsyncFolder(request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const also = this.#backing.watcher.alsoSyncFolder(folder.path);
    const path = folder.path === '' ? this.#backing.folder : `${this.#backing.folder}/${folder.path}`;
    this.#o.sync.folder(this.#low, this.#high, path, also);
    return NO_REPLY;
  }

  #getattr(node: Node | undefined): Result {
    if (node === undefined) return -ESTALE;
    const result = this.#files.attributes(node);
    if (result < 0) return result;
    const timeoutS = node.kind === 'virtual' ? NEVER_CACHED_S : LONG_S;
    const orphan = node.kind === 'file' && node.orphan;
    return w.writeAttrOut(this.#out, timeoutS, node.id, this.#files.found, orphan);
  }

  #setattr(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    const valid = r.setattrValid(request);
    const change = this.#change;
    change.mode = (valid & p.FATTR_MODE) !== 0 ? r.setattrMode(request) : undefined;
    change.uid = (valid & p.FATTR_UID) !== 0 ? r.setattrUid(request) : undefined;
    change.gid = (valid & p.FATTR_GID) !== 0 ? r.setattrGid(request) : undefined;
    change.size = (valid & p.FATTR_SIZE) !== 0 ? r.setattrSize(request) : undefined;
    const now = (flag: number): boolean => (valid & flag) !== 0;
    change.atime = now(p.FATTR_ATIME_NOW) ? 'now' : now(p.FATTR_ATIME) ? r.setattrAtime(request) : undefined;
    change.mtime = now(p.FATTR_MTIME_NOW) ? 'now' : now(p.FATTR_MTIME) ? r.setattrMtime(request) : undefined;
    const result = this.#files.change(node, change, r.headerPid(request));
    return result < 0 ? result : this.#getattr(node);
  }

  #lookup(request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const name = this.#name(request, r.ONLY_NAME);
    if (typeof name === 'number') return name;
    const result = this.#names.lookup(folder, name);
    if (result === -ENOENT) return w.writeNegativeEntry(this.#out, mayBeVirtual(name) ? NEVER_CACHED_S : LONG_S);
    this.#wakeWanted = result === 0 && this.#names.node === this.#backing.table.wake;
    return result < 0 ? result : this.#entry();
  }

  /** Answers with the node that a name operation found or made. */
  #entry(): Result {
    const { node, attributes } = this.#names;
    node.lookups++;
    return w.writeEntry(this.#out, node.kind === 'virtual' ? NEVER_CACHED_S : LONG_S, node.id, attributes);
  }

  #forget(id: number, count: number): void {
    const node = this.#backing.table.forget(id, count);
    if (node?.kind !== 'file') return;
    this.#locks.table.dropFile(node.id);
    if (node.orphan) this.#files.endOrphan(node);
    else this.#backing.descriptors.close(node);
  }

  #forgetMany(request: Buffer): Result {
    const fits = Math.floor((this.#length - p.IN_HEADER - 8) / 16);
    const count = Math.min(r.batchForgetCount(request), fits);
    for (let i = 0; i < count; i++) this.#forget(r.batchForgetId(request, i), r.batchForgetLookups(request, i));
    return NO_REPLY;
  }

  #open(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    const result = this.#files.open(node, r.openFlags(request), r.headerPid(request));
    return result < 0 ? result : w.writeOpen(this.#out, 0, this.#o.incarnation, this.#openReplyFlags(node));
  }

  /** Without locks here a close has nothing to tell us, and mapped pages need not be written back for it. */
  #openReplyFlags(node: Node): number {
    if (node.kind === 'virtual') return p.FOPEN_DIRECT_IO;
    return this.#negotiated?.locks === 'sluice' ? p.FOPEN_KEEP_CACHE : p.FOPEN_KEEP_CACHE | p.FOPEN_NOFLUSH;
  }

  #release(request: Buffer): Result {
    const node = this.#node(request);
    if (node?.kind !== 'file') return 0;
    this.#files.release(node, r.releaseFlags(request), r.releaseHandle(request) === this.#o.incarnation);
    return 0;
  }

  #create(request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const name = this.#name(request, r.CREATE_NAME);
    if (typeof name === 'number') return name;
    const flags = r.createFlags(request);
    let result = this.#names.createFile(folder, name, r.createMode(request), this.#from(request));
    const { node } = this.#names;
    if (result === -EEXIST && ((flags & p.O_EXCL) === 0 || this.#again)) {
      result = this.#files.open(node, flags, r.headerPid(request));
      if (result === 0) result = this.#files.attributes(node);
      if (result === 0) this.#names.attributes = this.#files.found;
    } else if (result === 0 && node.kind === 'file') this.#files.opened(node, flags);
    if (result < 0) return result;
    return w.writeOpen(this.#out, this.#entry(), this.#o.incarnation, this.#openReplyFlags(node));
  }

  #make(opcode: number, request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const name = this.#name(request, opcode === p.FUSE_MKDIR ? r.MKDIR_NAME : r.MKNOD_NAME);
    if (typeof name === 'number') return name;
    const caller = this.#from(request);
    let result: Result;
    if (opcode === p.FUSE_MKDIR) {
      result = this.#names.createFolder(folder, name, r.mkdirMode(request), caller, this.#again);
    } else {
      const mode = r.mknodMode(request);
      const type = mode & p.S_IFMT;
      if (type !== p.S_IFREG && type !== 0) return -EPERM;
      result = this.#names.createFile(folder, name, mode, caller);
      if (result === -EEXIST && this.#again) result = 0;
    }
    return result < 0 ? result : this.#entry();
  }

  #remove(opcode: number, request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const name = this.#name(request, r.ONLY_NAME);
    if (typeof name === 'number') return name;
    const pid = r.headerPid(request);
    return opcode === p.FUSE_UNLINK
      ? this.#names.unlink(folder, name, pid, this.#again)
      : this.#names.removeFolder(folder, name, pid, this.#again);
  }

  #rename(request: Buffer, names: number, flags: number): Result {
    const from = this.#node(request);
    const to = this.#backing.table.get(r.renameFolder(request));
    if (from === undefined || to === undefined) return -ESTALE;
    if (from.kind !== 'folder' || to.kind !== 'folder') return -ENOTDIR;
    const name = this.#name(request, names);
    if (typeof name === 'number') return name;
    const second = r.nameEnd(request, names, this.#length) + 1;
    const newName = this.#name(request, second);
    if (typeof newName === 'number') return newName;
    return this.#names.rename(from, name, to, newName, flags, r.headerPid(request), this.#again);
  }

  #readdir(request: Buffer): Result {
    const folder = this.#node(request);
    if (folder?.kind !== 'folder') return folder === undefined ? -ESTALE : -ENOTDIR;
    const limit = Math.min(r.readSize(request), p.MAX_WRITE);
    return this.#listing.write(this.#out, folder, r.readOffset(request), limit);
  }

  #allocate(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    const offset = r.fallocateOffset(request);
    return this.#files.allocate(
      node,
      offset,
      r.fallocateLength(request),
      r.fallocateMode(request),
      r.headerPid(request),
    );
  }

  #readlink(request: Buffer): Result {
    const node = this.#node(request);
    if (node === undefined) return -ESTALE;
    return node.kind === 'other' ? this.#out.write(this.#files.readLink(node), p.OUT_HEADER) : -EINVAL;
  }

  #init(request: Buffer): Result {
    if (this.#negotiated !== undefined) return -EINVAL;
    const flags2 = r.initFlags2(request, this.#length);
    const settled = negotiate(
      r.initMajor(request),
      r.initMinor(request),
      r.initReadahead(request),
      r.initFlags(request),
      flags2,
      this.#o.locks,
    );
    if (settled === undefined) return -ENOSYS;
    this.#negotiated = settled.negotiated;
    this.#o.onNegotiated(settled.negotiated);
    return w.writeInit(this.#out, settled.reply);
  }

  #node(request: Buffer): Node | undefined {
    return this.#backing.table.get(r.headerNodeId(request));
  }

  /** The name at `start`, or a negative errno. */
  #name(request: Buffer, start: number): string | number {
    const end = r.nameEnd(request, start, this.#length);
    if (end < 0) return -EINVAL;
    const errno = r.checkName(request, start, end);
    return errno !== 0 ? -errno : request.toString('utf8', start, end);
  }

  #from(request: Buffer): Caller {
    this.#caller.uid = r.headerUid(request);
    this.#caller.gid = r.headerGid(request);
    this.#caller.pid = r.headerPid(request);
    return this.#caller;
  }

  /** The kernel sent this request before, to a process that died. */
  get #again(): boolean {
    return this.#high >= p.UNIQUE_RESEND_HIGH;
  }

  #report(error: unknown, what: string): void {
    this.#o.log?.(
      `file system: ${what} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  }
}

function expectsReply(opcode: number): boolean {
  return (
    opcode !== p.FUSE_FORGET &&
    opcode !== p.FUSE_BATCH_FORGET &&
    opcode !== p.FUSE_INTERRUPT &&
    opcode !== p.FUSE_NOTIFY_REPLY
  );
}

/** Missing names that the watcher may make visible later without the kernel knowing (`.primary`, `.lag`, `<db>-pos`). */
const mayBeVirtual = (name: string): boolean => name.startsWith('.') || name.endsWith('-pos');
