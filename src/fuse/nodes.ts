import {
  boundRecord,
  goneRecord,
  movingRecord,
  type NodeKind,
  type NodeLog,
  type NodeRecords,
  nextRecord,
  orphanedRecord,
  passedRecord,
} from './node-log.js';
import { FIRST_ID, ROOT_ID, WAKE_ID } from './protocol.js';
import { type FileOpener, Folder, type Node, OtherFile, RegularFile, setPath, VirtualFile } from './tree-node.js';

export { type FileOpener, Folder, type Node, OtherFile, RegularFile, VirtualFile } from './tree-node.js';

export const WAKE_NAME = '.sluice-wake';

/** A rename of which an earlier process wrote that it was about to make it, and nothing else. */
export interface InterruptedMove {
  readonly node: Node;
  readonly folder: Folder;
  readonly name: string;
}

/** Names whose id may be given to the next file there: rollback journals come and go with each transaction. */
const RETIRED_LIMIT = 1024;

/**
 * Node ids and the tree of names. A node stays as long as its name exists (so that what the watcher hangs on it does),
 * and after that until the kernel forgets it. Memory grows with the files that were ever looked up and still exist.
 *
 * No id is given out before its record is written. What follows a change of the backing folder is recorded after it; if
 * that fails, the change stands, and the whole log is written anew before the next id. Whoever takes over finds out from
 * the backing folder what it misses; see takeover.ts.
 */
