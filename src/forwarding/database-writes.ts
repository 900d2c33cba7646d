import type { Database, FromWorker } from '../database/index.js';
import { describeError } from '../errors.js';
import { type Position, samePosition, ZERO_POSITION } from '../ltx/index.js';
import { monotonicMs } from '../monotonic.js';
import type { WriteAnswer } from '../replication/index.js';
import { HaltTrust } from './halt-trust.js';
import { HandHold } from './hand-hold.js';
import { HAND_KEEP_MS, HAND_RETRY_MS, LATE_MS, LATE_WAIT_MS, RETRY_KEEP_MS } from './limits.js';
import { type CommitGround, ReplicaCommit } from './replica-commit.js';
import { WRITES_OFF, type WriteParts } from './write-parts.js';

/** What the worker says of what applications write. */
export type WriteEvent = Extract<
  FromWorker,
  {
    kind:
      | 'lock-wanted'
      | 'lock-released'
      | 'commit'
      | 'commit-made'
      | 'played-back'
      | 'grant-returned'
      | 'hand-wanted'
      | 'hand-taken'
      | 'hand-released';
  }
>;

/** The primary's own writers have it, and it has waited for them. */
const HALT_BUSY = 'HALT_BUSY';

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
  /** The primary wants the halt back, when it was used; or when it was used once more. */
  private isDue = false;
  private isDueWithNext = false;
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
  readonly commit: ReplicaCommit;
  /** What the primary has is being written into the files. */
  private isApplying = false;
  private isClosed = false;

  constructor(
    private readonly name: string,
    private readonly parts: WriteParts,
  ) {
    this.trust.heard(parts.heardMs());
    this.commit = new ReplicaCommit(name, parts, this.commitGround());
  }

  get isIdle(): boolean {
    const { halt, grant, isWanted, commit, hand } = this;
    return halt === 'none' && grant === undefined && !isWanted && !commit.isUnderWay && hand.isIdle;
  }

  private commitGround(): CommitGround {
    const writes = this;
    return {
      get live() {
        return writes.live;
      },
      get grantedAt() {
        return writes.grant?.position;
      },
      get isLost() {
        return writes.hand.isLost;
      },
      get isClosed() {
        return writes.isClosed;
      },
      sent: () => this.releaseBehind(),
      taken: (sentMs) => this.trust.heard(sentMs),
      committed: (position) => {
        // With locking_mode=EXCLUSIVE the lock is kept.
        if (this.grant !== undefined) this.grant = { ...this.grant, position };
        this.haltPosition = this.halt === 'had' ? position : undefined;
        this.hand.committed(position);
      },
      over: () => this.keepFor(this.parts.limits.keepMs),
    };
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
        void this.commit.begin(message.commit);
        return;
      case 'commit-made':
        this.commit.made();
        return;
      case 'played-back':
        this.parts.playedBack(this.name, message.pages);
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
    const isTaken = this.commit.released(committed);
    if (this.grant?.serial !== serial) return;
    // Nothing is written by it any more.
    if (isTaken || committed || this.isReturning) this.grant = undefined;
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
    const sender = this.parts.sender();
    const byHand = this.hand.wantsHalt;
    if (this.halt !== 'none' || sender === undefined) return;
    if (byHand ? this.handRetry !== undefined : !this.isWanted) return;
    this.halt = 'asked';
    this.isByHand = byHand;
    this.isHandTold = false;
    this.isSpent = false;
    this.haltSerial = this.parts.serial();
    this.haltPosition = undefined;
    this.isDue = false;
    this.isDueWithNext = false;
    this.wasUsed = false;
    this.trust.asked(monotonicMs());
    sender.send({ type: 'halt', name: this.name, serial: this.haltSerial, byHand });
  }

  /** In a rollback mode whoever waits for the lock is a reader, who would keep it from being written. */
  setApplying(isApplying: boolean): void {
    this.isApplying = isApplying;
    if (isApplying && this.isWanted && this.live?.isWal() !== true) this.makeWay();
  }

  /** The database is at another position. */
  moved(): void {
    this.commit.moved();
    this.tryGrant();
  }

  /** Something may have changed what was in the way. */
  tryGrant(): void {
    this.tryHand();
    const isBusy = this.granting || this.grant !== undefined || this.commit.isInTheWay;
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
      if (this.isDueWithNext) {
        this.isDueWithNext = false;
        this.isDue = true;
        this.wasUsed = false;
      }
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

  /** The primary takes a transaction that it has got before the halt ends: it need not wait for what comes after the answer. */
  private releaseBehind(): void {
    if (this.halt !== 'had' || !this.isDue || this.isByHand) return;
    this.release();
    this.returnAll();
  }

  private release(): void {
    this.parts.sender()?.send({ type: 'release', name: this.name, serial: this.haltSerial });
    this.halt = 'none';
    this.haltPosition = undefined;
  }

  private returnAll(): void {
    if (this.grant !== undefined)
      this.parts.worker({ kind: 'grant-return', name: this.name, serial: this.grant.serial });
    else this.giveBack();
  }

  /** To the primary. */
  private giveBack(): void {
    if (this.grant !== undefined || this.granting || this.commit.isUnderWay) return;
    const isOfUse = this.isWanted || this.hand.wantsHalt;
    if (this.halt === 'had' && (!isOfUse || this.isOver)) this.release();
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
    if (this.commit.isInTheWay || !this.isThere(haltPosition)) return;
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

  // --- the primary ----------------------------------------------------------------------------------------------

  connected(): void {
    this.halt = 'none';
    this.lateUntilMs = 0;
    this.commit.send();
    this.ask();
  }

  disconnected(): void {
    this.halt = 'none';
    this.hand.disconnected(this.commit.position);
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
        // By the time that the answer to what is on its way is here, the next one is as soon at the primary as anything.
        if (message.withNext && this.commit.isUnderWay) this.isDueWithNext = true;
        else this.isDue = true;
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
      case 'forward-refused':
        this.commit.refused(message.serial, message.code, message.text);
    }
  }

  /** Nobody waits for anything any more. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.keepTimer);
    this.commit.close();
    this.refuseLock('the node is stopping');
    clearTimeout(this.keepTimer);
    clearTimeout(this.handTimer);
    clearTimeout(this.handRetry);
  }
}
