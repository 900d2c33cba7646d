import { statSync } from 'node:fs';
import type { Halter } from '../apply/index.js';
import { checkName } from '../database/index.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import {
  type Checksum,
  DatabaseSums,
  type LtxHeader,
  type Position,
  samePosition,
  type Txid,
  ZERO_POSITION,
} from '../ltx/index.js';
import type { WritePeer } from '../replication/index.js';
import {
  checkForwarded,
  type ForwardedFile,
  followsOn,
  forwardedHeader,
  type Ground,
} from './forwarded-transaction.js';
import type { Incoming } from './incoming.js';
import { type HaltLimits, MAX_TURNS } from './limits.js';
import { holdLimitMs, type TurnFacts, turnStep } from './turn-rule.js';

/** Until the capture has found a file that was just made. */
const CREATED_TRIES = 100;
const CREATED_PAUSE_MS = 20;
/** A database that no replica has written for so long is closed by the process that takes its locks. */
const IDLE_MS = 10_000;

/** What takes part in a primary's halts. */
export interface HaltParts {
  readonly limits: HaltLimits;
  /** The process that takes the database's lock; started when it is first asked for. */
  halter(name: string): Promise<Halter>;
  /** Nobody writes to the database for now. */
  closeHalter(name: string): Promise<void>;
  /** What the node has of a database, undefined if it has none. */
  ground(name: string): (Ground & { after(txid: Txid): Checksum | undefined }) | undefined;
  /** Where a database stands once all that was committed is logged; undefined if that cannot be said. */
  settled(name: string): Promise<Position | undefined>;
  /** A transaction of the replica of this id is about to become the next, and to lead there. */
  expected?(name: string, position: Position, origin: string): void;
  /** That replica will learn by another connection that it is committed, as soon as it is logged. */
  orphaned?(name: string): void;
  /** What was expected is there, or will not be. */
  decided?(name: string): void;
  /** A replica got the lock; or it was taken back, since it was silent or had it for too long. */
  turned?(name: string, outcome: 'given' | 'taken-back'): void;
  readonly log: { warn(fields: object, message: string): void; info(fields: object, message: string): void };
}

/** A transaction that a replica sent. */
interface Commit {
  readonly peer: WritePeer;
  readonly serial: number;
  readonly incoming: Incoming;
}

/** A replica's wish to write, and what comes of it. */
interface Turn {
  readonly peer: WritePeer;
  readonly serial: number;
  readonly isByHand: boolean;
  readonly commits: Commit[];
  ended: boolean;
  granted: boolean;
}

/**
 * The replicas that write to one database of the primary, one after the other, with its write lock. A transaction counts
 * by the position that it begins at: one that comes without a halt, or after it, is taken if nothing has happened since.
 */
export class DatabaseTurns {
  private readonly turns: Turn[] = [];
  /** Of replicas that hold nothing: sent again after a connection was lost, or too late. */
  private readonly strays: Commit[] = [];
  private current: Turn | undefined;
  /** Whose transaction is being committed. */
  private committing: WritePeer | undefined;
  private running = false;
  private closeTimer: NodeJS.Timeout | undefined;
  /** Since when no replica has the lock; since when they have it without a long rest. */
  private freeSinceMs = Number.NEGATIVE_INFINITY;
  private busySinceMs = Number.NEGATIVE_INFINITY;
  private wake: () => void = () => undefined;

  constructor(
    private readonly name: string,
    private readonly parts: HaltParts,
  ) {}

  /** The id of the replica that has the lock. */
  get writer(): string | undefined {
    return this.current?.granted === true ? this.current.peer.nodeId : undefined;
  }

  /** Nothing is asked of it. */
  get isIdle(): boolean {
    return !this.running;
  }

  halt(peer: WritePeer, serial: number, isByHand: boolean): void {
    if (this.turns.length >= MAX_TURNS) {
      this.refuseHalt(peer, serial, new SluiceError('HALT_BUSY', `${this.name}: too many replicas wait for it`));
      return;
    }
    this.turns.push({ peer, serial, isByHand, commits: [], ended: false, granted: false });
    this.run();
  }

  release(peer: WritePeer, serial: number): void {
    const turn = this.find(peer, serial);
    if (turn !== undefined) turn.ended = true;
    this.wake();
  }

  commit(peer: WritePeer, serial: number, incoming: Incoming): void {
    const { current } = this;
    const commit = { peer, serial, incoming };
    if (current?.peer === peer && current.granted && !current.ended) current.commits.push(commit);
    else this.strays.push(commit);
    this.run();
  }

