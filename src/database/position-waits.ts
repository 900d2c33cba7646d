import type { MainLink } from './main-link.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';

/** Of threads that were killed while they waited. */
const MAX_WAITS = 1024;

/** What was committed when a thread asked. */
interface Wait {
  readonly slot: number;
  readonly generation: number;
  readonly frames: number;
  /** What main was asked to do; 0: nothing. */
  readonly sequence: number;
}

/**
 * Who opens `<db>-pos` after a commit reads a position that has it: the open waits until main has logged what was committed
 * when it came, whatever is committed meanwhile. On the worker.
 */
export class PositionWaits {
  /** By thread: each waits for one at a time. */
  private readonly waits = new Map<number, Wait>();

  constructor(
    private readonly shared: SharedState,
    private readonly main: Pick<MainLink, 'publishWal'>,
    /** Takes what is committed in a database now. */
    private readonly look: (database: TrackedDatabase) => void,
  ) {}

  /** Whether the open may go on. If not, the worker will be woken. */
  isOver(database: TrackedDatabase, pid: number): boolean {
    const { slot } = database;
    let wait = this.waits.get(pid);
    if (wait?.slot !== slot) {
      this.look(database);
      const { generation, committedFrames: frames } = database.wal;
      wait = { slot, generation, frames, sequence: database.pending?.sequence ?? 0 };
    }
    if (!this.isLogged(database, wait)) {
      this.shared.setWaiting(slot);
      if (!this.isLogged(database, wait)) {
        if (this.waits.size >= MAX_WAITS) this.waits.clear();
        this.waits.set(pid, wait);
        // Whoever waits must not wait for what main was not told of.
        this.main.publishWal(database);
        return false;
      }
    }
    this.waits.delete(pid);
    return true;
  }

  /** A WAL begins afresh only when all of it is in the log; what was taken back will never be there. */
  private isLogged({ slot, wal }: TrackedDatabase, { generation, frames, sequence }: Wait): boolean {
    if (this.shared.settled(slot) < sequence) return false;
    return (
      wal.generation !== generation || this.shared.isLogged(slot, generation, Math.min(frames, wal.committedFrames))
    );
  }
}
