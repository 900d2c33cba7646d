import { constants, fstatSync, type Stats, statfsSync } from 'node:fs';
import {
  chmodSync,
  closeSync,
  fchmodSync,
  fchownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from '../disk/index.js';
import {
  announce,
  attributesOfVirtual,
  type Backing,
  backingPath,
  childBackingPath,
  kindOfMode,
  proceeds,
  type Result,
  refusal,
  relativePath,
  statPath,
  virtualAttributes,
} from './backing.js';
import { EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, EPERM, errnoOf } from './errno.js';
import type { DiskPath } from './file-name.js';
import type { Folder, Node, RegularFile, VirtualFile } from './nodes.js';
import { RENAME_NOREPLACE, S_ISGID } from './protocol.js';
import type { Attributes, FileSystemAttributes } from './reply.js';
import { makeLink } from './symbolic-link.js';

/** Who asks, for new files. */
export interface Caller {
  uid: number;
  gid: number;
  pid: number;
}

/**
 * Operations on names. System errors are thrown. `again` says that the kernel sent the request before, to a process
 * that died: what it asks for may be done already, and then that is a success.
 */
export class NameOperations {
  readonly #backing: Backing;
  /** What `lookup`, `createFile` and `createFolder` found or made. */
  node: Node;
  attributes: Attributes = virtualAttributes(0);

  constructor(backing: Backing) {
    this.#backing = backing;
    this.node = backing.table.root;
  }

  /** Fills `node` and `attributes`. */
  lookup(folder: Folder, name: string): Result {
    const { table, watcher } = this.#backing;
    const known = table.child(folder, name);
    if (known === table.wake) return this.#foundVirtual(table.wake, 0);
    const content = watcher.virtual(relativePath(folder, name));
    if (content !== undefined) return this.#foundVirtual(this.#virtualNode(folder, name, known), content.length);
    const stat =
      known?.kind === 'file' && known.openFd >= 0
        ? fstatSync(known.openFd)
        : statPath(childBackingPath(this.#backing, folder, name));
    if (stat === undefined) {
      if (known !== undefined) table.unbind(known);
      return -ENOENT;
    }
    this.#found(folder, name, known, stat, false);
    return 0;
  }

  /**
   * Creates a regular file and leaves its descriptor in the cache. If there is one already: -EEXIST, with `node`
   * set to it.
   */
  createFile(folder: Folder, name: string, mode: number, caller: Caller): Result {
    const refused = this.#mayCreate(folder, name, caller.pid);
    if (refused < 0) return refused;
    const path = childBackingPath(this.#backing, folder, name);
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, mode & 0o777);
    } catch (error) {
      if (errnoOf(error) === EEXIST && this.lookup(folder, name) === 0) return -EEXIST;
      throw error;
    }
    const { table, descriptors } = this.#backing;
    let file: RegularFile;
    try {
      this.attributes = this.#own(fd, folder, mode, caller);
      const ghost = table.child(folder, name);
      if (ghost !== undefined) table.unbind(ghost);
      file = table.add(folder, name, 'file') as RegularFile;
    } catch (error) {
      closeSync(fd);
      unlinkSync(path);
      throw error;
    }
    descriptors.adopt(file, fd);
    this.node = file;
    announce(this.#backing, file, true);
    return 0;
  }

  createFolder(folder: Folder, name: string, mode: number, caller: Caller, again: boolean): Result {
    const refused = this.#mayCreate(folder, name, caller.pid);
    if (refused < 0) return refused;
    const path = childBackingPath(this.#backing, folder, name);
    let made = true;
    try {
      mkdirSync(path, mode & 0o7777);
    } catch (error) {
      if (!again || errnoOf(error) !== EEXIST) throw error;
      made = false;
    }
    let stat = statPath(path)!;
    const gid = (stat.mode & S_ISGID) !== 0 ? stat.gid : caller.gid;
    if (stat.uid !== caller.uid || stat.gid !== gid) lchownSync(path, caller.uid, gid);
    if ((stat.mode & 0o1777) !== (mode & 0o1777)) chmodSync(path, (mode & 0o1777) | (stat.mode & S_ISGID));
    stat = statPath(path)!;
    try {
      this.#found(folder, name, this.#backing.table.child(folder, name), stat, true);
    } catch (error) {
      if (made) rmdirSync(path);
      throw error;
    }
    return 0;
  }

  createLink(folder: Folder, name: string, target: Buffer, caller: Caller, again: boolean): Result {
    const refused = this.#mayCreate(folder, name, caller.pid);
    if (refused < 0) return refused;
    const path = childBackingPath(this.#backing, folder, name);
    const result = makeLink(target, path, again);
    if (result < 0) return result;
    try {
      lchownSync(path, caller.uid, this.#groupOfNew(statPath(path)!, folder, caller));
      this.#found(folder, name, this.#backing.table.child(folder, name), statPath(path)!, true);
    } catch (error) {
      unlinkSync(path);
      throw error;
    }
    return 0;
  }

  unlink(folder: Folder, name: string, pid: number, again: boolean): Result {
    const { table, watcher } = this.#backing;
    const result = this.#existing(folder, name);
    if (result < 0) return again && result === -ENOENT ? 0 : result;
    const { node } = this;
    if (node.kind === 'virtual') return -EPERM;
    if (node.kind === 'folder') return -EISDIR;
    const verdict = node.kind === 'file' ? watcher.mayUnlink(node, pid) : watcher.mayChange(node.path, pid);
    if (!proceeds(verdict)) return refusal(verdict);
    if (node.kind === 'file') this.#takeAway(node);
    else {
      unlinkSync(backingPath(this.#backing, node));
      table.unbind(node);
    }
    return 0;
  }

  removeFolder(folder: Folder, name: string, pid: number, again: boolean): Result {
    const { table, watcher } = this.#backing;
    const result = this.#existing(folder, name);
    if (result < 0) return again && result === -ENOENT ? 0 : result;
    const { node } = this;
    if (node.kind !== 'folder') return -ENOTDIR;
    const verdict = watcher.mayChange(node.path, pid);
    if (!proceeds(verdict)) return refusal(verdict);
    rmdirSync(backingPath(this.#backing, node));
    for (const child of [...node.children.values()]) table.unbind(child);
    table.unbind(node);
    node.removed = { ...this.attributes, nlink: 0 };
    return 0;
  }

  /** RENAME_EXCHANGE and RENAME_WHITEOUT are refused: Node.js has no renameat2. */
  rename(from: Folder, name: string, to: Folder, newName: string, flags: number, pid: number, again: boolean): Result {
    if ((flags & ~RENAME_NOREPLACE) !== 0) return -EINVAL;
    const { watcher, table } = this.#backing;
    const target = this.#target(to, newName);
    if (target?.kind === 'virtual') return -EPERM;
    const result = this.#existing(from, name);
    if (result < 0) return again && result === -ENOENT && target !== undefined ? 0 : result;
    const { node } = this;
    if (node.kind === 'virtual') return -EPERM;
    if (target === node) return 0;
    if (target !== undefined && (flags & RENAME_NOREPLACE) !== 0) return -EEXIST;
    const newPath = relativePath(to, newName);
    const replaced = target?.kind === 'file' ? target : undefined;
    const verdict = watcher.mayRename(node.path, newPath, replaced, pid);
    if (!proceeds(verdict)) return refusal(verdict);
    const kept = this.#renameFile(node, to, newName, replaced);
    if (replaced !== undefined) this.#removed(replaced, kept);
    else if (target !== undefined) table.unbind(target);
    this.#moved(node, to, newName);
    return 0;
  }

  statfs(): FileSystemAttributes {
    return statfsSync(this.#backing.folder);
  }

  /** Returns whether the data of the file that was `replaced` is kept. */
  #renameFile(node: Node, to: Folder, newName: string, replaced: RegularFile | undefined): boolean {
    const { table } = this.#backing;
    const path = childBackingPath(this.#backing, to, newName);
    table.intend(node, to, newName);
    let kept = false;
    try {
      kept = replaced !== undefined && this.#keep(replaced);
      renameSync(backingPath(this.#backing, node), path);
    } catch (error) {
      table.stay(node);
      if (replaced !== undefined && kept) this.#giveBack(replaced, path);
      throw error;
    }
    return kept;
  }

  #moved(node: Node, to: Folder, newName: string): void {
    const { table, watcher } = this.#backing;
    const files: { file: RegularFile; oldPath: string }[] = [];
    for (const each of table.below(node)) if (each.kind === 'file') files.push({ file: each, oldPath: each.path });
    table.move(node, to, newName);
    for (const { file, oldPath } of files) {
      if (file.announced) watcher.renamed(file, oldPath);
      else announce(this.#backing, file, false);
    }
  }

  /** Takes the name from a file, keeping its data if a handle may still read it. */
  #takeAway(file: RegularFile): void {
    const path = backingPath(this.#backing, file);
    const keep = mustKeep(file);
    if (keep) renameSync(path, this.#backing.descriptors.orphanPath(file));
    // A rename does nothing where both are names of one file: what a rename over it that failed could not remove.
    if (!keep || statPath(path) !== undefined) unlinkSync(path);
    this.#removed(file, keep);
  }

  /** Gives the data of a file that is about to be replaced a second name. */
  #keep(file: RegularFile): boolean {
    if (!mustKeep(file)) return false;
    const path = backingPath(this.#backing, file);
    const orphanPath = this.#backing.descriptors.orphanPath(file);
    try {
      linkSync(path, orphanPath);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === EEXIST) unlinkSync(orphanPath);
      if (errno === EEXIST) linkSync(path, orphanPath);
      else renameSync(path, orphanPath);
    }
    return true;
  }

  /** Undoes `#keep`. Where not even that can be done, it was removed: who has it open has its data. */
  #giveBack(file: RegularFile, path: DiskPath): void {
    const orphanPath = this.#backing.descriptors.orphanPath(file);
    try {
      if (statPath(path) === undefined) renameSync(orphanPath, path);
      else unlinkSync(orphanPath);
    } catch {
      if (statPath(path) === undefined) this.#removed(file, true);
    }
  }

  #removed(file: RegularFile, kept: boolean): void {
    const { table, watcher, descriptors } = this.#backing;
    if (kept) table.orphan(file);
    else {
      descriptors.close(file);
      table.unbind(file);
    }
    if (file.announced) watcher.removed(file);
  }

  /** The node at a name, from the table or the backing folder; fills `node`. */
  #existing(folder: Folder, name: string): Result {
    const known = this.#backing.table.child(folder, name);
    if (known?.kind === 'virtual') {
      this.node = known;
      return 0;
    }
    return this.lookup(folder, name);
  }

  #target(folder: Folder, name: string): Node | undefined {
    return this.#existing(folder, name) === 0 ? this.node : undefined;
  }

  #mayCreate(folder: Folder, name: string, pid: number): Result {
    const { watcher, table } = this.#backing;
    const path = relativePath(folder, name);
    if (table.child(folder, name) === table.wake || watcher.virtual(path) !== undefined) return -EPERM;
    const verdict = watcher.mayCreate(path, pid);
    return proceeds(verdict) ? 0 : refusal(verdict);
  }

  #found(folder: Folder, name: string, known: Node | undefined, stat: Stats, created: boolean): void {
    const { table } = this.#backing;
    const kind = kindOfMode(stat.mode);
    if (known !== undefined && known.kind !== kind) table.unbind(known);
    this.node = known !== undefined && known.kind === kind ? known : table.add(folder, name, kind);
    this.attributes = stat;
    if (this.node.kind === 'file') announce(this.#backing, this.node, created);
  }

  #foundVirtual(node: VirtualFile, size: number): Result {
    this.node = node;
    this.attributes = attributesOfVirtual(this.#backing, node.path, size);
    return 0;
  }

  #virtualNode(folder: Folder, name: string, known: Node | undefined): VirtualFile {
    if (known?.kind === 'virtual') return known;
    if (known !== undefined) this.#backing.table.unbind(known);
    return this.#backing.table.add(folder, name, 'virtual') as VirtualFile;
  }

  /** A set-group-id folder hands down its group, which the new file has already. */
  #groupOfNew(stat: Stats, folder: Folder, caller: Caller): number {
    const parent = statPath(backingPath(this.#backing, folder));
    return parent !== undefined && (parent.mode & S_ISGID) !== 0 ? stat.gid : caller.gid;
  }

  /** Gives a new file its owner and mode where the process's own differ. */
  #own(fd: number, folder: Folder, mode: number, caller: Caller): Stats {
    const stat = fstatSync(fd);
    let changed = false;
    if (stat.uid !== caller.uid || stat.gid !== caller.gid) {
      fchownSync(fd, caller.uid, this.#groupOfNew(stat, folder, caller));
      changed = true;
    }
    if ((stat.mode & 0o7777) !== (mode & 0o7777)) {
      fchmodSync(fd, mode & 0o7777);
      changed = true;
    }
    return changed ? fstatSync(fd) : stat;
  }
}

/** Handles of an earlier process are not known, so its files are kept until the kernel forgets them. */
const mustKeep = (file: RegularFile): boolean => file.handles > 0 || file.inherited;