  left(peer: WritePeer): void {
    if (this.committing === peer) this.parts.orphaned?.(this.name);
    for (const turn of [this.current, ...this.turns]) if (turn?.peer === peer) turn.ended = true;
    this.wake();
  }

  private find(peer: WritePeer, serial: number): Turn | undefined {
    return [this.current, ...this.turns].find((turn) => turn?.peer === peer && turn.serial === serial);
  }

  private run(): void {
    this.wake();
    if (this.running) return;
    this.running = true;
    clearTimeout(this.closeTimer);
    void this.serveAll().finally(() => {
      this.running = false;
      this.closeLater();
      if (this.turns.length > 0 || this.strays.length > 0) this.run();
    });
  }

  private closeLater(): void {
    this.closeTimer = setTimeout(() => {
      if (this.running) return;
      this.parts.closeHalter(this.name).catch(() => undefined);
    }, IDLE_MS);
    this.closeTimer.unref();
  }

  private async serveAll(): Promise<void> {
    for (;;) {
      const stray = this.strays.shift();
      const turn = stray === undefined ? this.turns.shift() : undefined;
      if (stray !== undefined) await this.serveStray(stray);
      else if (turn === undefined) return;
      else if (!turn.ended) await this.serve(turn);
      if (this.turns.length > 0) await pause(this.parts.limits.restMs);
    }
  }

  private async serve(turn: Turn): Promise<void> {
    this.current = turn;
    let locked = false;
    try {
      await this.rest();
      const position = await this.lock();
      locked = true;
      if (turn.ended) return;
      turn.granted = true;
      this.parts.turned?.(this.name, 'given');
      const { silenceMs } = this.parts.limits;
      const holdMs = holdLimitMs(this.parts.limits, turn.isByHand);
      turn.peer.send({ type: 'halted', name: this.name, serial: turn.serial, position, silenceMs, holdMs });
      await this.hold(turn);
    } catch (error) {
      this.refuseHalt(turn.peer, turn.serial, error);
    } finally {
      this.current = undefined;
      turn.ended = true;
      if (locked) await this.unlock();
      this.strays.push(...turn.commits.splice(0));
    }
  }

  /** Until the replica gives the lock back, is gone, or has had it for long enough. */
  private async hold(turn: Turn): Promise<void> {
    const { limits } = this.parts;
    const sinceMs = performance.now();
    let asked: TurnFacts['asked'] = 'no';
    // What came before it was given back belongs to it.
    while (!turn.ended || turn.commits.length > 0) {
      const commit = turn.commits.shift();
      if (commit !== undefined) {
        await this.take(commit);
        continue;
      }
      const { isByHand } = turn;
      const facts = { sinceMs, heardMs: turn.peer.heardMs, isByHand, isAwaited: this.turns.length > 0, asked };
      const step = turnStep(facts, limits, performance.now());
      if (step.kind === 'take back') {
        const seconds = (step.why === 'silent' ? limits.silenceMs : holdLimitMs(limits, isByHand)) / 1000;
        const what =
          step.why === 'silent' ? `nothing was heard of the replica for ${seconds} s` : `held for ${seconds} s`;
        this.parts.log.warn({ database: this.name, replica: turn.peer.nodeId }, `halt taken back: ${what}`);
        this.parts.turned?.(this.name, 'taken-back');
        throw new SluiceError('HALT_EXPIRED', `${this.name}: ${what}`);
      }
      if (step.kind === 'ask back') {
        asked = step.how;
        const withNext = asked === 'with next';
        turn.peer.send({ type: 'halt-wanted', name: this.name, serial: turn.serial, withNext });
      }
      await this.change(step.inMs);
    }
  }

  /** What comes without a halt. */
  private async serveStray(commit: Commit): Promise<void> {
    if (this.isTaken(commit)) {
      commit.incoming.remove();
      return;
    }
    let locked = false;
    try {
      await this.lock();
      locked = true;
      await this.take(commit);
    } catch (error) {
      this.refuse(commit, error);
    } finally {
      if (locked) await this.unlock();
    }
  }

  private async lock(): Promise<Position> {
    const { parts, name } = this;
    // Whoever makes one is the only one of the replicas; the primary's own applications are found when it is made.
    if (parts.ground(name) === undefined) {
      checkName(name);
      return ZERO_POSITION;
    }
    const halter = await parts.halter(name);
    if (!(await halter.halt(name, parts.limits.lockMs))) {
      throw new SluiceError('HALT_BUSY', `${name}: writers on the primary have it`);
    }
    const position = await parts.settled(name);
    if (position !== undefined) return position;
    await this.unlock();
    throw new SluiceError('HALT_BUSY', `${name}: what was committed on the primary is not logged in time`);
  }

