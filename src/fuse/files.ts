import { fstatSync } from 'node:fs';
import {
  chmodSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  readSync,
  unlinkSync,
  writeSync,
} from '../disk/index.js';
import {
  attributesOfVirtual,
  type Backing,
  backingPath,
  proceeds,
  type Result,
  refusal,
  statPath,
  virtualAttributes,
  watcherOf,
} from './backing.js';
import { EACCES, EFBIG, EINVAL, EISDIR, EOPNOTSUPP, EPERM, ESTALE } from './errno.js';
import type { DiskPath } from './file-name.js';
import { type Node, type RegularFile, type VirtualFile, WAKE_NAME } from './nodes.js';
import { O_ACCMODE, O_TRUNC, S_IXGRP } from './protocol.js';
import type { Attributes } from './reply.js';
import { linkTarget } from './symbolic-link.js';

/** What SETATTR asks for. Times in seconds with a fraction, `now` for the current time; undefined leaves a field. */
export interface AttributeChange {
  mode: number | undefined;
  uid: number | undefined;
  gid: number | undefined;
  size: number | undefined;
  atime: number | 'now' | undefined;
  mtime: number | 'now' | undefined;
}

export const NO_CHANGE: Readonly<AttributeChange> = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  size: undefined,
  atime: undefined,
  mtime: undefined,
};

const EMPTY = Buffer.alloc(0);

/** Operations on what is in files: the calls that name a node, not a path. System errors are thrown. */
export class FileOperations {
  readonly #backing: Backing;
  /** What `attributes` found. */
  found: Attributes = virtualAttributes(0);

  constructor(backing: Backing) {
    this.#backing = backing;
  }

