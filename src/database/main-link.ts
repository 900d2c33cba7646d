import type { Verdict } from '../fuse/index.js';
import { DEFER, PROCEED } from '../fuse/index.js';
import type { SharedState } from './shared.js';
import type { Comparison, Pending, TrackedDatabase } from './tracked-database.js';
import type { FromWorker } from './worker-messages.js';

/** The worker's side of what it and main tell each other about databases. */
export class MainLink {
  private sequence = 0;

  constructor(
    private readonly shared: SharedState,
    readonly send: (message: FromWorker) => void,
    /** Main is done with what it was asked for, and the consequences are drawn. */
    private readonly settled: (database: TrackedDatabase) => void,
  ) {}

  /** Whether everything committed in the WAL is in the log. If not, the worker will be woken. */
  isLogged(database: TrackedDatabase): boolean {
    const { slot, wal } = database;
    if (this.shared.isLogged(slot, wal.generation, wal.committedFrames)) return true;
    this.shared.setWaiting(slot);
    if (this.shared.isLogged(slot, wal.generation, wal.committedFrames)) return true;
    // Whoever waits must not wait for what main was not told of.
    this.publishWal(database);
    return false;
  }

  /** Whether the WAL is in the log up to `frames`. Without a wake-up. */
  isLoggedTo({ slot, wal }: TrackedDatabase, frames: number): boolean {
    return this.shared.isLogged(slot, wal.generation, frames);
  }

  /** Whether main reads the whole database just now. If so, the worker will be woken. */
  isHeld({ slot }: TrackedDatabase): boolean {
    if (!this.shared.isHeld(slot)) return false;
    this.shared.setWaiting(slot);
    return this.shared.isHeld(slot);
  }

  publishWal({ slot, wal }: TrackedDatabase): void {
    this.shared.publishWal(slot, wal.generation, wal.committedFrames, wal.header);
  }

  beginWal({ slot, wal }: TrackedDatabase): void {
    this.shared.beginWal(slot, wal.generation, wal.header);
  }

  /** Main is to log what changed, since the last commit, in the database file. */
  askToLog(database: TrackedDatabase): Verdict {
    const sequence = this.next(database, { kind: 'changed' });
    const pages = database.dirtyUnknown ? undefined : database.dirty.toArray();
    this.send({ kind: 'changed', slot: database.slot, sequence, pages, marked: database.marked });
    return this.verdict(database);
  }

  /** Main is to take back the transactions behind `frames`. */
  askToUndo(database: TrackedDatabase, frames: number): Verdict {
    const sequence = this.next(database, { kind: 'undo', frames });
    const { slot, wal } = database;
    this.send({ kind: 'undo', slot, sequence, generation: wal.generation, frames });
    return this.verdict(database);
  }

  /** Main is to make sure that the database file has what it logged from the WAL, which is about to go. */
  askToCompare(database: TrackedDatabase, compare: Comparison): Verdict {
    const { slot, wal } = database;
    const { generation, committedFrames: frames } = wal;
    const sequence = this.next(database, { kind: 'leaving', generation, frames, how: compare });
    this.send({ kind: 'leaving', slot, sequence, compare });
    return this.verdict(database);
  }

  /** Main is to look for the end of what is written without a journal. */
  tellUnjournaled(database: TrackedDatabase): void {
    if (database.watched) return;
    database.watched = true;
    this.send({ kind: 'unjournaled', slot: database.slot });
  }

  tellDropped(database: TrackedDatabase): void {
    database.dropped = true;
    const sequence = this.next(database, { kind: 'dropped' });
    this.send({ kind: 'dropped', slot: database.slot, sequence });
  }

  /** Whether main is done with what was asked; if so its consequences are drawn. */
  resolve(database: TrackedDatabase): boolean {
    const { pending } = database;
    if (pending === undefined) return true;
    if (this.shared.settled(database.slot) < pending.sequence) {
      this.shared.setWaiting(database.slot);
      if (this.shared.settled(database.slot) < pending.sequence) return false;
    }
    database.pending = undefined;
    if (pending.kind === 'changed') database.clearChanges();
    else if (pending.kind === 'leaving') database.compared = pending;
    else if (pending.kind === 'undo') {
      database.wal.takeBack(pending.frames);
      this.publishWal(database);
    }
    this.settled(database);
    return true;
  }

  private verdict(database: TrackedDatabase): Verdict {
    return this.resolve(database) ? PROCEED : DEFER;
  }

  private next(database: TrackedDatabase, pending: WithoutSequence<Pending>): number {
    const sequence = ++this.sequence;
    database.pending = { ...pending, sequence };
    return sequence;
  }
}

type WithoutSequence<P> = P extends unknown ? Omit<P, 'sequence'> : never;
