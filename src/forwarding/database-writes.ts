import type { Looked, LtxLocation } from '../apply/index.js';
import type { Claim, Database, FromWorker, ToWorker, WorkerCommit } from '../database/index.js';
import { describeError, SluiceError } from '../errors.js';
import { type Position, samePosition, ZERO_POSITION } from '../ltx/index.js';
import { monotonicMs } from '../monotonic.js';
import type { WriteAnswer, WriteMessage } from '../replication/index.js';
import { sendForward } from './forward-pieces.js';
import { HaltTrust } from './halt-trust.js';
import { HandHold } from './hand-hold.js';
import {
  FIRST_LOOK_MS,
  HAND_KEEP_MS,
  HAND_RETRY_MS,
  LAST_LOOK_MS,
  LATE_MS,
  LATE_WAIT_MS,
  RETRY_KEEP_MS,
  type WriteLimits,
} from './limits.js';
import { type Origin, type OutgoingTransaction, outgoingTransaction } from './outgoing-transaction.js';

/** What the databases of a replica share for what applications write to them. */
export interface WriteParts {
  readonly limits: WriteLimits;
  /** Folder for transactions that are large. */
  readonly spool: string;
  database(name: string): Database | undefined;
  /** What is not a database yet, and may become one. */
  blank(name: string): Origin;
  /** The database as its readers see it. */
  look(name: string): Promise<Looked>;
  /** On the present connection; undefined while there is none. */
  sender(): ((message: WriteMessage) => void) | undefined;
  worker(message: ToWorker): void;
  /** The primary has got what was sent up to then. */
  heardMs(): number;
  /** Another number each time. */
  serial(): number;
  readonly log: { warn(fields: object, message: string): void; debug(fields: object, message: string): void };
}

/** What the worker says of what applications write. */
export type WriteEvent = Extract<
  FromWorker,
  {
    kind:
      | 'lock-wanted'
      | 'lock-released'
      | 'commit'
      | 'commit-made'
      | 'grant-returned'
      | 'hand-wanted'
      | 'hand-taken'
      | 'hand-released';
  }
>;

/** The primary's own writers have it, and it has waited for them. */
const HALT_BUSY = 'HALT_BUSY';
/** The primary takes no writes at all. */
const WRITES_OFF = 'WRITES_OFF';

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

/**
 * What applications write to one database of a replica. `halt`: what is had of the primary, who else writes meanwhile:
 * nobody. `grant`: what the worker has of that, by which one application after the other gets SQLite's write lock.
 */
export class DatabaseWrites {
  private halt: 'none' | 'asked' | 'had' = 'none';
  private haltSerial = 0;
  /** Where the primary stands while it is halted. */
  private haltPosition: Position | undefined;
  private readonly trust = new HaltTrust();
  private grant: { readonly serial: number; readonly position: Position } | undefined;
  private granting = false;
  /** The grant ends with the lock that an application has by it. */
  private isReturning = false;
  /** An application waits for the lock. */
  private isWanted = false;
  private waitTimer: NodeJS.Timeout | undefined;
  /** Until then whoever comes back has waited in vain before. */
  private lateUntilMs = 0;
  private keepTimer: NodeJS.Timeout | undefined;
  /** Where the database stood when somebody began to wait. */
  private wantedAt: Position | undefined;
  /** Who got the lock has read an older state: SQLite finds the database busy, and comes back. */
  private isStale = false;
  /** Somebody has had a transaction by this halt. */
  private wasUsed = false;
  /** The primary wants the halt back, when it was used. */
  private isDue = false;
  /** The lock file's lock. */
  private readonly hand = new HandHold();
  /** The halt was asked for by hand. */
  private isByHand = false;
  /** The halt is for the lock by hand, and that was told of it. */
  private isHandTold = false;
  /** The halt is to be given back as soon as that is possible. */
  private isSpent = false;
  private handTimer: NodeJS.Timeout | undefined;
  private handRetry: NodeJS.Timeout | undefined;
  private pending: Pending | undefined;
  /** What was taken is not the database's position yet. */
  private isSettling = false;
  /** What the primary has is being written into the files. */
  private isApplying = false;
  private isClosed = false;
  private wakes: (() => void)[] = [];