  /**
   * The primary's own writers ask again and again, with pauses of up to 100 ms. When replicas have had the lock for long, one after
   * the other, it stays free for so long that they find it.
   */
  private async rest(): Promise<void> {
    const { turnMs, longRestMs } = this.parts.limits;
    const nowMs = performance.now();
    const restedMs = nowMs - this.freeSinceMs;
    if (restedMs < longRestMs) {
      if (nowMs - this.busySinceMs < turnMs) return;
      await pause(longRestMs - restedMs);
    }
    this.busySinceMs = performance.now();
  }

  private async unlock(): Promise<void> {
    this.freeSinceMs = performance.now();
    try {
      await (await this.parts.halter(this.name)).release(this.name);
    } catch (error) {
      // Its process is gone, and the lock with it.
      this.parts.log.warn({ database: this.name, err: error }, 'a halt ended with its process');
    }
  }

  /** With the lock. */
  private async take(commit: Commit): Promise<void> {
    const { parts, name } = this;
    try {
      if (this.isTaken(commit)) return;
      const file = commit.incoming.finish();
      const ground = parts.ground(name);
      if (ground === undefined) {
        await this.create(file);
        // There is something to lock now.
        if (this.current?.peer === commit.peer) await this.lock();
        return;
      }
      const { maxTxid, postApply } = await checkForwarded(file, ground);
      const expected = { txid: maxTxid, checksum: postApply };
      commit.peer.expect(name, expected);
      this.committing = commit.peer;
      parts.expected?.(name, expected, commit.peer.nodeId);
      await (await parts.halter(name)).commit(name, locationOf(file));
      commit.peer.settle(name, true);
      const position = await parts.settled(name);
      if (position !== undefined && samePosition(position, expected)) return;
      throw new SluiceError('FORWARD_DIFFERS', `${name}: it did not become transaction ${maxTxid} on the primary`);
    } catch (error) {
      this.refuse(commit, error);
      commit.peer.settle(name, false);
    } finally {
      this.committing = undefined;
      parts.decided?.(name);
      commit.incoming.remove();
    }
  }

  /** A new database. Replicas get it as they get any other that is new. */
  private async create(file: ForwardedFile): Promise<void> {
    const { parts, name } = this;
    checkName(name);
    const { pageSize } = forwardedHeader(file);
    const nothing = { name, position: ZERO_POSITION, pageSize, pageCount: 0, sums: new DatabaseSums(pageSize) };
    const { postApply } = await checkForwarded(file, nothing);
    await (await parts.halter(name)).create(name, locationOf(file));
    for (let n = 0; n < CREATED_TRIES; n++) {
      const position = await parts.settled(name);
      if (position?.checksum === postApply) return;
      if (position !== undefined) break;
      await pause(CREATED_PAUSE_MS);
    }
    throw new SluiceError('FORWARD_DIFFERS', `${name}: the primary did not come to have what was sent`);
  }

  /** Whether the primary has it already: then the stream says so. */
  private isTaken({ incoming }: Commit): boolean {
    const ground = this.parts.ground(this.name);
    let header: LtxHeader;
    try {
      header = forwardedHeader(incoming.finish());
    } catch {
      return false;
    }
    if (ground === undefined || followsOn(header, ground.position)) return false;
    return ground.after(header.maxTxid) === header.postApply;
  }

  private refuse({ peer, serial, incoming }: Commit, error: unknown): void {
    incoming.remove();
    const code = errorCode(error) ?? 'FORWARD_FAILED';
    const text = describeError(error);
    this.parts.log.warn(
      { database: this.name, replica: peer.nodeId, code },
      `transaction of a replica refused: ${text}`,
    );
    peer.send({ type: 'forward-refused', name: this.name, serial, code, text });
  }

  private refuseHalt(peer: WritePeer, serial: number, error: unknown): void {
    const code = errorCode(error) ?? 'HALT_FAILED';
    peer.send({ type: 'halt-ended', name: this.name, serial, code, text: describeError(error) });
  }

  /** Something new was asked, or the time is over. */
  private async change(limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      timer = setTimeout(resolve, limitMs);
    });
    clearTimeout(timer);
    this.wake = () => undefined;
  }
}

function locationOf(file: ForwardedFile): Parameters<Halter['commit']>[1] {
  if (file.kind === 'bytes') return file;
  return { kind: 'file', path: file.path, offset: 0, size: statSync(file.path).size };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