  /** Fills `found`. */
  attributes(node: Node): Result {
    if (node.kind === 'virtual') {
      this.found = attributesOfVirtual(this.#backing, node.path, this.content(node)?.length ?? 0);
      return 0;
    }
    const stat = this.#stat(node);
    if (stat === undefined) return -ESTALE;
    this.found = stat;
    return 0;
  }

  #stat(node: Exclude<Node, VirtualFile>): Attributes | undefined {
    if (node.kind === 'folder' && node.removed !== undefined) return node.removed;
    if (node.kind !== 'file') return statPath(backingPath(this.#backing, node));
    if (node.openFd >= 0) return fstatSync(node.openFd);
    return node.nameless && !node.orphan ? undefined : statPath(backingPath(this.#backing, node));
  }

  /** Content of a virtual file now. */
  content(node: VirtualFile): Buffer | undefined {
    return node.name === WAKE_NAME && node.parent?.parent === undefined
      ? EMPTY
      : this.#backing.watcher.virtual(node.path);
  }

  open(node: Node, flags: number, uid: number, pid: number): Result {
    if (node.kind === 'virtual') return this.#openVirtual(node, flags);
    if (node.kind === 'folder') return -EISDIR;
    if (node.kind === 'other') return -EINVAL;
    // ESTALE makes the kernel look the name up again.
    if (node.nameless && !node.orphan) return -ESTALE;
    const verdict = watcherOf(this.#backing, node).mayOpen(node, flags, pid);
    if (!proceeds(verdict)) return refusal(verdict);
    if ((flags & O_TRUNC) !== 0) {
      const result = this.resize(node, 0, pid);
      if (result < 0) return result;
      if (uid !== 0) dropSetId(node.fd());
    } else {
      // Now, so that a file that cannot be opened fails here rather than at its first read.
      node.fd();
    }
    this.opened(node, flags);
    return 0;
  }

  #openVirtual(node: VirtualFile, flags: number): Result {
    if ((flags & (O_ACCMODE | O_TRUNC)) === 0) return 0;
    const facts = this.#backing.watcher.lockFile?.(node.path);
    return facts === undefined ? -EACCES : refusal(facts.mayWrite);
  }

  /** Counts a handle. */
  opened(node: RegularFile, flags: number): void {
    node.handles++;
    if ((flags & O_ACCMODE) !== 0) node.writers++;
  }

  /** A handle was closed; `ours` if it was opened in this process. */
  release(node: RegularFile, flags: number, ours: boolean): void {
    const writer = (flags & O_ACCMODE) !== 0;
    if (ours) {
      node.handles = Math.max(0, node.handles - 1);
      if (writer) node.writers = Math.max(0, node.writers - 1);
    }
    watcherOf(this.#backing, node).released(node, writer);
    if (node.orphan && node.handles === 0 && !node.inherited) this.endOrphan(node);
  }

  /** Deletes the data of an unlinked file that nobody can read any more. */
  endOrphan(node: RegularFile): void {
    const { descriptors, table } = this.#backing;
    descriptors.close(node);
    table.end(node);
    unlinkSync(descriptors.orphanPath(node));
  }

  /** Reads into `out` from `at`. Returns the bytes, fewer only at the end of the file. */
  read(node: Node, out: Buffer, at: number, size: number, position: number): Result {
    if (node.kind === 'virtual') return this.#readVirtual(node, out, at, size, position);
    if (node.kind !== 'file') return -EISDIR;
    if (position > Number.MAX_SAFE_INTEGER) return -EINVAL;
    return readSync(node.fd(), out, at, size, position);
  }

  /** Asks the watcher, then writes. Returns the bytes that were written; the caller replies, then tells `wrote`. */
  write(node: Node, position: number, data: Buffer, start: number, length: number, pid: number): Result {
    if (node.kind !== 'file') return -EACCES;
    if (position > Number.MAX_SAFE_INTEGER - length) return -EFBIG;
    const verdict = watcherOf(this.#backing, node).mayWrite(node, position, data, start, length, pid);
    if (verdict !== 0) return refusal(verdict);
    return length === 0 ? 0 : writeSync(node.fd(), data, start, length, position);
  }

  resize(node: RegularFile, size: number, pid: number): Result {
    if (size > Number.MAX_SAFE_INTEGER) return -EFBIG;
    const watcher = watcherOf(this.#backing, node);
    const verdict = watcher.mayResize(node, size, pid);
    if (!proceeds(verdict)) return refusal(verdict);
    ftruncateSync(node.fd(), size);
    watcher.resized(node, size, pid);
    return 0;
  }

  /**
   * Node.js has no fallocate. Mode 0 beyond the end extends the file by truncation, which promises its size but not
   * its space; every other mode is refused, and programs then write zeros themselves.
   */
  allocate(node: Node, offset: number, length: number, mode: number, pid: number): Result {
    if (node.kind !== 'file' || mode !== 0) return -EOPNOTSUPP;
    const end = offset + length;
    if (end > fstatSync(node.fd()).size) return this.resize(node, end, pid);
    return 0;
  }

  change(node: Node, change: AttributeChange, pid: number): Result {
    if (node.kind === 'virtual') return -EPERM;
    if (change.size !== undefined && node.kind !== 'file') return -EISDIR;
    if (touchesMore(change)) {
      const verdict = this.#backing.watcher.maySetAttributes(node.path, pid);
      if (!proceeds(verdict)) return refusal(verdict);
    }
    if (change.size !== undefined && node.kind === 'file') {
      const result = this.resize(node, change.size, pid);
      if (result < 0) return result;
    }
    if (node.kind === 'file') changeFile(node.fd(), change);
    else changePath(backingPath(this.#backing, node), change, node.kind === 'folder');
    return 0;
  }

  readLink(node: Node): Buffer {
    return linkTarget(backingPath(this.#backing, node));
  }

  #readVirtual(node: VirtualFile, out: Buffer, at: number, size: number, position: number): Result {
    const content = this.content(node);
    if (content === undefined) return -ESTALE;
    return position >= content.length ? 0 : content.copy(out, at, position, position + size);
  }
}

/** Anything but the size. A truncation sets the times too, and those go with it. */
function touchesMore(change: AttributeChange): boolean {
  if (change.mode !== undefined || change.uid !== undefined || change.gid !== undefined) return true;
  return change.size === undefined && (change.atime !== undefined || change.mtime !== undefined);
}

/** As with any write by another than root. The kernel sees to that itself, but not where an open truncates. */
function dropSetId(fd: number): void {
  const { mode } = fstatSync(fd);
  const kept = mode & ((mode & S_IXGRP) !== 0 ? 0o1777 : 0o3777);
  if (kept !== (mode & 0o7777)) fchmodSync(fd, kept);
}

function changeFile(fd: number, change: AttributeChange): void {
  if (change.uid !== undefined || change.gid !== undefined) {
    const stat = fstatSync(fd);
    fchownSync(fd, change.uid ?? stat.uid, change.gid ?? stat.gid);
  }
  if (change.mode !== undefined) fchmodSync(fd, change.mode & 0o7777);
  if (change.atime !== undefined || change.mtime !== undefined) {
    const stat = fstatSync(fd);
    futimesSync(fd, timeOf(change.atime, stat.atimeMs), timeOf(change.mtime, stat.mtimeMs));
  }
}

function changePath(path: DiskPath, change: AttributeChange, followMode: boolean): void {
  const stat = statPath(path);
  if (stat === undefined) return;
  if (change.uid !== undefined || change.gid !== undefined) {
    lchownSync(path, change.uid ?? stat.uid, change.gid ?? stat.gid);
  }
  if (change.mode !== undefined && followMode) chmodSync(path, change.mode & 0o7777);
  if (change.atime !== undefined || change.mtime !== undefined) {
    lutimesSync(path, timeOf(change.atime, stat.atimeMs), timeOf(change.mtime, stat.mtimeMs));
  }
}

/** Node.js cuts off what is behind the microsecond, and the nearest number may lie before it. */
const CUT_OFF_S = 0.3e-6;

/** For Node.js, which takes a number below 0 for now, and a date for what it says. */
function timeOf(wanted: number | 'now' | undefined, beforeMs: number): number | Date {
  const seconds = wanted === undefined ? beforeMs / 1000 : wanted === 'now' ? Date.now() / 1000 : wanted;
  return seconds < 0 ? new Date(seconds * 1000) : Math.round(seconds * 1e6) / 1e6 + CUT_OFF_S;
}
