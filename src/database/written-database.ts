import { readSync } from '../disk/index.js';
import type { FileNode, LockOwner } from '../fuse/index.js';
import {
  type DatabaseHeader,
  databasePageCount,
  HEADER_SIZE,
  parseDatabaseHeader,
  parseWalHeader,
  WAL_HEADER_SIZE,
  type WalIndexHeader,
} from '../sqlite/index.js';
import { PageSet } from './page-set.js';
import { WalTracker } from './wal-tracker.js';

/**
 * What the worker of a replica knows of a database that applications may write: whether main has granted its write lock,
 * who has it, and what its transaction did so far.
 */
export class WrittenDatabase {
  main: FileNode | undefined;
  walNode: FileNode | undefined;
  shmNode: FileNode | undefined;
  readonly wal: WalTracker;
  /** The lock may be had without asking main, until then. */
  grant: { readonly serial: number; readonly untilMs: number } | undefined;
  /** The grant by which the lock is held, or was last. */
  serial = 0;
  holder: LockOwner | undefined;
  /** Where the holder's transaction begins in the WAL is known: it got the lock by a grant. */
  isBegun = false;
  /** Who waits for the grant. */
  readonly waiting: LockOwner[] = [];
  /** Who of them is to be told that the database is busy. */
  readonly refused: LockOwner[] = [];
  /** Main knows that somebody waits. */
  asked = false;
  /**
   * What main said of the transaction that is about to commit. `made`: the commit is in the files; `undone`: it was taken, and
   * SQLite takes it back here, because another database's was not.
   */
  commit: 'none' | 'asked' | 'taken' | 'refused' | 'made' | 'undone' = 'none';
  /** A rollback journal is in use. */
  journalOpen = false;
  readonly dirty = new PageSet();
  /** Which pages of the file changed is not known. */
  dirtyUnknown = false;
  resized = false;

  constructor(readonly name: string) {
    this.wal = new WalTracker((target, length, position) =>
      this.walNode === undefined ? 0 : readSync(this.walNode.fd(), target, 0, length, position),
    );
  }

  get changed(): boolean {
    return this.dirtyUnknown || this.resized || this.dirty.size > 0;
  }

  /** Main granted the lock; with the WAL as its readers see it. */
  begin(serial: number, untilMs: number, index: WalIndexHeader | undefined): void {
    this.grant = { serial, untilMs };
    this.asked = false;
    if (index === undefined) return;
    const head = Buffer.alloc(WAL_HEADER_SIZE);
    const read = this.walNode === undefined ? 0 : readSync(this.walNode.fd(), head, 0, WAL_HEADER_SIZE, 0);
    const header = read < WAL_HEADER_SIZE ? undefined : parseWalHeader(head);
    if (header === undefined || index.frames === 0) {
      // The next writer begins it with a header of its own.
      this.wal.clear();
      return;
    }
    this.wal.beginAnew(header);
    this.wal.publish(index.frames, index.s0, index.s1);
  }

  /** A rollback transaction, or what is left of one, has ended. */
  journalEnded(): void {
    this.journalOpen = false;
    if (this.dirty.size > 0) this.dirty.clear();
    this.dirtyUnknown = false;
    this.resized = false;
  }

  /** Notes a write to the database file. */
  noteWrite(position: number, length: number): void {
    const pageSize = this.pageSize();
    if (pageSize === 0) {
      this.dirtyUnknown = true;
      return;
    }
    const last = Math.floor((position + length - 1) / pageSize) + 1;
    for (let page = Math.floor(position / pageSize) + 1; page <= last; page++) this.dirty.add(page);
  }

  /** Bytes that the file is to have, by what stands in it; 0 if that cannot be said. */
  size(): number {
    const header = this.header();
    return header === undefined ? 0 : databasePageCount(header, 0) * header.pageSize;
  }

  private pageSize(): number {
    return this.header()?.pageSize ?? 0;
  }

  private header(): DatabaseHeader | undefined {
    const head = Buffer.alloc(HEADER_SIZE);
    if (this.main === undefined || readSync(this.main.fd(), head, 0, HEADER_SIZE, 0) < HEADER_SIZE) return undefined;
    return parseDatabaseHeader(head);
  }
}

export function isOwner(owner: LockOwner | undefined, low: number, high: number): boolean {
  return owner !== undefined && owner.low === low && owner.high === high;
}
