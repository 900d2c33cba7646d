import { backingPath, type Result, watcherOf } from './backing.js';
import { EINVAL, ENOTDIR, ESTALE } from './errno.js';
import { type Exchange, LONG_S, NEVER_CACHED_S } from './exchange.js';
import type { DiskPath } from './file-name.js';
import { type AttributeChange, type FileOperations, NO_CHANGE } from './files.js';
import type { Node, RegularFile } from './nodes.js';
import * as p from './protocol.js';
import * as w from './reply.js';
import * as r from './request.js';

/** Syncs descriptors and answers the request itself, now or from another thread. Must not throw. See syncer.ts. */
export interface Sync {
  file(uniqueLow: number, uniqueHigh: number, file: RegularFile, also: readonly number[], dataOnly: boolean): void;
  folder(uniqueLow: number, uniqueHigh: number, path: DiskPath, also: readonly number[]): void;
}

/** Decodes requests about one node, and writes the bodies of their replies. WRITE is the session's own. */
export class FileRequests {
  readonly #x: Exchange;
  readonly #files: FileOperations;
  readonly #sync: Sync;
  readonly #change: AttributeChange = { ...NO_CHANGE };

  constructor(exchange: Exchange, files: FileOperations, sync: Sync) {
    this.#x = exchange;
    this.#files = files;
    this.#sync = sync;
  }

  read(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    const size = Math.min(r.readSize(request), p.MAX_WRITE);
    return this.#files.read(node, this.#x.out, p.OUT_HEADER, size, r.readOffset(request));
  }

  open(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    const flags = r.openFlags(request);
    const result = this.#files.open(node, flags, r.headerUid(request), r.headerPid(request));
    if (result < 0) return result;
    const answer = this.#x.writeOpen(0, node);
    if (answer < 0 && node.kind === 'file') this.#files.release(node, flags, true);
    return answer;
  }

  release(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node?.kind !== 'file') return 0;
    this.#files.release(node, r.releaseFlags(request), this.#x.isOurs(r.releaseHandle(request)));
    return 0;
  }

  getattr(node: Node | undefined): Result {
    if (node === undefined) return -ESTALE;
    const result = this.#files.attributes(node);
    if (result < 0) return result;
    const timeoutS = node.kind === 'virtual' ? NEVER_CACHED_S : LONG_S;
    return w.writeAttrOut(this.#x.out, timeoutS, node.id, this.#files.found, node.kind === 'file' && node.orphan);
  }

  setattr(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    const valid = r.setattrValid(request);
    const has = (flag: number): boolean => (valid & flag) !== 0;
    const change = this.#change;
    change.mode = has(p.FATTR_MODE) ? r.setattrMode(request) : undefined;
    change.uid = has(p.FATTR_UID) ? r.setattrUid(request) : undefined;
    change.gid = has(p.FATTR_GID) ? r.setattrGid(request) : undefined;
    change.size = has(p.FATTR_SIZE) ? r.setattrSize(request) : undefined;
    change.atime = has(p.FATTR_ATIME_NOW) ? 'now' : has(p.FATTR_ATIME) ? r.setattrAtime(request) : undefined;
    change.mtime = has(p.FATTR_MTIME_NOW) ? 'now' : has(p.FATTR_MTIME) ? r.setattrMtime(request) : undefined;
    const result = this.#files.change(node, change, r.headerPid(request));
    return result < 0 ? result : this.getattr(node);
  }

  /** Answered by `Sync`, unless the result is below 0. */
  fsync(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    if (node.kind !== 'file') return -EINVAL;
    const also = watcherOf(this.#x.backing, node).alsoSync(node);
    const dataOnly = (r.fsyncFlags(request) & p.FSYNC_FDATASYNC) !== 0;
    this.#sync.file(this.#x.uniqueLow, this.#x.uniqueHigh, node, also, dataOnly);
    return 0;
  }

  /** Answered by `Sync`, unless the result is below 0. */
  fsyncFolder(request: Buffer): Result {
    const folder = this.#x.folder(request);
    if (folder === undefined) return this.#x.node(request) === undefined ? -ESTALE : -ENOTDIR;
    const also = this.#x.backing.watcher.alsoSyncFolder(folder.path);
    this.#sync.folder(this.#x.uniqueLow, this.#x.uniqueHigh, backingPath(this.#x.backing, folder), also);
    return 0;
  }

  allocate(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    const length = r.fallocateLength(request);
    return this.#files.allocate(
      node,
      r.fallocateOffset(request),
      length,
      r.fallocateMode(request),
      r.headerPid(request),
    );
  }

  readLink(request: Buffer): Result {
    const node = this.#x.node(request);
    if (node === undefined) return -ESTALE;
    return node.kind === 'other' ? this.#files.readLink(node).copy(this.#x.out, p.OUT_HEADER) : -EINVAL;
  }
}
