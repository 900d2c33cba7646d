import { readSync } from '../disk/index.js';
import type { FileNode } from '../fuse/index.js';
import { companionOf, HEADER_SIZE, hasDatabaseMagic, hasJournalMagic, JOURNAL_HEADER_SIZE } from '../sqlite/index.js';
import type { DatabaseGate } from './database-gate.js';
import type { MainLink } from './main-link.js';
import type { PinDesk } from './pin-desk.js';
import type { TrackedDatabase } from './tracked-database.js';
import type { TrackedDatabases } from './tracked-databases.js';
import type { UnloggedMarks } from './unlogged-marks.js';
import type { WalGate } from './wal-gate.js';

const COMPANIONS = ['wal', 'shm', 'journal'] as const;

type Kind = 'main' | 'wal' | 'shm' | 'journal';

/** The tag of a file: what it is to which database. */
export interface Owner {
  kind: Kind;
  /** Undefined while it is nobody's: no database yet, or a companion of none. */
  database: TrackedDatabase | undefined;
}

/** What takes part in a database's coming and going. */
export interface OwnersParts {
  readonly databases: TrackedDatabases;
  readonly marks: UnloggedMarks;
  readonly main: MainLink;
  readonly files: DatabaseGate;
  readonly wals: WalGate;
  readonly pins: PinDesk;
}

/** Whose the mount's files are: finds databases as their files come, change their names and go. On the worker thread. */
export class FileOwners {
  /** Main files and candidates that the kernel knows, by path. */
  private readonly mains = new Map<string, FileNode>();
  /** Files with a companion's suffix whose database is not known (yet), by path. */
  private readonly strays = new Map<string, FileNode>();

  constructor(private readonly parts: OwnersParts) {}

  added(node: FileNode, created: boolean): void {
    const companion = companionOf(node.path);
    if (companion === undefined) {
      const database = this.parts.databases.get(node.path);
      if (database !== undefined) this.parts.databases.attach(database, node);
      this.mains.set(node.path, node);
      node.tag = { kind: 'main', database } satisfies Owner;
      return;
    }
    const main = this.mains.get(companion.database);
    const database =
      this.parts.databases.get(companion.database) ??
      (main === undefined ? undefined : this.create(main, main.tag as Owner));
    node.tag = { kind: companion.kind, database } satisfies Owner;
    if (database === undefined) this.strays.set(node.path, node);
    else if (companion.kind === 'wal') {
      this.setWal(database, node);
      if (created) this.parts.wals.clear(database);
    } else if (companion.kind === 'shm') database.shmNode = node;
  }

  removed(node: FileNode): void {
    const tag = node.tag as Owner | undefined;
    if (tag === undefined) return;
    const database = tag.database;
    this.strays.delete(node.path);
    if (tag.kind === 'main') {
      if (this.mains.get(node.path) === node) this.mains.delete(node.path);
      if (database?.main === node) this.drop(database);
    } else if (database !== undefined) {
      this.companionGone(tag.kind, database, node);
    }
    tag.database = undefined;
  }

  renamed(node: FileNode, oldPath: string): void {
    const tag = node.tag as Owner | undefined;
    if (tag === undefined) return;
    this.strays.delete(oldPath);
    if (tag.kind === 'main') {
      if (this.mains.get(oldPath) === node) this.mains.delete(oldPath);
      if (tag.database?.main === node) this.drop(tag.database);
    } else if (tag.database !== undefined) {
      this.companionGone(tag.kind, tag.database, node);
    }
    this.added(node, false);
    const now = node.tag as Owner;
    if (now.kind === 'main') this.arrived(node, now);
    else if (now.kind === 'wal' && now.database !== undefined) this.parts.wals.load(now.database);
  }

  /** A file came under this name by a rename: if it is a database, all of it is new. */
  arrived(node: FileNode, tag: Owner): void {
    const head = Buffer.alloc(HEADER_SIZE);
    if (readSync(node.fd(), head, 0, HEADER_SIZE, 0) < HEADER_SIZE || !hasDatabaseMagic(head)) return;
    const database = tag.database ?? this.create(node, tag);
    if (database === undefined) return;
    database.main = node;
    database.notePageSize(head, 0, HEADER_SIZE);
    database.dirtyUnknown = true;
    // Set already if it took another's place; a new name has no state that would be believed without it.
    this.parts.files.mark(database);
    // A drop that is still under way keeps its place: main takes both in order.
    database.pending = undefined;
    this.parts.files.settle(database);
  }

  /** Takes a file for a database from now on, with what stands beside it. Undefined if the node holds too many. */
  create(node: FileNode, tag: Owner): TrackedDatabase | undefined {
    if (this.parts.databases.get(node.path) !== undefined) return undefined;
    const database = this.parts.databases.create(node.path);
    if (database === undefined) return undefined;
    database.main = node;
    database.dirtyUnknown = true;
    database.marked = this.parts.marks.has(database.name);
    tag.database = database;
    for (const kind of COMPANIONS) {
      const companion = this.strays.get(`${node.path}-${kind}`);
      if (companion === undefined) continue;
      this.strays.delete(companion.path);
      (companion.tag as Owner).database = database;
      if (kind === 'wal') {
        this.setWal(database, companion);
        this.parts.wals.load(database);
      } else if (kind === 'shm') database.shmNode = companion;
      else if (kind === 'journal') {
        database.journalOpen = startsJournal(companion);
      }
    }
    if (!database.journaled) this.parts.files.mark(database);
    return database;
  }

  /** Has main watch a WAL that the kernel writes by itself, or no more. */
  watchWal({ slot, walPath }: TrackedDatabase, on: boolean): void {
    this.parts.main.send({ kind: 'watch-wal', slot, path: on ? walPath : undefined });
  }

  private drop(database: TrackedDatabase): void {
    database.main = undefined;
    database.pageSize = 0;
    database.journalOpen = false;
    database.watched = false;
    database.clearChanges();
    for (const pin of database.pins.splice(0)) pin.close();
    this.parts.main.tellDropped(database);
  }

  private companionGone(kind: Kind, database: TrackedDatabase, node: FileNode): void {
    if (kind === 'wal' && database.walNode === node) {
      this.parts.wals.clear(database);
      this.setWal(database, undefined);
    } else if (kind === 'shm' && database.shmNode === node) database.shmNode = undefined;
    else if (kind === 'journal') {
      this.parts.pins.journalEnded(database);
    }
  }

  private setWal(database: TrackedDatabase, node: FileNode | undefined): void {
    if (database.isPassed && node === undefined) this.watchWal(database, false);
    database.walNode = node;
    if (database.isPassed) this.watchWal(database, true);
  }
}

function startsJournal(node: FileNode): boolean {
  const head = Buffer.alloc(JOURNAL_HEADER_SIZE);
  return readSync(node.fd(), head, 0, head.length, 0) === head.length && hasJournalMagic(head);
}
