import type { MainLink } from './main-link.js';
import { PinFlags } from './pin-flags.js';
import type { SharedState, WalPart } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';
import type { ToWorker } from './worker-messages.js';
import { WorkerPin } from './worker-pin.js';

/** Gives main the pins that it asks for, each at a moment between two transactions. On the worker. */
export class PinDesk {
  private readonly waiting = new Set<TrackedDatabase>();

  constructor(
    private readonly shared: SharedState,
    private readonly main: MainLink,
    /** Frames of a WAL that the kernel writes by itself that are in the database file. */
    private readonly inFile: (database: TrackedDatabase) => number,
  ) {}

  ask(database: TrackedDatabase, request: Extract<ToWorker, { kind: 'pin' }>): void {
    database.waitingPins.push(request);
    this.waiting.add(database);
  }

  end(database: TrackedDatabase, pin: number): void {
    const index = database.pins.findIndex(({ id }) => id === pin);
    if (index >= 0) database.pins.splice(index, 1)[0]!.close();
    const waiting = database.waitingPins.findIndex((request) => request.pin === pin);
    if (waiting >= 0) database.waitingPins.splice(waiting, 1);
  }

  refuse(slot: number, pin: number, reason: string): void {
    this.main.send({ kind: 'pin-failed', slot, pin, reason });
  }

  /** After a wake-up. */
  tryAll(): void {
    for (const database of this.waiting) if (this.main.resolve(database)) this.grant(database);
  }

  /** A rollback transaction is over. */
  journalEnded(database: TrackedDatabase): void {
    database.journalOpen = false;
    database.journalFrom = undefined;
    database.playback = false;
    this.grant(database);
  }

  /** Grants what waits, if the database is between two transactions and main has logged all of them. */
  grant(database: TrackedDatabase): void {
    if (database.waitingPins.length === 0) return;
    const { slot, wal, isPassed } = database;
    // While the end of a journal waits for other machines nothing is written, and they may wait for this.
    if ((database.journalOpen && database.awaiting === 0) || database.pending !== undefined) return;
    if (database.changed && !database.checkpointing) return;
    // Where the kernel writes the WAL by itself, main may have logged more than was seen here, but never less than a checkpoint took.
    if (!isPassed && !this.main.isLogged(database)) return;
    this.waiting.delete(database);
    const position = this.shared.position(slot);
    const committed = wal.header === undefined ? 0 : wal.committedFrames;
    const frames = isPassed ? this.framesBeside(database, position) : committed;
    for (const { pin, path } of database.waitingPins.splice(0)) {
      if (database.pageSize === 0 || position.pageCount === 0) {
        this.refuse(slot, pin, 'the database is gone');
        continue;
      }
      const flags = new PinFlags({ pages: position.pageCount });
      database.pins.push(new WorkerPin(pin, flags, path, database.pageSize, database.walPath, frames));
      const { pageSize } = database;
      this.main.send({ kind: 'pinned', slot, pin, flags: flags.buffer, frames, pageSize, ...position });
    }
  }

  /** Frames of the WAL that belong to the image beside what the database file has. */
  private framesBeside(database: TrackedDatabase, position: WalPart): number {
    const { header } = database.wal;
    const isOfPosition = header?.salt1 === position.walSalt1 && header.salt2 === position.walSalt2;
    // What a checkpoint has brought to the file whole is to be read there: its WAL may begin afresh unseen.
    return isOfPosition && position.walFrames > this.inFile(database) ? position.walFrames : 0;
  }
}
