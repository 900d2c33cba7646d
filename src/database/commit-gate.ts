import { fstatSync } from 'node:fs';
import { readSync, writeSync } from '../disk/index.js';
import { DEFER, type FileNode, PROCEED, type Verdict } from '../fuse/index.js';
import { SUPER_NOTE_MAX, superJournalNote, WAL_HEADER_SIZE } from '../sqlite/index.js';
import type { CommitState } from './commit-state.js';
import type { MainLink } from './main-link.js';
import type { SharedState } from './shared.js';
import type { TrackedDatabase } from './tracked-database.js';

const EIO = 5;

/** What takes part in withholding the answers of commits. */
export interface CommitParts {
  readonly state: CommitState;
  /** Whether commits of the database of this name may have to wait. */
  readonly isAwaited: (name: string) => boolean;
}

/**
 * Withholds the answer of a commit that has to be on other machines first. What is decided (it is there, the time is over,
 * and what then) main decides; here it is done, also to undo the commit. On the worker.
 */
export class CommitGate {
  private numbers = 0;
  private readonly byte = Buffer.alloc(1);

  constructor(
    private readonly parts: CommitParts | undefined,
    private readonly shared: SharedState,
    private readonly main: MainLink,
    private readonly isReserved: (database: TrackedDatabase) => boolean,
  ) {}

  /** Whether its commits may have to wait, so that the kernel must not write its WAL by itself. */
  isAwaited(database: TrackedDatabase): boolean {
    if (this.parts === undefined) return false;
    database.awaited ??= this.parts.isAwaited(database.name);
    return database.awaited;
  }

  /**
   * Before a write to the WAL. Where the kernel had split a write, the application has seen a short one, and tries what is
   * missing once more: its commit does not wait a second time.
   */
  mayWrite(database: TrackedDatabase, position: number, length: number): Verdict {
    const { refusedWrite } = database;
    if (refusedWrite === undefined) return PROCEED;
    database.refusedWrite = undefined;
    return refusedWrite.position === position && refusedWrite.length === length ? EIO : PROCEED;
  }

  /**
   * After a write of these bytes to the WAL, which the capture has seen. One that completes a commit is answered when that
   * is where it has to be; also if it is one that an earlier process got, and did not answer.
   */
  mayAnswer(database: TrackedDatabase, node: FileNode, position: number, length: number): Verdict {
    const { main } = this;
    const { wal } = database;
    const from = Math.max(position, WAL_HEADER_SIZE);
    if (database.undoing) return main.resolve(database) ? this.undone(database, node, position, length) : DEFER;
    if (position + length <= WAL_HEADER_SIZE || !wal.overwritesCommitted(from)) return PROCEED;
    if (!main.resolve(database)) return DEFER;
    const verdict = this.decide(database, () => main.isLoggedTo(database, wal.committedFrames));
    if (verdict !== 'refuse') return verdict;
    if (main.isHeld(database) || !main.isLogged(database)) return DEFER;
    for (const pin of database.pins) pin.saveWal();
    database.undoing = true;
    const undo = main.askToUndo(database, wal.framesBefore(from));
    return undo === PROCEED ? this.undone(database, node, position, length) : undo;
  }

  /** Before main is asked to log what the journal's transaction changed: afterwards it is told from one that changed nothing. */
  settling(database: TrackedDatabase): void {
    if (!database.changed || database.pending !== undefined || !this.isAwaited(database)) return;
    // What an earlier process may have logged already must not be taken for nothing.
    database.journalFrom = database.dirtyUnknown ? -1 : this.shared.position(database.slot).txid;
  }

  /** Before a journal ends whose transaction is logged. Who cannot end it plays it back, and that must be possible. */
  mayEndJournal(database: TrackedDatabase, journal: FileNode | undefined): Verdict {
    const { journalFrom } = database;
    if (journalFrom === undefined || database.playback) return PROCEED;
    const isLost = this.parts?.state.isLost(database.slot) === true;
    if (!isLost && this.shared.position(database.slot).txid === journalFrom) return PROCEED;
    // What an earlier process refused, or a dead application left.
    if (database.awaiting === 0 && !this.isReserved(database)) return PROCEED;
    const verdict = this.decide(database, () => true);
    if (verdict !== 'refuse') return verdict;
    this.answer(database);
    // SQLite has removed the super-journal, and with that the transaction is committed, in all databases of it.
    if (journal !== undefined && isOfSeveral(journal)) return PROCEED;
    database.playback = true;
    return EIO;
  }

  private decide(database: TrackedDatabase, isLogged: () => boolean): Verdict | 'refuse' {
    const { slot } = database;
    const state = this.parts?.state;
    if (state === undefined || state.isOpen(slot) || this.isThere(database, state, isLogged)) {
      return this.answer(database);
    }
    if (database.awaiting === 0) {
      database.awaiting = ++this.numbers;
      state.setAwaiting(slot, database.awaiting);
      // It may have come there meanwhile, without a wake-up; and main must know that somebody waits.
      if (this.isThere(database, state, isLogged)) return this.answer(database);
      this.shared.ringBell(slot);
    }
    if (state.isLetGo(slot, database.awaiting)) return this.answer(database);
    return state.isRefused(slot, database.awaiting) ? 'refuse' : DEFER;
  }

  /** Only one writes: the position that has its commit is its own. */
  private isThere({ slot }: TrackedDatabase, state: CommitState, isLogged: () => boolean): boolean {
    return isLogged() && !state.isLost(slot) && state.isStored(slot, this.shared.position(slot).txid);
  }

  private answer(database: TrackedDatabase): Verdict {
    if (database.awaiting !== 0) this.parts?.state.setAwaiting(database.slot, 0);
    database.awaiting = 0;
    return PROCEED;
  }

  /**
   * Main has taken the commit back. Its frames are made void, so that nobody who reads the WAL without its index finds them:
   * by one byte of those that were written last, where the kernel keeps no copy of what it failed to write.
   */
  private undone(database: TrackedDatabase, node: FileNode, position: number, length: number): Verdict {
    const { wal } = database;
    database.undoing = false;
    this.answer(database);
    // A transaction's first write begins where a frame does, or with the WAL's header.
    const isPiece = position > 0 && (position - WAL_HEADER_SIZE) % wal.frameSize !== 0;
    if (isPiece) database.refusedWrite = { position, length };
    const at = Math.max(position, WAL_HEADER_SIZE, wal.committedEnd);
    if (readSync(node.fd(), this.byte, 0, 1, at) === 1) {
      this.byte[0]! ^= 0xff;
      writeSync(node.fd(), this.byte, 0, 1, at);
    }
    return EIO;
  }
}

function isOfSeveral(journal: FileNode): boolean {
  const { size } = fstatSync(journal.fd());
  const tail = Buffer.alloc(Math.min(size, SUPER_NOTE_MAX));
  const read = readSync(journal.fd(), tail, 0, tail.length, size - tail.length);
  return superJournalNote(tail.subarray(0, read)) !== undefined;
}