  constructor(
    private readonly name: string,
    private readonly parts: WriteParts,
  ) {
    this.trust.heard(parts.heardMs());
  }

  get isIdle(): boolean {
    const { halt, grant, isWanted, pending, hand } = this;
    return halt === 'none' && grant === undefined && !isWanted && pending === undefined && hand.isIdle;
  }

  /** Commits that wait for the primary. */
  get isCommitting(): boolean {
    return this.pending !== undefined;
  }

  // --- the worker -----------------------------------------------------------------------------------------------

  onWorker(message: WriteEvent): void {
    switch (message.kind) {
      case 'lock-wanted':
        this.onWanted();
        return;
      case 'lock-released':
        this.onReleased(message.serial, message.committed);
        return;
      case 'commit':
        void this.onCommit(message.commit);
        return;
      case 'commit-made':
        if (this.pending?.isTaken === true) this.pending.isMade = true;
        this.wake();
        return;
      case 'grant-returned':
        this.onReturned(message.serial, message.ended);
        return;
      case 'hand-wanted':
        this.hand.wanted();
        this.adjustHalt();
        return;
      case 'hand-taken':
        clearTimeout(this.handTimer);
        this.hand.taken(message.inherited);
        this.adjustHalt();
        return;
      case 'hand-released':
        this.onHandReleased();
    }
  }

  private onWanted(): void {
    // It ended by the clock, or by what was written.
    this.grant = undefined;
    this.isReturning = false;
    if (!this.isWanted) this.wantedAt = this.parts.database(this.name)?.position;
    this.isWanted = true;
    clearTimeout(this.waitTimer);
    if (this.isClosed || this.hand.isLost) {
      this.refuseLock(this.isClosed ? 'the node is stopping' : 'its lock by hand was lost, and is not given back yet');
      return;
    }
    const waitMs = this.isLate ? LATE_WAIT_MS : this.parts.limits.waitMs;
    this.waitTimer = setTimeout(() => {
      this.lateUntilMs = monotonicMs() + LATE_MS;
      this.refuseLock('the primary did not answer in time');
    }, waitMs);
    this.ask();
    if (this.isApplying) this.setApplying(true);
    this.tryGrant();
  }

  private onReleased(serial: number, committed: boolean): void {
    const { pending } = this;
    if (pending !== undefined) {
      pending.isReleased = true;
      pending.isMade ||= committed;
      this.wake();
      // It is not waited for any more: whatever the primary says is learnt by the stream.
      if (!pending.isTaken) this.endPending(pending);
    }
    if (this.grant?.serial !== serial) return;
    // Nothing is written by it any more.
    if (pending?.isTaken === true || committed || this.isReturning) this.grant = undefined;
    this.isReturning = false;
    if (this.isStale) this.keepFor(RETRY_KEEP_MS);
    else {
      this.wasUsed = true;
      this.keepFor(this.parts.limits.keepMs);
    }
    this.isStale = false;
    this.tryGrant();
  }

  private onReturned(serial: number, ended: boolean): void {
    if (!ended) {
      this.isReturning = this.grant?.serial === serial;
      return;
    }
    if (this.grant?.serial === serial) this.grant = undefined;
    this.giveBack();
  }

  // --- the lock -------------------------------------------------------------------------------------------------

  /** Asks the primary for a halt, if somebody waits for it. */
  private ask(): void {
    const send = this.parts.sender();
    const byHand = this.hand.wantsHalt;
    if (this.halt !== 'none' || send === undefined) return;
    if (byHand ? this.handRetry !== undefined : !this.isWanted) return;
    this.halt = 'asked';
    this.isByHand = byHand;
    this.isHandTold = false;
    this.isSpent = false;
    this.haltSerial = this.parts.serial();
    this.haltPosition = undefined;
    this.isDue = false;
    this.wasUsed = false;
    this.trust.asked(monotonicMs());
    send({ type: 'halt', name: this.name, serial: this.haltSerial, byHand });
  }

