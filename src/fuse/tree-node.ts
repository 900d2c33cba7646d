import type { NodeKind } from './node-log.js';
import type { Attributes } from './reply.js';
import type { FileNode } from './watcher.js';

/** What every node has. */
abstract class TreeNode {
  abstract readonly kind: NodeKind;
  readonly id: number;
  parent: Folder | undefined;
  name: string;
  path: string;
  /** References that the kernel holds: one for each entry it was answered. */
  lookups = 0;
  /** Known from an earlier process: its lookups and handles of then are not counted here. */
  inherited = false;
  /** It has no name any more. */
  nameless = false;

  constructor(id: number, parent: Folder | undefined, name: string) {
    this.id = id;
    this.parent = parent;
    this.name = name;
    this.path = parent === undefined ? name : childPath(parent, name);
  }
}

export class Folder extends TreeNode {
  readonly kind = 'folder';
  readonly children = new Map<string, Node>();
  /** Counts names that came or went, for listings that are read in pieces. */
  changes = 0;
  /** What it was like when it was removed: somebody may still be in it. */
  removed: Attributes | undefined;
}

/** Opens backing files on demand; see descriptors.ts. */
export interface FileOpener {
  fd(file: RegularFile): number;
}

export class RegularFile extends TreeNode implements FileNode {
  readonly kind = 'file';
  handles = 0;
  writers = 0;
  orphan = false;
  tag: unknown = undefined;
  /** Backing descriptor, -1 if it is not open. */
  openFd = -1;
  /** When it was last used, in ticks of the descriptor cache. */
  usedAt = 0;
  /** The watcher was told of it. */
  announced = false;
  /** What the kernel knows its backing file by, to read and write it by itself; 0: it asks us. See passthrough.ts. */
  backingId = 0;
  readonly #opener: FileOpener;

  constructor(id: number, parent: Folder | undefined, name: string, opener: FileOpener) {
    super(id, parent, name);
    this.#opener = opener;
  }

  get passed(): boolean {
    return this.backingId !== 0;
  }

  fd(): number {
    return this.#opener.fd(this);
  }
}

/** A symbolic link, socket or device of the backing folder. */
export class OtherFile extends TreeNode {
  readonly kind = 'other';
}

/** A file by name only, its content asked from the watcher. */
export class VirtualFile extends TreeNode {
  readonly kind = 'virtual';
}

export type Node = Folder | RegularFile | OtherFile | VirtualFile;

function childPath(folder: Folder, name: string): string {
  return folder.path === '' ? name : `${folder.path}/${name}`;
}

/** After a change of its parent or name: new paths all the way down. */
export function setPath(node: Node): void {
  node.path = node.parent === undefined ? node.name : childPath(node.parent, node.name);
  if (node.kind === 'folder') for (const child of node.children.values()) setPath(child);
}
