import type { LtxLocation } from '../apply/index.js';
import type { Claim, Database, WorkerCommit } from '../database/index.js';
import { SluiceError } from '../errors.js';
import { type Position, samePosition } from '../ltx/index.js';
import { monotonicMs } from '../monotonic.js';
import type { WriteSender } from '../replication/index.js';
import { sendForward } from './forward-pieces.js';
import { FIRST_LOOK_MS, LAST_LOOK_MS } from './limits.js';
import { type Origin, type OutgoingTransaction, outgoingTransaction } from './outgoing-transaction.js';
import type { WriteParts } from './write-parts.js';

/** Who has the lock by which something is committed. */
export interface CommitGround {
  /** The database, if there is one. */
  readonly live: Database | undefined;
  /** Where it stood when the lock was granted; undefined if no grant is known. */
  readonly grantedAt: Position | undefined;
  /** Nothing may be committed before the lock by hand is given back. */
  readonly isLost: boolean;
  /** Nobody waits for anything any more. */
  readonly isClosed: boolean;
  /** All of it is on its way. */
  sent(): void;
  /** The primary has what was sent then. */
  taken(sentMs: number): void;
  /** A transaction led there, and its application has given the lock back. */
  committed(position: Position): void;
  /** Something else can begin. */
  over(): void;
}

/** A transaction that waits for the primary's word. */
interface Pending {
  readonly serial: number;
  readonly outgoing: OutgoingTransaction;
  /** It was sent no earlier than that. */
  readonly sinceMs: number;
  /** The primary has it: the application is told, and is about to make its commit visible. */
  isTaken: boolean;
  readonly timer: NodeJS.Timeout;
  /** The commit is in the files. */
  isMade: boolean;
  /** The application has given the lock back. */
  isReleased: boolean;
}

/** What an application of a replica is committing to one database, until readers see it or the primary has not taken it. */
export class ReplicaCommit {
  private pending: Pending | undefined;
  /** What was taken is not the database's position yet. */
  private isSettling = false;
  private wakes: (() => void)[] = [];

  constructor(
    private readonly name: string,
    private readonly parts: WriteParts,
    private readonly ground: CommitGround,
  ) {}

  /** Something is being committed. */
  get isUnderWay(): boolean {
    return this.pending !== undefined;
  }

  /** Something is, or was and is not where the database stands. */
  get isInTheWay(): boolean {
    return this.pending !== undefined || this.isSettling;
  }

  /** Where it leads. */
  get position(): Position | undefined {
    return this.pending?.outgoing.position;
  }

  /** The commit is in the files. */
  made(): void {
    if (this.pending?.isTaken === true) this.pending.isMade = true;
    this.wake();
  }

  /** The application has given the lock back. True if the primary has its transaction. */
  released(committed: boolean): boolean {
    const { pending } = this;
    if (pending === undefined) return false;
    pending.isReleased = true;
    pending.isMade ||= committed;
    this.wake();
    // It is not waited for any more: whatever the primary says is learnt by the stream.
    if (!pending.isTaken) this.endPending(pending);
    return pending.isTaken;
  }

  /** The database is at another position. */
  moved(): void {
    this.isSettling = false;
    this.wake();
  }

  /** The primary does not take the transaction of this serial. */
  refused(serial: number, code: string, text: string): void {
    const { pending } = this;
    if (pending?.serial !== serial) return;
    this.parts.log.warn({ database: this.name, code }, `the primary did not take a transaction: ${text}`);
    this.refuse(pending);
  }

  close(): void {
    if (this.pending !== undefined) this.refuse(this.pending, 'unknown');
  }

  private wake(): void {
    for (const wake of this.wakes.splice(0)) wake();
  }

