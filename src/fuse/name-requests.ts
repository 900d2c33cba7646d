import type { Result } from './backing.js';
import { EEXIST, EINVAL, ENOENT, ENOTDIR, EPERM, ESTALE } from './errno.js';
import { type Exchange, LONG_S, NEVER_CACHED_S } from './exchange.js';
import type { FileOperations } from './files.js';
import { Listing } from './listing.js';
import { type Caller, NameOperations } from './names.js';
import * as p from './protocol.js';
import * as w from './reply.js';
import * as r from './request.js';

/** Decodes requests that name a file in a folder, and writes the bodies of their replies. */
export class NameRequests {
  readonly #x: Exchange;
  readonly #files: FileOperations;
  readonly #names: NameOperations;
  readonly #listing: Listing;
  readonly #caller: Caller = { uid: 0, gid: 0, pid: 0 };

  constructor(exchange: Exchange, files: FileOperations) {
    this.#x = exchange;
    this.#files = files;
    this.#names = new NameOperations(exchange.backing);
    this.#listing = new Listing(exchange.backing);
  }

  lookup(request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const name = this.#x.name(request, r.ONLY_NAME);
    if (typeof name === 'number') return name;
    const result = this.#names.lookup(folder, name);
    if (result === -ENOENT) return w.writeNegativeEntry(this.#x.out, mayBeVirtual(name) ? NEVER_CACHED_S : LONG_S);
    return result < 0 ? result : this.#entry();
  }

  create(request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const name = this.#x.name(request, r.CREATE_NAME);
    if (typeof name === 'number') return name;
    const flags = r.createFlags(request);
    let result = this.#names.createFile(folder, name, r.createMode(request), this.#from(request));
    const { node } = this.#names;
    if (result === -EEXIST && ((flags & p.O_EXCL) === 0 || this.#x.again)) {
      result = this.#files.open(node, flags, r.headerUid(request), r.headerPid(request));
      if (result === 0) result = this.#files.attributes(node);
      if (result === 0) this.#names.attributes = this.#files.found;
    } else if (result === 0 && node.kind === 'file') this.#files.opened(node, flags);
    if (result < 0) return result;
    const answer = this.#x.writeOpen(this.#entry(), node);
    if (answer < 0 && node.kind === 'file') this.#files.release(node, flags, true);
    return answer;
  }

  /** MKNOD and MKDIR. Of special files there are none here. */
  make(opcode: number, request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const name = this.#x.name(request, opcode === p.FUSE_MKDIR ? r.MKDIR_NAME : r.MKNOD_NAME);
    if (typeof name === 'number') return name;
    const caller = this.#from(request);
    let result: Result;
    if (opcode === p.FUSE_MKDIR) {
      result = this.#names.createFolder(folder, name, r.mkdirMode(request), caller, this.#x.again);
    } else {
      const mode = r.mknodMode(request);
      const type = mode & p.S_IFMT;
      if (type !== p.S_IFREG && type !== 0) return -EPERM;
      result = this.#names.createFile(folder, name, mode, caller);
      if (result === -EEXIST && this.#x.again) result = 0;
    }
    return result < 0 ? result : this.#entry();
  }

  symlink(request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const name = this.#x.name(request, r.ONLY_NAME);
    if (typeof name === 'number') return name;
    const start = r.nameEnd(request, r.ONLY_NAME, this.#x.length) + 1;
    const end = r.nameEnd(request, start, this.#x.length);
    if (end <= start) return -EINVAL;
    const target = request.subarray(start, end);
    const result = this.#names.createLink(folder, name, target, this.#from(request), this.#x.again);
    return result < 0 ? result : this.#entry();
  }

  /** UNLINK and RMDIR. */
  remove(opcode: number, request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const name = this.#x.name(request, r.ONLY_NAME);
    if (typeof name === 'number') return name;
    const pid = r.headerPid(request);
    return opcode === p.FUSE_UNLINK
      ? this.#names.unlink(folder, name, pid, this.#x.again)
      : this.#names.removeFolder(folder, name, pid, this.#x.again);
  }

  /** RENAME and RENAME2; their two names start at `names`. */
  rename(request: Buffer, names: number, flags: number): Result {
    const from = this.#x.node(request);
    const to = this.#x.backing.table.get(r.renameFolder(request));
    if (from === undefined || to === undefined) return -ESTALE;
    if (from.kind !== 'folder' || to.kind !== 'folder') return -ENOTDIR;
    const name = this.#x.name(request, names);
    if (typeof name === 'number') return name;
    const newName = this.#x.name(request, r.nameEnd(request, names, this.#x.length) + 1);
    if (typeof newName === 'number') return newName;
    return this.#names.rename(from, name, to, newName, flags, r.headerPid(request), this.#x.again);
  }

  readdir(request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#noFolder(request);
    const limit = Math.min(r.readSize(request), p.MAX_WRITE);
    return this.#listing.write(this.#x.out, folder, r.readOffset(request), limit);
  }

  statfs(): Result {
    return w.writeStatfs(this.#x.out, this.#names.statfs(), p.MAX_NAME_BYTES);
  }

  /** Answers with the node that an operation found or made. */
  #entry(): Result {
    const { node, attributes } = this.#names;
    node.lookups++;
    return w.writeEntry(this.#x.out, node.kind === 'virtual' ? NEVER_CACHED_S : LONG_S, node.id, attributes);
  }

  #noFolder(request: Buffer): Result {
    return this.#x.node(request) === undefined ? -ESTALE : -ENOTDIR;
  }

  #from(request: Buffer): Caller {
    this.#caller.uid = r.headerUid(request);
    this.#caller.gid = r.headerGid(request);
    this.#caller.pid = r.headerPid(request);
    return this.#caller;
  }
}

/** Missing names that the watcher may make visible later without the kernel knowing (`.primary`, `.lag`, `<db>-pos`, `<db>-lock`). */
const mayBeVirtual = (name: string): boolean => name.startsWith('.') || name.endsWith('-pos') || name.endsWith('-lock');