  /** In a rollback mode whoever waits for the lock is a reader, who would keep it from being written. */
  setApplying(isApplying: boolean): void {
    this.isApplying = isApplying;
    if (isApplying && this.isWanted && this.live?.isWal() !== true) this.makeWay();
  }

  /** The database is at another position. */
  moved(): void {
    this.isSettling = false;
    this.wake();
    this.tryGrant();
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

  /** Something may have changed what was in the way. */
  tryGrant(): void {
    this.tryHand();
    const isBusy = this.granting || this.grant !== undefined || this.pending !== undefined || this.isSettling;
    if (!this.isWanted || isBusy) return;
    const database = this.live;
    if (this.halt !== 'had' || this.haltPosition === undefined || this.isOver || !this.isTrusted) return;
    if (!this.isThere(this.haltPosition)) {
      if (database?.isWal() !== true) this.makeWay();
      return;
    }
    this.granting = true;
    void this.giveGrant(database?.position ?? ZERO_POSITION).finally(() => {
      this.granting = false;
      if (this.halt === 'had' && this.isOver) this.keepFor(0);
    });
  }

  private get isLate(): boolean {
    return monotonicMs() < this.lateUntilMs;
  }

  /** Nobody has written on the primary since it was halted; if that cannot be said, its next word is waited for. */
  private get isTrusted(): boolean {
    return monotonicMs() < this.trust.untilMs;
  }

  /** What the primary has is here, in the files and in the log. */
  private isThere(position: Position): boolean {
    const database = this.live;
    if (!samePosition(database?.position ?? ZERO_POSITION, position)) return false;
    return database === undefined || database.log.last === database.position.txid;
  }

  private get live(): Database | undefined {
    const database = this.parts.database(this.name);
    return database?.live === true ? database : undefined;
  }

  private async giveGrant(position: Position): Promise<void> {
    try {
      const { wal } = position.txid === 0 ? { wal: undefined } : await this.parts.look(this.name);
      if (!this.isWanted || this.halt !== 'had' || this.isOver) return;
      if (!samePosition(position, this.live?.position ?? ZERO_POSITION)) return;
      this.lateUntilMs = 0;
      const serial = this.parts.serial();
      this.grant = { serial, position };
      this.isStale = this.wantedAt !== undefined && !samePosition(this.wantedAt, position);
      this.isWanted = false;
      clearTimeout(this.waitTimer);
      this.parts.worker({ kind: 'grant', name: this.name, serial, wal, untilMs: this.trust.untilMs });
      // Who waits takes it at once.
      this.keepFor(RETRY_KEEP_MS);
    } catch (error) {
      this.refuseLock(describeError(error));
    }
  }

  /**
   * Whoever waits for RESERVED is a reader, and readers are in the way of what the primary has more: it is told that the
   * database is busy, and finds the lock when it comes back.
   */
  private makeWay(): void {
    if (!this.isWanted) return;
    this.isWanted = false;
    clearTimeout(this.waitTimer);
    this.parts.worker({ kind: 'lock-refused', name: this.name });
    this.keepFor(RETRY_KEEP_MS);
  }

  private refuseLock(reason: string): void {
    if (!this.isWanted) return;
    this.parts.log.debug({ database: this.name }, `an application finds the database busy: ${reason}`);
    this.isWanted = false;
    clearTimeout(this.waitTimer);
    this.parts.worker({ kind: 'lock-refused', name: this.name });
    this.keepFor(0);
  }

  /** The halt is given back if nobody has used it by then. */
  private keepFor(ms: number): void {
    clearTimeout(this.keepTimer);
    if (this.isClosed) return;
    const isKept = this.halt === 'had' && !this.isOver;
    this.keepTimer = setTimeout(() => this.returnAll(), isKept ? ms : 0);
  }

  /** Others have waited for one transaction, and not for two; by hand they wait until the lock is given back. */
  private get isOver(): boolean {
    if (this.isSpent || this.isByHand !== this.hand.wantsHalt) return true;
    return this.isDue && this.wasUsed && !this.isByHand;
  }

  private returnAll(): void {
    if (this.grant !== undefined)
      this.parts.worker({ kind: 'grant-return', name: this.name, serial: this.grant.serial });
    else this.giveBack();
  }

  /** To the primary. */
  private giveBack(): void {
    if (this.grant !== undefined || this.granting || this.pending !== undefined) return;
    const isOfUse = this.isWanted || this.hand.wantsHalt;
    if (this.halt === 'had' && (!isOfUse || this.isOver)) {
      this.parts.sender()?.({ type: 'release', name: this.name, serial: this.haltSerial });
      this.halt = 'none';
      this.haltPosition = undefined;
    }
    this.ask();
    this.tryGrant();
  }

  // --- by hand --------------------------------------------------------------------------------------------------

  /** Somebody wants the lock by hand, or has it, or does not any more. */
  private adjustHalt(): void {
    if (this.halt !== 'none' && this.isOver) this.keepFor(0);
    this.ask();
    this.tryGrant();
  }

  /** Gives the lock by hand to who waits for it, when the halt is had and the database is up to date. */
  private tryHand(): void {
    const { hand, haltPosition } = this;
    if (this.halt !== 'had' || haltPosition === undefined || !this.isByHand || this.isHandTold || this.isOver) return;
    if (this.pending !== undefined || this.isSettling || !this.isThere(haltPosition)) return;
    this.isHandTold = true;
    const verdict = hand.halted(haltPosition);
    if (verdict === 'lost') this.loseHand('others have written while the primary was not reached');
    if (verdict !== 'give') return;
    this.tellHand('given');
    clearTimeout(this.handTimer);
    this.handTimer = setTimeout(() => this.tellHand('returned'), HAND_KEEP_MS);
  }

  private tellHand(what: 'given' | 'refused' | 'returned'): void {
    this.parts.worker({ kind: 'hand', name: this.name, what });
  }

  private onHandReleased(): void {
    clearTimeout(this.handTimer);
    this.hand.released();
    // Not for the next who wants it: others have waited.
    if (this.isByHand && this.halt === 'had') this.isSpent = true;
    this.adjustHalt();
  }

  /** There is no halt, though one is wanted by hand. */
  private onHandEnded(code: string, text: string, wasHad: boolean): void {
    const { hand, parts } = this;
    if (!hand.isWanted && (wasHad || code === WRITES_OFF)) {
      this.loseHand(text);
    } else if (code === WRITES_OFF) {
      parts.log.warn({ database: this.name, code }, `its lock by hand is not to be had: ${text}`);
      hand.released();
      this.tellHand('refused');
    } else this.askAgain();
  }

  /** The primary does not stand still for a replica that cannot come up to it. */
  private limitHand(): void {
    clearTimeout(this.handTimer);
    this.handTimer = setTimeout(() => {
      if (!this.hand.isWanted || this.halt !== 'had') return;
      this.isSpent = true;
      this.askAgain();
      this.keepFor(0);
    }, this.parts.limits.waitMs);
  }

  private askAgain(): void {
    clearTimeout(this.handRetry);
    this.handRetry = setTimeout(() => {
      this.handRetry = undefined;
      this.ask();
    }, HAND_RETRY_MS);
  }

  /** Whoever has it must not go on as if nobody else wrote: nobody writes here before it is given back. */
  private loseHand(reason: string): void {
    this.parts.log.warn(
      { database: this.name },
      `its lock by hand was lost, and commits fail until it is given back: ${reason}`,
    );
    this.hand.lost();
    // Perhaps nobody has taken it.
    this.tellHand('returned');
    this.refuseLock('its lock by hand was lost');
    this.keepFor(0);
  }

  // --- commits --------------------------------------------------------------------------------------------------

  private async onCommit(commit: WorkerCommit): Promise<void> {
    const { name, parts } = this;
    // With locking_mode=EXCLUSIVE one transaction follows another by one lock.
    while (this.pending !== undefined || this.isSettling) await this.change(parts.limits.commitMs);
    const { grant } = this;
    if (this.hand.isLost) {
      parts.log.warn({ database: name }, 'a commit fails: the lock by hand was lost');
      parts.worker({ kind: 'commit-answer', name, taken: false });
      return;
    }
    const database = this.live ?? parts.blank(name);
    let outgoing: OutgoingTransaction | undefined;
    try {
      outgoing = await outgoingTransaction(database, commit, parts.spool);
      // Without a grant it is what a dead application left, or an earlier process let begin.
      if (outgoing !== undefined && grant !== undefined && !samePosition(grant.position, database.position)) {
        throw new SluiceError('FORWARD_STALE', `${name}: something else was committed meanwhile`);
      }
    } catch (error) {
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
        this.refuse(pending);
      }, this.parts.limits.commitMs),
    };
    this.pending = pending;
    if (this.isClosed) this.refuse(pending);
    else this.sendPending();
  }

  private sendPending(): void {
    const { pending } = this;
    const send = this.parts.sender();
    if (pending === undefined || pending.isTaken || send === undefined) return;
    try {
      sendForward(this.name, pending.serial, pending.outgoing.location, send);
    } catch (error) {
      this.parts.log.warn({ database: this.name, err: error }, 'a transaction cannot be forwarded');
      this.refuse(pending);
    }
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
    this.trust.heard(pending.sinceMs);
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
      // With locking_mode=EXCLUSIVE the lock is kept.
      const { position } = pending.outgoing;
      if (this.grant !== undefined) this.grant = { ...this.grant, position };
      this.haltPosition = this.halt === 'had' ? position : undefined;
      this.hand.committed(position);
      this.endPending(pending);
      this.keepFor(this.parts.limits.keepMs);
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

  private refuse(pending: Pending): void {
    if (this.pending !== pending || pending.isTaken) return;
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

  // --- the primary ----------------------------------------------------------------------------------------------

  connected(): void {
    this.halt = 'none';
    this.lateUntilMs = 0;
    this.sendPending();
    this.ask();
  }

  disconnected(): void {
    this.halt = 'none';
    this.hand.disconnected(this.pending?.outgoing.position);
    this.haltPosition = undefined;
    this.returnAll();
  }

  /** The primary has got what was sent up to then. */
  heard(sentMs: number): void {
    this.trust.heard(sentMs);
    if (this.isWanted) this.tryGrant();
  }

  onAnswer(message: WriteAnswer): void {
    switch (message.type) {
      case 'halted':
        if (message.serial !== this.haltSerial || this.halt !== 'asked') return;
        this.halt = 'had';
        this.haltPosition = message.position;
        this.trust.halted(message);
        // Whoever has waited in vain may be between two tries.
        if (this.isOver || (!this.isWanted && !this.isByHand)) this.keepFor(this.isLate ? RETRY_KEEP_MS : 0);
        if (this.hand.isWanted) this.limitHand();
        this.tryGrant();
        return;
      case 'halt-wanted':
        if (message.serial !== this.haltSerial || this.halt !== 'had') return;
        this.isDue = true;
        if (this.isOver) this.returnAll();
        return;
      case 'halt-ended':
        if (message.serial !== this.haltSerial || this.halt === 'none') return;
        if (this.hand.wantsHalt && this.isByHand) this.onHandEnded(message.code, message.text, this.halt === 'had');
        this.halt = 'none';
        this.haltPosition = undefined;
        if (message.code === HALT_BUSY) this.lateUntilMs = monotonicMs() + LATE_MS;
        this.refuseLock(message.text);
        this.returnAll();
        return;
      case 'forward-refused': {
        const { pending } = this;
        if (pending?.serial !== message.serial) return;
        this.parts.log.warn(
          { database: this.name, code: message.code },
          `the primary did not take a transaction: ${message.text}`,
        );
        this.refuse(pending);
      }
    }
  }

  /** Nobody waits for anything any more. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.keepTimer);
    if (this.pending !== undefined) this.refuse(this.pending);
    this.refuseLock('the node is stopping');
    clearTimeout(this.keepTimer);
    clearTimeout(this.handTimer);
    clearTimeout(this.handRetry);
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