  /** Something was said of what is under way, or the time is over. */
  private async change(limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.wakes.push(resolve);
      timer = setTimeout(resolve, limitMs);
    });
    clearTimeout(timer);
  }

  /** An application is about to write what completes its commit. */
  async begin(commit: WorkerCommit): Promise<void> {
    const { name, parts, ground } = this;
    // With locking_mode=EXCLUSIVE one transaction follows another by one lock.
    while (this.isInTheWay) await this.change(parts.limits.commitMs);
    const { grantedAt } = ground;
    if (ground.isLost) {
      parts.log.warn({ database: name }, 'a commit fails: the lock by hand was lost');
      parts.worker({ kind: 'commit-answer', name, taken: false });
      return;
    }
    const database = ground.live ?? parts.blank(name);
    let outgoing: OutgoingTransaction | undefined;
    try {
      outgoing = await outgoingTransaction(database, commit, parts.spool);
      if (outgoing?.isLeftOver === true) {
        outgoing.remove();
        outgoing = undefined;
        parts.playedBack(name, commit.kind === 'rollback' ? commit.pages : undefined);
      }
      // Without a grant it is what a dead application left, or an earlier process let begin.
      if (outgoing !== undefined && grantedAt !== undefined && !samePosition(grantedAt, database.position)) {
        throw new SluiceError('FORWARD_STALE', `${name}: something else was committed meanwhile`);
      }
    } catch (error) {
      outgoing?.remove();
      parts.log.warn({ database: name, err: error }, 'a transaction cannot be forwarded');
      parts.worker({ kind: 'commit-answer', name, taken: false });
      return;
    }
    if (outgoing === undefined || isLogged(database, outgoing)) {
      parts.worker({ kind: 'commit-answer', name, taken: true });
      return;
    }
    this.forward(outgoing);
  }

  private forward(outgoing: OutgoingTransaction): void {
    const pending: Pending = {
      serial: this.parts.serial(),
      outgoing,
      sinceMs: monotonicMs(),
      isTaken: false,
      isMade: false,
      isReleased: false,
      timer: setTimeout(() => {
        this.parts.log.warn(
          { database: this.name, txid: outgoing.position.txid },
          'the primary did not answer a commit in time: its outcome is unknown, and what the primary has will be here',
        );
        this.refuse(pending, 'unknown');
      }, this.parts.limits.commitMs),
    };
    this.pending = pending;
    if (this.ground.isClosed) this.refuse(pending);
    else this.send();
  }

  /** To the primary, if it is connected; again after a connection was lost. */
  send(): void {
    const { pending } = this;
    const connection = this.parts.sender();
    if (pending === undefined || pending.isTaken || connection === undefined) return;
    const isWanted = () => this.pending === pending && !pending.isTaken && this.parts.sender() === connection;
    const sender: WriteSender = {
      send: (message) => {
        // The time is counted from the last piece.
        pending.timer.refresh();
        connection.send(message);
      },
      queuedBytes: () => connection.queuedBytes(),
    };
    sendForward(this.name, pending.serial, pending.outgoing.location, sender, isWanted).then(
      () => {
        if (isWanted()) this.ground.sent();
      },
      (error) => {
        this.parts.log.warn({ database: this.name, err: error }, 'a transaction cannot be forwarded');
        this.refuse(pending);
      },
    );
  }

  /** What is known here of the transaction that leads to `position`. */
  pendingAt(position: Position): LtxLocation | undefined {
    const { pending } = this;
    return pending !== undefined && samePosition(pending.outgoing.position, position)
      ? pending.outgoing.location
      : undefined;
  }

  /** The primary's history has this. If the transaction that waits would lead to the same place otherwise, it was not taken. */
  arrived(position: Position): void {
    const { pending } = this;
    if (pending === undefined || pending.isTaken) return;
    if (isSame(pending, position)) this.taken(pending);
    else if (position.txid >= pending.outgoing.position.txid) this.refuse(pending);
  }

  claim(position: Position): Claim | undefined {
    this.arrived(position);
    const { pending } = this;
    this.isSettling = false;
    if (pending?.isTaken !== true || !isSame(pending, position)) return undefined;
    return { through: () => this.through(pending) };
  }

  private taken(pending: Pending): void {
    pending.isTaken = true;
    clearTimeout(pending.timer);
    this.ground.taken(pending.sinceMs);
    this.parts.ended?.(this.name, 'taken');
    this.parts.worker({ kind: 'commit-answer', name: this.name, taken: true });
  }

  /** Lets the application make its commit visible. Resolves with whether it did, when it has given the lock back. */
  private async through(pending: Pending): Promise<boolean> {
    this.isSettling = true;
    try {
      for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_LOOK_MS)) {
        const { isReleased, isMade } = pending;
        if (isMade && (await this.isVisible(pending))) return !pending.outgoing.isMore;
        // Nobody is at it any more, so it will not be.
        if (isReleased) return false;
        await this.change(isMade ? pauseMs : LAST_LOOK_MS);
      }
    } finally {
      this.ground.committed(pending.outgoing.position);
      this.endPending(pending);
      this.ground.over();
    }
  }

  /** Whether readers see it. */
  private async isVisible({ outgoing: { walEnd } }: Pending): Promise<boolean> {
    if (walEnd === undefined) return true;
    try {
      const { wal } = await this.parts.look(this.name);
      if (wal === undefined || wal.frames !== walEnd.frames) return false;
      const { salt1, salt2, s0, s1 } = walEnd;
      return wal.salt1 === salt1 && wal.salt2 === salt2 && wal.s0 === s0 && wal.s1 === s1;
    } catch {
      // Writing it once more does no harm.
      return false;
    }
  }

  private refuse(pending: Pending, outcome: 'refused' | 'unknown' = 'refused'): void {
    if (this.pending !== pending || pending.isTaken) return;
    this.parts.ended?.(this.name, outcome);
    this.parts.worker({ kind: 'commit-answer', name: this.name, taken: false });
    this.endPending(pending);
  }

  private endPending(pending: Pending): void {
    clearTimeout(pending.timer);
    if (this.pending !== pending) return;
    this.pending = undefined;
    this.wake();
    try {
      pending.outgoing.remove();
    } catch (error) {
      this.parts.log.warn({ database: this.name, err: error }, 'a spool file could not be removed');
    }
  }
}

/** The name may have had another database before, on the primary: then a new one does not begin with its first transaction. */
function isSame({ outgoing }: Pending, { txid, checksum }: Position): boolean {
  const { position } = outgoing;
  return position.checksum === checksum && (position.txid === txid || position.txid === 1);
}

/** Whether it is in the log already: an earlier process heard that the primary has it. */
function isLogged(database: Origin, { position }: OutgoingTransaction): boolean {
  return database.log?.get(position.txid)?.after.checksum === position.checksum;
}
