import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { closeSync, readSync } from '../disk/index.js';
import type { FileNode } from '../fuse/index.js';
import { isRestoring } from '../restoring-name.js';
import { HEADER_SIZE, hasJournalMagic } from '../sqlite/index.js';
import { nameProblem } from './names.js';
import { openToRead } from './readable-file.js';
import { NO_SLOT, type SharedState } from './shared.js';
import { TrackedDatabase } from './tracked-database.js';

const COMPANIONS = ['', '-wal', '-shm', '-journal'] as const;
/** Names that found no slot and are remembered, so that main hears of each once. */
const MAX_REFUSED = 1024;

/** The worker's databases by name and slot. */
export class TrackedDatabases {
  private readonly byName = new Map<string, TrackedDatabase>();
  private readonly bySlot: TrackedDatabase[] = [];
  private readonly refused = new Set<string>();
  /** Where the last search for a slot ended. */
  private searched = 0;

  /** `found`: a new one, with `NO_SLOT` if this node cannot hold it. */
  constructor(
    private readonly backing: string,
    private readonly shared: SharedState,
    known: readonly { readonly name: string; readonly slot: number }[],
    private readonly found: (slot: number, name: string) => void,
  ) {
    for (const { name, slot } of known) this.add(slot, name);
  }

  all(): Iterable<TrackedDatabase> {
    return this.byName.values();
  }

  get(name: string): TrackedDatabase | undefined {
    return this.byName.get(name);
  }

  /** Of one that is there: from its removal on, whatever main still has to do, it is not. */
  slotOf(name: string): number | undefined {
    const database = this.byName.get(name);
    return database?.dropped ? undefined : database?.slot;
  }

  at(slot: number): TrackedDatabase | undefined {
    return this.bySlot[slot];
  }

  /**
   * A new one, in the slot of a dropped one if there is one. Undefined when this node holds as many as it can, or other
   * nodes could have none of that name, or it is what a restore is making, which comes under another name when it is done.
   */
  create(name: string): TrackedDatabase | undefined {
    if (isRestoring(name)) return undefined;
    if (nameProblem(name) !== undefined) {
      this.refuse(name);
      return undefined;
    }
    const dropped = this.nextDropped();
    if (dropped === undefined && this.bySlot.length >= this.shared.slots) {
      this.refuse(name);
      return undefined;
    }
    this.refused.delete(name);
    const slot = dropped?.slot ?? this.bySlot.length;
    if (dropped !== undefined) this.byName.delete(dropped.name);
    const database = this.add(slot, name);
    if (dropped !== undefined) {
      // What main published of the old one's WAL is of no generation that the new one has.
      database.wal.generation = dropped.wal.generation + 1;
      this.shared.beginWal(slot, database.wal.generation);
    }
    this.found(slot, name);
    return database;
  }

  /** There is a file of its name, perhaps again: then it begins anew for main too. */
  attach(database: TrackedDatabase, node: FileNode): void {
    database.main = node;
    if (!database.dropped) return;
    database.dropped = false;
    // A WAL that is there already, as in a copy of both, says nothing of the file that comes.
    database.dirtyUnknown = true;
    this.found(database.slot, database.name);
  }

  /** Takes what the files hold before the mount answers: the WAL's commits, a journal that is hot. */
  load(database: TrackedDatabase): void {
    const head = Buffer.alloc(HEADER_SIZE);
    const path = join(this.backing, database.name);
    if (readHead(path, head) === HEADER_SIZE) database.notePageSize(head, 0, HEADER_SIZE);
    if (readHead(database.walPath, head) > 0) database.wal.load();
    if (readHead(`${path}-journal`, head) > 0 && hasJournalMagic(head)) {
      // Its owner may still be at work in the middle of a transaction: what changed so far is not known.
      database.journalOpen = true;
      database.dirtyUnknown = true;
    }
  }

  /** A dropped one that nothing refers to any more: not main, not a pin, no file beside it that is still there. */
  private nextDropped(): TrackedDatabase | undefined {
    const { bySlot } = this;
    for (let n = 0; n < bySlot.length; n++) {
      this.searched = (this.searched + 1) % bySlot.length;
      const database = bySlot[this.searched]!;
      if (database.dropped && this.isDone(database) && !this.hasFiles(database)) return database;
    }
    return undefined;
  }

  private isDone({ slot, main, walNode, pending, pins, waitingPins }: TrackedDatabase): boolean {
    if (main !== undefined || walNode !== undefined || pins.length > 0 || waitingPins.length > 0) return false;
    return pending === undefined || this.shared.settled(slot) >= pending.sequence;
  }

  private hasFiles({ name }: TrackedDatabase): boolean {
    return COMPANIONS.some((suffix) => existsSync(join(this.backing, name + suffix)));
  }

  private refuse(name: string): void {
    if (this.refused.has(name) || this.refused.size >= MAX_REFUSED) return;
    this.refused.add(name);
    this.found(NO_SLOT, name);
  }

  private add(slot: number, name: string): TrackedDatabase {
    const database = new TrackedDatabase(slot, name, join(this.backing, `${name}-wal`));
    this.byName.set(name, database);
    this.bySlot[slot] = database;
    return database;
  }
}

/** Fills `head` from the start of the file; 0 if there is none. */
function readHead(path: string, head: Buffer): number {
  const fd = openToRead(path);
  if (fd === undefined) return 0;
  try {
    return readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
}