export class NodeTable {
  readonly root = new Folder(ROOT_ID, undefined, '');
  readonly wake = new VirtualFile(WAKE_ID, this.root, WAKE_NAME);
  readonly #nodes = new Map<number, Node>([
    [ROOT_ID, this.root],
    [WAKE_ID, this.wake],
  ]);
  readonly #opener: FileOpener;
  /** Folder id and name -> id of the file that was last unlinked there, whose record in the log still stands. */
  readonly #retired = new Map<string, number>();
  #log: NodeLog | undefined;
  /** The log lacks a record that could not be written. */
  #behind = false;
  #interrupted: InterruptedMove | undefined;
  #next = FIRST_ID;
  /** Told of a file that was passed on and that nobody can open any more. */
  onPassedEnd: ((backingId: number) => void) | undefined;

  constructor(opener: FileOpener) {
    this.#opener = opener;
  }

  /** From here on every change is written to `log`, which is written anew if what it `misses` was found by taking over. */
  record(log: NodeLog, misses = false): void {
    this.#log = log;
    this.#behind = misses;
    this.#tidy();
  }

  /** Left by an earlier process, after `NodeLog.resume`. */
  get interrupted(): InterruptedMove | undefined {
    return this.#interrupted;
  }

  get(id: number): Node | undefined {
    return this.#nodes.get(id);
  }

  child(folder: Folder, name: string): Node | undefined {
    return folder === this.root && name === WAKE_NAME ? this.wake : folder.children.get(name);
  }

  all(): IterableIterator<Node> {
    return this.#nodes.values();
  }

  /** A new node at a name that is free or whose node lost it. Throws, and adds nothing, if it cannot be recorded. */
  add(folder: Folder, name: string, kind: NodeKind): Node {
    this.#catchUp();
    const retired = kind === 'file' ? this.#retired.get(retiredKey(folder, name)) : undefined;
    // Only once the kernel has forgotten it.
    const reused = retired !== undefined && !this.#nodes.has(retired);
    const id = reused ? retired : this.#next;
    if (!reused) this.#log?.append(boundRecord(id, kind, folder.id, name));
    if (!reused) this.#next++;
    const node = this.#create(id, folder, name, kind);
    this.#attach(node, folder, name);
    this.#tidy();
    return node;
  }

  /** Its name is gone, and no handle needs it: the kernel will forget it. */
  unbind(node: Node): void {
    this.#detach(node);
    if (node.kind !== 'file' || node.passed) this.#write(goneRecord(node.id));
    else this.#retire(node);
    if (node.lookups === 0 && !node.inherited) this.#drop(node);
  }

  /** Its name is gone, and its data is kept for the handles that are open. */
  orphan(file: RegularFile): void {
    this.#detach(file);
    file.orphan = true;
    this.#write(orphanedRecord(file.id, file.path));
  }

  /** The kernel knows the backing file by `backingId` from now on. Throws, and changes nothing, if it cannot be recorded. */
  pass(file: RegularFile, backingId: number): void {
    this.#catchUp();
    this.#log?.append(passedRecord(file.id, backingId));
    file.backingId = backingId;
  }

  /** Removes an orphan whose data was deleted. */
  end(file: RegularFile): void {
    this.#write(goneRecord(file.id));
    this.#drop(file);
  }

  /** Before `node` becomes `name` in `folder`: whoever takes over looks whether it did. Throws if it cannot be recorded. */
  intend(node: Node, folder: Folder, name: string): void {
    this.#catchUp();
    this.#log?.append(movingRecord(node.id, folder.id, name));
  }

  /** What was intended did not happen. */
  stay(node: Node): void {
    if (node.parent !== undefined) this.#write(boundRecord(node.id, node.kind, node.parent.id, node.name));
  }

  /** `node` is now `name` in `folder`; the name must be free. New paths are set all the way down. */
  move(node: Node, folder: Folder, name: string): void {
    this.#detach(node);
    node.nameless = false;
    this.#attach(node, folder, name);
    this.#write(boundRecord(node.id, node.kind, folder.id, name));
  }

  /** The kernel dropped `count` references. Returns the node if it has none left and no name either. */
  forget(id: number, count: number): Node | undefined {
    const node = this.#nodes.get(id);
    if (node === undefined || id < FIRST_ID) return undefined;
    node.lookups = Math.max(0, node.lookups - count);
    if (node.lookups > 0 || !node.nameless) return undefined;
    if (node.kind !== 'file' || !node.orphan) this.#drop(node);
    return node;
  }

  /** All nodes at and below `node`, parents first. */
  *below(node: Node): Generator<Node> {
    yield node;
    if (node.kind === 'folder') for (const child of node.children.values()) yield* this.below(child);
  }

  /** Takes back what an earlier process wrote; pass to `NodeLog.resume`. */
  readonly records: NodeRecords = {
    next: (id) => {
      this.#next = Math.max(this.#next, id);
    },
    moving: (id, parentId, name) => {
      const node = this.#nodes.get(id);
      const folder = this.#nodes.get(parentId);
      const possible = node !== undefined && folder?.kind === 'folder' && !isAtOrBelow(folder, node);
      this.#interrupted = possible ? { node, folder, name } : undefined;
    },
    bound: (id, kind, parentId, name) => {
      this.#interrupted = undefined;
      this.#next = Math.max(this.#next, id + 1);
      const folder = this.#nodes.get(parentId);
      const known = this.#nodes.get(id);
      if (folder?.kind !== 'folder' || (known !== undefined && isAtOrBelow(folder, known))) return;
      const displaced = folder.children.get(name);
      if (displaced !== undefined) this.#detach(displaced);
      const node = known ?? this.#create(id, folder, name, kind);
      if (node.kind === 'file') node.orphan = false;
      if (node.parent?.children.get(node.name) === node) this.#detach(node);
      node.nameless = false;
      node.inherited = true;
      this.#attach(node, folder, name);
    },
    orphaned: (id, path) => {
      this.#next = Math.max(this.#next, id + 1);
      const known = this.#nodes.get(id);
      const file = known ?? this.#create(id, this.root, path, 'file');
      if (file.kind !== 'file') return;
      if (known !== undefined) this.#detach(file);
      file.nameless = true;
      file.inherited = true;
      file.orphan = true;
    },
    passed: (id, backingId) => {
      const node = this.#nodes.get(id);
      if (node?.kind === 'file') node.backingId = backingId;
    },
    gone: (id) => {
      const node = this.#nodes.get(id);
      if (node === undefined) return;
      this.#detach(node);
      this.#nodes.delete(id);
    },
  };

  /**
   * After `NodeLog.resume`: drops what was displaced and never named again, and what was in a folder that is gone: the
   * removal of a file is not recorded, and a file, or another folder with a file of that name, may have the folder's.
   */
  settle(): void {
    const named = new Set(this.below(this.root));
    for (const [id, node] of this.#nodes) {
      const kept = named.has(node) || node === this.wake || (node.kind === 'file' && node.orphan);
      if (!kept) this.#nodes.delete(id);
    }
  }

  #create(id: number, folder: Folder, name: string, kind: NodeKind): Node {
    const node =
      kind === 'file'
        ? new RegularFile(id, folder, name, this.#opener)
        : kind === 'folder'
          ? new Folder(id, folder, name)
          : kind === 'virtual'
            ? new VirtualFile(id, folder, name)
            : new OtherFile(id, folder, name);
    this.#nodes.set(id, node);
    return node;
  }

  #attach(node: Node, folder: Folder, name: string): void {
    node.parent = folder;
    node.name = name;
    folder.children.set(name, node);
    folder.changes++;
    setPath(node);
    this.#retired.delete(retiredKey(folder, name));
  }

  #detach(node: Node): void {
    const folder = node.parent;
    if (folder?.children.get(node.name) === node) {
      folder.children.delete(node.name);
      folder.changes++;
    }
    node.nameless = true;
  }

  #drop(node: Node): void {
    this.#nodes.delete(node.id);
    if (node.kind === 'file' && node.passed) this.onPassedEnd?.(node.backingId);
  }

  #retire(file: RegularFile): void {
    if (file.inherited || file.parent === undefined) return;
    if (this.#retired.size >= RETIRED_LIMIT) this.#retired.clear();
    this.#retired.set(retiredKey(file.parent, file.name), file.id);
  }

  /** Records what has happened already. */
  #write(record: string): void {
    if (this.#log === undefined) return;
    try {
      this.#catchUp();
      this.#log.append(record);
      this.#tidy();
    } catch {
      this.#behind = true;
    }
  }

  /** Puts right what could not be written before, or throws. */
  #catchUp(): void {
    if (this.#behind) this.#rewrite();
  }

  /** Shortens the log if it is time; it can do without. */
  #tidy(): void {
    if (this.#log === undefined || !(this.#behind || this.#log.crowded)) return;
    try {
      this.#rewrite();
    } catch {
      this.#log.postpone();
    }
  }

  #rewrite(): void {
    let records = nextRecord(this.#next);
    for (const node of this.below(this.root)) {
      if (node.parent !== undefined) records += boundRecord(node.id, node.kind, node.parent.id, node.name);
    }
    for (const node of this.#nodes.values()) {
      if (node.kind !== 'file') continue;
      if (node.orphan) records += orphanedRecord(node.id, node.path);
      if (node.passed) records += passedRecord(node.id, node.backingId);
    }
    this.#log?.rewrite(records);
    this.#retired.clear();
    this.#behind = false;
  }
}

/** A folder cannot become a part of itself; a damaged log may say so. */
function isAtOrBelow(folder: Folder, node: Node): boolean {
  for (let at: Folder | undefined = folder; at !== undefined; at = at.parent) if (at === node) return true;
  return false;
}

const retiredKey = (folder: Folder, name: string): string => `${folder.id}/${name}`;
