import type { ReadRecord } from '../../../src/disk/trace.js';
import type { Tree } from './crash-state.js';

/** A write or truncation of a file. */
export interface DataChange {
  /** In the trace. */
  readonly index: number;
  readonly label: string;
  readonly at: number;
  /** Undefined: a truncation to `at`. */
  readonly content: Buffer | undefined;
  readonly mtimeMs: number;
}

/** A change of names, in one folder or from one to another. */
export interface NameChange {
  readonly index: number;
  readonly label: string;
  /** Undefined: removed. */
  readonly put: readonly { readonly folder: Folder; readonly name: string; readonly node: Node | undefined }[];
}

/** A file: what is on the disk for sure, and what was done since and may be there. */
export class File {
  durable: Buffer = Buffer.alloc(0);
  mtimeMs = 0;
  pending: DataChange[] = [];

  /** What was done before `index` is there for sure. */
  sync(index: number): void {
    const done = this.pending.filter((change) => change.index < index);
    if (done.length === 0) return;
    this.durable = applied(this.durable, done);
    this.mtimeMs = done.at(-1)!.mtimeMs;
    this.pending = this.pending.filter((change) => change.index >= index);
  }
}

export class Folder {
  durable = new Map<string, Node>();
  pending: NameChange[] = [];

  /** The names after the first `count` of the pending changes. */
  names(count: number): Map<string, Node> {
    const names = new Map(this.durable);
    for (const change of this.pending.slice(0, count)) this.apply(names, change);
    return names;
  }

  /** Changes before `index` are there for sure, and with a rename from another folder all that was before it there. */
  sync(index: number): void {
    while (this.pending[0] !== undefined && this.pending[0].index < index) {
      const change = this.pending.shift()!;
      this.apply(this.durable, change);
      for (const { folder } of change.put) if (folder !== this) folder.sync(change.index + 1);
    }
  }

  private apply(names: Map<string, Node>, { put }: NameChange): void {
    for (const { folder, name, node } of put) {
      if (folder !== this) continue;
      if (node === undefined) names.delete(name);
      else names.set(name, node);
    }
  }
}

export type Node = File | Folder;

/**
 * A disk, as far as a trace up to some record lets it be known: what is durable, and what may be. A sync makes durable what
 * was done to its file, or to the names in its folder, before it began. Nothing else does.
 */
export class DiskModel {
  root = new Folder();
  private readonly nodes = new Map<number, Node>();
  private readonly syncs = new Map<string, { readonly node: Node; readonly index: number }>();

  /** A folder that is on the disk for sure, with all that is in it; `idOf`: what the trace calls each path of it. */
  holds(tree: Tree, idOf: (path: string) => number, path = ''): Folder {
    const folder = new Folder();
    this.nodes.set(idOf(path), folder);
    for (const [name, entry] of tree) {
      const below = path === '' ? name : `${path}/${name}`;
      if (entry instanceof Map) {
        folder.durable.set(name, this.holds(entry, idOf, below));
        continue;
      }
      const file = new File();
      file.durable = entry.content;
      file.mtimeMs = entry.mtimeMs;
      this.nodes.set(idOf(below), file);
      folder.durable.set(name, file);
    }
    return folder;
  }

  /** What the trace calls `id`. */
  node(id: number): Node | undefined {
    return this.nodes.get(id);
  }

  /** The next record. */
  take(record: ReadRecord, index: number): void {
    const { label } = record;
    switch (record.op) {
      case 'root':
        this.nodes.set(record.file, this.root);
        return;
      case 'create':
      case 'mkdir': {
        const node = record.op === 'create' ? new File() : new Folder();
        this.nodes.set(record.file, node);
        this.change(index, label, [{ folder: this.folder(record.folder), name: record.name, node }]);
        return;
      }
      case 'link':
        this.change(index, label, [
          { folder: this.folder(record.folder), name: record.name, node: this.nodes.get(record.file) },
        ]);
        return;
      case 'unlink':
      case 'rmdir':
        this.change(index, label, [{ folder: this.folder(record.folder), name: record.name, node: undefined }]);
        return;
      case 'rename': {
        const from = this.folder(record.folder);
        const node = from.names(from.pending.length).get(record.name);
        this.change(index, label, [
          { folder: from, name: record.name, node: undefined },
          { folder: this.folder(record.toFolder), name: record.toName, node },
        ]);
        return;
      }
      case 'write':
      case 'truncate': {
        const node = this.nodes.get(record.file);
        if (!(node instanceof File)) throw new Error(`record ${index}: ${record.op} of a file that was not created`);
        const [at, content] = record.op === 'write' ? [record.at, record.content] : [record.size, undefined];
        node.pending.push({ index, label, at, content, mtimeMs: record.mtimeMs });
        return;
      }
      case 'sync': {
        const node = this.nodes.get(record.file);
        if (node !== undefined) this.syncs.set(record.id, { node, index });
        return;
      }
      case 'synced': {
        const sync = this.syncs.get(record.id);
        sync?.node.sync(sync.index);
        this.syncs.delete(record.id);
        return;
      }
      default:
    }
  }

  private change(index: number, label: string, put: NameChange['put']): void {
    const change = { index, label, put };
    for (const folder of new Set(put.map((each) => each.folder))) folder.pending.push(change);
  }

  private folder(id: number): Folder {
    const node = this.nodes.get(id);
    if (!(node instanceof Folder)) throw new Error(`folder ${id} was not made`);
    return node;
  }
}

/** `content` with the changes done to it. */
export function applied(content: Buffer, changes: readonly DataChange[]): Buffer {
  let size = content.length;
  let room = size;
  for (const change of changes) {
    room = Math.max(room, change.content === undefined ? change.at : change.at + change.content.length);
  }
  const result = Buffer.alloc(room);
  content.copy(result);
  for (const { at, content: bytes } of changes) {
    if (bytes === undefined) {
      result.fill(0, Math.min(at, size), size);
      size = at;
    } else {
      bytes.copy(result, at);
      size = Math.max(size, at + bytes.length);
    }
  }
  return result.subarray(0, size);
}
