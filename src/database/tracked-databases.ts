import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { HEADER_SIZE, hasJournalMagic } from '../sqlite/index.js';
import { MAX_SLOTS } from './shared.js';
import { TrackedDatabase } from './tracked-database.js';

/** The worker's databases by name and slot. */
export class TrackedDatabases {
  private readonly byName = new Map<string, TrackedDatabase>();
  private readonly bySlot: TrackedDatabase[] = [];

  constructor(
    private readonly backing: string,
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

  at(slot: number): TrackedDatabase | undefined {
    return this.bySlot[slot];
  }

  /** A new one, or undefined when this node holds as many as it can. */
  create(name: string): TrackedDatabase | undefined {
    const slot = this.bySlot.length;
    if (slot >= MAX_SLOTS) return undefined;
    this.found(slot, name);
    return this.add(slot, name);
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

  private add(slot: number, name: string): TrackedDatabase {
    const database = new TrackedDatabase(slot, name, join(this.backing, `${name}-wal`));
    this.byName.set(name, database);
    this.bySlot[slot] = database;
    return database;
  }
}

/** Fills `head` from the start of the file; 0 if there is none. */
function readHead(path: string, head: Buffer): number {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return 0;
  }
  try {
    const stat = fstatSync(fd);
    return stat.isFile() && stat.size > 0 ? readSync(fd, head, 0, head.length, 0) : 0;
  } finally {
    closeSync(fd);
  }
}
