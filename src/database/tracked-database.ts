import { closeSync, openSync, readSync } from '../disk/index.js';
import type { FileNode } from '../fuse/index.js';
import { parseDatabaseHeader } from '../sqlite/index.js';
import { PageSet } from './page-set.js';
import { WalTracker } from './wal-tracker.js';
import type { WorkerPin } from './worker-pin.js';

/** What main compares with the database file before a WAL goes: its last transaction, or all; or it only copies it. */
export type Comparison = 'none' | 'last' | 'all';

/** What main has to finish before the worker lets the database change again. */
export type Pending =
  | { readonly kind: 'changed' | 'dropped'; readonly sequence: number }
  | { readonly kind: 'undo'; readonly sequence: number; readonly frames: number }
  | {
      readonly kind: 'leaving';
      readonly sequence: number;
      readonly generation: number;
      readonly frames: number;
      readonly how: Comparison;
    };

/** What is known of a WAL that the kernel writes by itself, of whose writes nobody tells. */
export interface PassedWal {
  /** What a complete checkpoint has brought to the database file: frames, and the pages that the file then has. */
  backfilled: { readonly generation: number; readonly frames: number; readonly pages: number } | undefined;
  /** Frames that its users had published when it was last looked at; undefined where none of them says it. */
  published: number | undefined;
  /** The wal-index was seen to change since a handle of it was closed: it is no old one that nobody uses. */
  indexMoves: boolean;
  /** What was taken for committed is not there any more: main must read the database whole. */
  broken: boolean;
}

/** A pin that waits for the end of a rollback transaction. */
export interface WaitingPin {
  readonly pin: number;
  readonly path: string;
}

/** What the worker knows of one database: its files, the state of its WAL, and what changed since the last commit. */
export class TrackedDatabase {
  main: FileNode | undefined;
  walNode: FileNode | undefined;
  shmNode: FileNode | undefined;
  /** Bytes; 0 until page 1 was seen. */
  pageSize = 0;
  readonly wal: WalTracker;
  /** A rollback journal is in use: writes to the database belong to its transaction. */
  journalOpen = false;
  /** Pages of the database file written since its last commit, other than by checkpoints. */
  readonly dirty = new PageSet();
  /** Which pages changed is not known: the process started in the middle, the page size changed, a file came in. */
  dirtyUnknown = false;
  /** The file's size was changed since the last commit. */
  resized = false;
  pending: Pending | undefined;
  /** Main was told that the file is gone, and not that there is one of that name again. */
  dropped = false;
  /** The state of the WAL that main has compared with the database file. */
  compared: { readonly generation: number; readonly frames: number; readonly how: Comparison } | undefined;
  readonly passed: PassedWal = { backfilled: undefined, published: undefined, indexMoves: false, broken: false };
  /** The next process will see that the file has changes that are not logged. */
  marked = false;
  /** Main looks for the end of a transaction without a journal. */
  watched = false;
  /** Somebody wrote without a journal whose locks cannot be seen. */
  writtenUnseen = false;
  /** Whether its commits may have to wait; undefined until it was asked. */
  awaited: boolean | undefined;
  /** The number of the commit whose answer is withheld; 0: none. See CommitGate. */
  awaiting = 0;
  /** Main is taking that commit back. */
  undoing = false;
  /** The write that was told to have failed as its commit was refused. */
  refusedWrite: { readonly position: number; readonly length: number } | undefined;
  /** TXID before the journal's transaction was logged, -1 if that is not known; undefined if it changed nothing so far. */
  journalFrom: number | undefined;
  /** The end of a journal was refused: its next end is that of its playback. */
  playback = false;
  readonly pins: WorkerPin[] = [];
  readonly waitingPins: WaitingPin[] = [];

  constructor(
    readonly slot: number,
    readonly name: string,
    /** Backing path of the -wal. */
    readonly walPath: string,
  ) {
    this.wal = new WalTracker((target, length, position) => this.readWal(target, length, position));
  }

  /** Whether the kernel writes the WAL by itself. */
  get isPassed(): boolean {
    return this.walNode?.passed === true;
  }

  get changed(): boolean {
    return this.dirtyUnknown || this.resized || this.dirty.size > 0;
  }

  /** Whether writes to the database file are a checkpoint's: it has a WAL with content and no journal. */
  get checkpointing(): boolean {
    return this.wal.header !== undefined && !this.journalOpen;
  }

  /**
   * Whether a crash leaves a journal or a WAL that tells of writes to the database file. A WAL that came before the file
   * did, as in a copy of both, does not.
   */
  get journaled(): boolean {
    return this.journalOpen || (this.checkpointing && !this.dirtyUnknown);
  }

  clearChanges(): void {
    this.marked = false;
    this.writtenUnseen = false;
    if (this.dirty.size > 0) this.dirty.clear();
    this.dirtyUnknown = false;
    this.resized = false;
  }

  /** Notes a write to the database file that is not a checkpoint's. */
  noteWrite(position: number, length: number): void {
    if (this.pageSize === 0) {
      this.dirtyUnknown = true;
      return;
    }
    const first = Math.floor(position / this.pageSize) + 1;
    const last = Math.floor((position + length - 1) / this.pageSize) + 1;
    for (let page = first; page <= last; page++) this.dirty.add(page);
  }

  /** Takes the page size from the bytes of page 1, `length` of them at `start`. */
  notePageSize(data: Buffer, start: number, length: number): void {
    if (length < 100) return;
    const stored = data.readUInt16BE(start + 16);
    if ((stored === 1 ? 65536 : stored) === this.pageSize) return;
    const header = parseDatabaseHeader(data.subarray(start, start + 100));
    if (header === undefined) return;
    if (this.pageSize !== 0) this.dirtyUnknown = true;
    this.pageSize = header.pageSize;
  }

  private readWal(target: Buffer, length: number, position: number): number {
    if (this.walNode !== undefined) return readSync(this.walNode.fd(), target, 0, length, position);
    // Before the kernel has looked the file up, that is at the start only.
    const fd = openSync(this.walPath, 'r');
    try {
      return readSync(fd, target, 0, length, position);
    } finally {
      closeSync(fd);
    }
  }
}
