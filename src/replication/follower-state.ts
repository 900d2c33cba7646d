import { type Position, samePosition, type Txid, ZERO_POSITION } from '../ltx/index.js';
import { decide, type History, type SnapshotReason } from './replica-state.js';

/**
 * Where one database of one replica is. `live`: everything is sent, each new transaction is pushed as it comes.
 * `catching-up`: the log is read from `sent` on. `snapshot`: an image is to be sent, or being sent. `dropped`: only
 * acknowledgements are awaited.
 */
export type FlowMode = 'live' | 'catching-up' | 'snapshot' | 'dropped';

/** What to send next. */
export type Step<Entry> =
  | { readonly kind: 'none' }
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'snapshot'; readonly reason: SnapshotReason };

/** What of the log the decision for the next step needs; LogEntry has it. */
export interface FlowLog<Entry> {
  readonly position: Position;
  readonly log: { get(txid: Txid): Entry | undefined };
}

const NONE: Step<never> = { kind: 'none' };

/** Bytes sent and not yet acknowledged, of all databases of one replica. */
export class Window {
  unackedBytes = 0;

  constructor(
    private readonly databaseBytes: number,
    private readonly connectionBytes: number,
  ) {}

  /**
   * True if the flow may send `bytes` more. A flow never holds more than is still free, so those that are stuck leave
   * room for the others; one with nothing outstanding may always send one message.
   */
  mayTake(flow: DatabaseFlow, bytes: number): boolean {
    if (flow.unackedBytes === 0) return true;
    const wanted = flow.unackedBytes + bytes;
    return wanted <= this.databaseBytes && wanted <= this.connectionBytes - this.unackedBytes;
  }
}

/** The primary's knowledge of one database of one replica. No I/O and no clock: times come as arguments. */
export class DatabaseFlow {
  mode: FlowMode = 'catching-up';
  reason: SnapshotReason = 'new';
  /** The last that was sent; the next to send follows it. */
  sent: Position = ZERO_POSITION;
  acked: Position = ZERO_POSITION;
  /** What it said to have in its log, applied or not. */
  private inLog: Position = ZERO_POSITION;
  unackedBytes = 0;
  /** When something was last acknowledged, or was sent with nothing outstanding. */
  progressMs = 0;
  /** What the replica said it cannot do; null again with its next step forward. */
  problem: string | null = null;
  /** The oldest transaction that it is known to miss, and since when; null when it has all. */
  private missing: { readonly txid: Txid; readonly sinceMs: number } | null = null;
  /** Drops whose acknowledgement is to come; positions acknowledged before it are of the file that was deleted. */
  private drops = 0;

  constructor(readonly name: string) {}

  /** Starts, or starts over, from what the replica says it holds. */
  begin(held: Position | undefined, history: History): void {
    const decision = decide(held, history);
    this.sent = held ?? ZERO_POSITION;
    this.inLog = ZERO_POSITION;
    this.acked = decision.kind === 'snapshot' ? ZERO_POSITION : this.sent; // what is not known to be ours does not count
    if (decision.kind === 'snapshot') this.needSnapshot(decision.reason);
    else this.mode = decision.kind === 'live' ? 'live' : 'catching-up';
  }

  needSnapshot(reason: SnapshotReason): void {
    this.mode = 'snapshot';
    this.reason = reason;
  }

  /** A transaction was logged: true if it can be sent at once. If not, it will be read from the log. */
  logged(txid: Txid, bytes: number, window: Window, room: boolean, nowMs: number): boolean {
    this.missing ??= { txid, sinceMs: nowMs };
    if (this.mode !== 'live') return false;
    if (room && this.sent.txid + 1 === txid && window.mayTake(this, bytes)) return true;
    if (txid > this.sent.txid) this.mode = 'catching-up';
    return false;
  }

  /** Counts a message of this flow in the window. */
  took(bytes: number, window: Window, nowMs: number): void {
    if (this.unackedBytes === 0) this.progressMs = nowMs;
    this.unackedBytes += bytes;
    window.unackedBytes += bytes;
  }

  /** What to send next. Turns to `live` when there is nothing, to `snapshot` when the log does not follow what was sent. */
  next<Entry extends { readonly before: Position }>(from: FlowLog<Entry>): Step<Entry> {
    if (this.mode === 'snapshot') return { kind: 'snapshot', reason: this.reason };
    if (this.mode !== 'catching-up') return NONE;
    if (this.sent.txid === from.position.txid) {
      if (samePosition(this.sent, from.position)) this.mode = 'live';
      else this.needSnapshot('diverged');
      return this.next(from);
    }
    const entry = from.log.get(this.sent.txid + 1);
    if (entry === undefined) this.needSnapshot(this.sent.txid > from.position.txid ? 'diverged' : 'behind');
    else if (!samePosition(entry.before, this.sent)) this.needSnapshot('diverged');
    else return { kind: 'entry', entry };
    return this.next(from);
  }

  /** A transaction or a whole snapshot was sent. */
  advanced(position: Position): void {
    this.sent = position;
    if (this.mode === 'snapshot') this.mode = 'catching-up';
  }

  /** The database is gone; the message that says so counts `bytes`. */
  dropped(bytes: number, window: Window, nowMs: number): void {
    this.mode = 'dropped';
    this.sent = ZERO_POSITION;
    this.acked = ZERO_POSITION;
    this.inLog = ZERO_POSITION;
    this.missing = null;
    this.problem = null;
    this.drops++;
    this.took(bytes, window, nowMs);
  }

  /** False if it acknowledges more than was sent: a replica that cannot count cannot be bounded. */
  acknowledged(position: Position | null, bytes: number, window: Window, nowMs: number): boolean {
    if (bytes > this.unackedBytes) return false;
    this.unackedBytes -= bytes;
    window.unackedBytes -= bytes;
    this.progressMs = nowMs;
    if (position === null) return true;
    if (this.drops > 0) {
      if (position.txid === 0) this.drops--;
      return true;
    }
    if (position.txid > this.sent.txid) return true;
    this.acked = position;
    this.problem = null;
    if (this.missing !== null && position.txid >= this.missing.txid) this.missing = null;
    return true;
  }

  /** It has what leads to `position` in its log. */
  stored(position: Position): void {
    if (this.drops === 0 && position.txid <= this.sent.txid) this.inLog = position;
  }

  /** What it certainly has, of this history, and will have applied; ZERO_POSITION: nothing. */
  get standing(): Position {
    return this.inLog.txid > this.acked.txid ? this.inLog : this.acked;
  }

  /** A dropped database with nothing outstanding can be forgotten. */
  get finished(): boolean {
    return this.mode === 'dropped' && this.unackedBytes === 0;
  }

  /** True when the replica has acknowledged all there is. */
  get settled(): boolean {
    return (
      this.unackedBytes === 0 &&
      (this.mode === 'dropped' || (this.mode === 'live' && this.acked.txid === this.sent.txid))
    );
  }

  /** Notes, where nothing is known yet, that it misses something since `sinceMs`; called now and then. */
  noteBehind(last: Txid, sinceMs: number): void {
    if (this.mode !== 'dropped' && this.acked.txid !== last) this.missing ??= { txid: last, sinceMs };
  }

  /** How long it has been without the oldest transaction that it misses; 0 if it has all. */
  lagMs(nowMs: number): number {
    return this.missing === null ? 0 : Math.max(0, nowMs - this.missing.sinceMs);
  }

  isStuck(nowMs: number, stuckMs: number): boolean {
    return this.problem !== null || (this.unackedBytes > 0 && nowMs - this.progressMs > stuckMs);
  }
}
