import * as fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { threadId } from 'node:worker_threads';
import { type Fault, Faults } from './faults.js';
import { kindOf, LABELS, type Operation } from './labels.js';
import { type TraceRecord, TraceWriter } from './trace.js';
import type { FileId } from './types.js';

/** What a call is about: a file or folder below the data folder. */
export interface Target {
  readonly path: string;
  readonly kind: string;
}

const known = new Set(LABELS);

/** Of a folder that is to be made, or is being removed while a last thread begins, the path as it is given. */
function realPathOf(root: string): string {
  try {
    return fs.realpathSync(root);
  } catch {
    return root;
  }
}

/** A data folder whose calls are recorded, or made to fail, or both. */
export class WatchedFolder {
  readonly #root: string;
  readonly #faults: Faults | undefined;
  readonly #trace: TraceWriter | undefined;
  readonly #thread: string;
  #syncs = 0;

  constructor(root: string, trace: string | undefined, faults: string | undefined) {
    this.#root = realPathOf(root);
    // The file that a thread runs is its name: node-main, fuse-worker, sync-thread.
    this.#thread = basename(process.argv[1] ?? '', '.js');
    this.#faults = faults === undefined ? undefined : new Faults(faults, this.#thread);
    this.#trace = trace === undefined ? undefined : new TraceWriter(trace);
    if (this.#trace !== undefined && fs.existsSync(this.#root))
      this.#record({ op: 'root', file: idOf(this.#root) }, '');
  }

  /** Undefined if it is elsewhere. */
  at(path: fs.PathLike, isFolder = false): Target | undefined {
    const text = String(path);
    if (text !== this.#root && !text.startsWith(`${this.#root}/`)) return undefined;
    return { path: text, kind: kindOf(text.slice(this.#root.length + 1), isFolder) };
  }

  /** What a descriptor is open for. */
  of(fd: number): Target | undefined {
    try {
      const path = fs.readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith('/')
        ? this.at(path.replace(/ \(deleted\)$/, ''), fs.fstatSync(fd).isDirectory())
        : undefined;
    } catch {
      // Not open: the call itself says so.
      return undefined;
    }
  }

  /** Before a call: throws if it is to fail, or its label is not in the list. */
  before(target: Target | undefined, operation: Operation, call: string): Fault {
    if (target === undefined) return 'none';
    const label = labelOf(target, operation);
    if (!known.has(label))
      throw new Error(`the label ${label} (${call} of ${target.path}) is not in src/disk/labels.ts`);
    return this.#faults?.check(label, call, target.path) ?? 'none';
  }

  wrote(target: Target | undefined, fd: number, content: Uint8Array, at: number): void {
    if (target === undefined || this.#trace === undefined || content.length === 0) return;
    const { ino: file, mtimeMs } = fs.fstatSync(fd);
    this.#record({ op: 'write', file, at, mtimeMs }, labelOf(target, 'write'), content);
  }

  truncated(target: Target | undefined, fd: number, size: number): void {
    if (target === undefined || this.#trace === undefined) return;
    const { ino: file, mtimeMs } = fs.fstatSync(fd);
    this.#record({ op: 'truncate', file, size, mtimeMs }, labelOf(target, 'truncate'));
  }

  /** A name that is there now. */
  made(op: 'create' | 'mkdir' | 'link', target: Target | undefined): void {
    if (target === undefined || this.#trace === undefined) return;
    this.#record({ op, ...placeOf(target), file: idOf(target.path) }, labelOf(target, op));
  }

  madeLink(target: Target | undefined, content: string): void {
    if (target === undefined || this.#trace === undefined) return;
    this.#record(
      { op: 'symlink', ...placeOf(target), file: idOf(target.path), target: content },
      labelOf(target, 'link'),
    );
  }

  removed(op: 'unlink' | 'rmdir', target: Target | undefined): void {
    if (target === undefined || this.#trace === undefined) return;
    this.#record({ op, ...placeOf(target) }, labelOf(target, op));
  }

  renamed(from: Target | undefined, to: Target | undefined): void {
    if (from === undefined || to === undefined || this.#trace === undefined) return;
    const { folder: toFolder, name: toName } = placeOf(to);
    this.#record({ op: 'rename', ...placeOf(from), toFolder, toName }, labelOf(from, 'rename'));
  }

  /** Returns what to call when the sync is done. */
  syncing(target: Target | undefined, fd: number): () => void {
    if (target === undefined || this.#trace === undefined) return () => undefined;
    const id = `${process.pid}.${threadId}.${++this.#syncs}`;
    const label = labelOf(target, 'sync');
    this.#record({ op: 'sync', file: fs.fstatSync(fd).ino, id }, label);
    return () => this.#record({ op: 'synced', id }, label);
  }

  #record(record: TraceRecord, label: string, content?: Uint8Array): void {
    this.#trace?.append(record, label, this.#thread, content);
  }
}

const labelOf = ({ kind }: Target, operation: Operation): string => `${kind}.${operation}`;

const idOf = (path: string): FileId => fs.lstatSync(path).ino;

const placeOf = ({ path }: Target): { folder: FileId; name: string } => ({
  folder: idOf(dirname(path)),
  name: basename(path),
});
