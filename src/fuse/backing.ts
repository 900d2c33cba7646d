import { lstatSync, type Stats } from 'node:fs';
import type { Descriptors } from './descriptors.js';
import { type DiskPath, onDisk } from './file-name.js';
import type { Folder, Node, NodeTable, RegularFile } from './nodes.js';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from './protocol.js';
import type { Attributes } from './reply.js';
import { linkTarget } from './symbolic-link.js';
import { UNWATCHED } from './unwatched.js';
import { DEFER, PROCEED, type Verdict, type Watcher } from './watcher.js';

/** An operation's answer: 0 or more when it was done, a negative errno when not, or DEFERRED. */
export type Result = number;
export const DEFERRED = -4096;

/** What the operations of one mount work on. */
export interface Backing {
  /** The folder with the real files, absolute, without a trailing slash. */
  readonly folder: string;
  readonly table: NodeTable;
  readonly descriptors: Descriptors;
  readonly watcher: Watcher;
}

/** The result for a verdict that is not PROCEED. */
export function refusal(verdict: Verdict): Result {
  return verdict === DEFER ? DEFERRED : -verdict;
}

export const proceeds = (verdict: Verdict): boolean => verdict === PROCEED;

export function backingPath(backing: Backing, node: Node): DiskPath {
  if (node.kind === 'file') return backing.descriptors.path(node);
  return onDisk(node.path === '' ? backing.folder : `${backing.folder}/${node.path}`);
}

export function childBackingPath(backing: Backing, folder: Folder, name: string): DiskPath {
  return onDisk(`${backing.folder}/${relativePath(folder, name)}`);
}

export const relativePath = (folder: Folder, name: string): string =>
  folder.path === '' ? name : `${folder.path}/${name}`;

/** lstat without an exception for a name that does not exist. A link is as long as its target. */
export function statPath(path: DiskPath): Stats | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat !== undefined && (stat.mode & S_IFMT) === S_IFLNK) stat.size = linkTarget(path).length;
  return stat;
}

export function kindOfMode(mode: number): 'file' | 'folder' | 'other' {
  const type = mode & S_IFMT;
  return type === S_IFREG ? 'file' : type === S_IFDIR ? 'folder' : 'other';
}

/** Tells the watcher of a file once. */
export function announce(backing: Backing, file: RegularFile, created: boolean): void {
  if (file.announced) return;
  file.announced = true;
  backing.watcher.added(file, created);
}

/** Who is asked, and told, about what is in `file`. */
export const watcherOf = (backing: Backing, file: RegularFile): Watcher =>
  file.announced ? backing.watcher : UNWATCHED;

/** Attributes of the virtual file at `path` with `size` bytes. Who may write to a database may lock it. */
export function attributesOfVirtual(backing: Backing, path: string, size: number): Attributes {
  const attributes = virtualAttributes(size);
  const facts = backing.watcher.lockFile?.(path);
  const like = facts === undefined ? undefined : statPath(onDisk(`${backing.folder}/${facts.like}`));
  if (like === undefined) return attributes;
  const { mode, uid, gid } = like;
  return { ...attributes, mode: S_IFREG | (mode & 0o666), uid, gid };
}

/** Attributes of a virtual file with `size` bytes. */
export function virtualAttributes(size: number): Attributes {
  const ms = Date.now();
  return {
    size,
    blocks: 0,
    atimeMs: ms,
    mtimeMs: ms,
    ctimeMs: ms,
    mode: S_IFREG | 0o444,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 4096,
  };
}
