import type { LargeReceiver, ReplicaSink } from '../database/types.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { type Position, samePosition, ZERO_POSITION } from '../ltx/index.js';
import { backoffMs } from './backoff.js';
import { ContentAge } from './content-age.js';
import { Fifo } from './fifo.js';
import { LateAck } from './late-ack.js';
import { CHUNK_BYTES, type ClientLimits } from './limits.js';
import type { DatabasePosition, Message, RequestReason } from './messages.js';
import { Pause } from './pause.js';
import { costOf, type Item, itemOf, timeOf } from './replica-item.js';
import { badMessage } from './shape.js';
import type { DatabaseProblem } from './types.js';

/** Freed window that is told to the primary at the latest; at once when the queue is empty. */
const CREDIT_BYTES = 4 * CHUNK_BYTES;

/** What a database of the replica shares with the others of its client. */
export interface ReplicaDatabaseContext {
  readonly sink: ReplicaSink;
  readonly limits: ClientLimits;
  readonly random: () => number;
  /** The primary wants to know as soon as something is in the log. */
  wantsStored(): boolean;
  /** Sends on the present connection; without one it does nothing. */
  send(message: Message): void;
  /** Bytes that came to wait here (positive) or do no longer. */
  queued(bytes: number): void;
  /** It is at a new position. `timeMs`: when that was committed, by the primary's clock; undefined if not known. */
  applied(database: ReplicaDatabase, timeMs: number | undefined): void;
  /** It is at least where it was before the connection was made. */
  reached(database: ReplicaDatabase): void;
  dropped(database: ReplicaDatabase): void;
  failed(name: string, error: SluiceError): void;
  now(): number;
}

/** A large stream being received; without a receiver it is one that is already here, and its bytes are dropped. */
interface Large {
  readonly timeMs: number;
  readonly receiver: LargeReceiver | undefined;
}

/**
 * One database on the replica: a queue of what the primary sent, given to the sink one after the other. It waits,
 * retries and asks again by itself; other databases do not notice. It outlives connections, because what the sink has
 * begun goes on when the connection is lost.
 */
export class ReplicaDatabase {
  position: Position = ZERO_POSITION;
  problem: DatabaseProblem | null = null;
  private readonly age = new ContentAge();
  private readonly queue = new Fifo<Item>();
  private current: Item | undefined;
  private large: Large | undefined;
  private running: Promise<void> | undefined;
  /** To be waited for before anything is taken. */
  private gate: Promise<void> | undefined;
  /** Goes up with each connection: what an older one brought is not acknowledged to this one. */
  private connection = 0;
  /** Goes up when what came is void: a try that fails is not repeated. */
  private epoch = 0;
  /** Something was still being applied when the hello was said, so the primary may send what is already here. */
  private mayRepeat = false;
  /** Window that is free again and not yet told. */
  private creditBytes = 0;
  /** What comes is dropped until `restart` with this serial; 0: it is taken. */
  private awaited = 0;
  private serial = 0;
  private failures = 0;
  private lastFailureMs = 0;
  private readonly pause = new Pause();
  /** What the primary was told, on this connection, to be in the log. */
  private told: Position | undefined;
  private readonly late = new LateAck((position) => this.acknowledge(position));

  constructor(
    readonly name: string,
    private readonly context: ReplicaDatabaseContext,
  ) {}

  /** The positions for a hello were just taken. */
  helloSaid(): void {
    this.mayRepeat = this.running !== undefined;
  }

  /** The primary answered the hello: `held` was told in the hello, `told` is the primary's answer if it has this database. */
  connected(held: Position, told: DatabasePosition | undefined, gate: Promise<void> | undefined): void {
    this.gate = gate;
    if (!this.mayRepeat) this.position = held;
    const same = told !== undefined && samePosition(held, told.position);
    this.age.reset(same || (told !== undefined && held.txid < told.position.txid) ? held.txid : 0);
    if (told !== undefined) this.heard(told);
    if (same) this.problem = null;
  }

  /** The connection is gone, and with it everything that was not begun. */
  disconnected(): void {
    this.connection++;
    this.told = undefined;
    this.late.cancel();
    this.empty();
    this.creditBytes = 0;
    this.awaited = 0;
    this.serial = 0;
    if (this.large !== undefined) this.add({ kind: 'abort' });
  }

  /** The primary said where it is. */
  heard({ position, timeMs }: DatabasePosition): void {
    this.age.heard(position.txid, timeMs);
  }

  /** True while nothing is queued, waited for, or being done. */
  get idle(): boolean {
    return this.running === undefined && this.large === undefined && !this.pause.active;
  }

  /** Resolves when the sink is done with what it has begun. */
  settled(): Promise<void> {
    return this.running ?? Promise.resolve();
  }

  /** How old the content is: milliseconds by the primary's clock. */
  lagMs(primaryNowMs: number): number {
    return this.age.lagMs(primaryNowMs, this.oldestMs());
  }

  /** Only a snapshot helps. */
  distrusted(): void {
    if (this.awaited !== 0) return;
    this.startOver(new SluiceError('REPLICA_GAP', `${this.name}: some of its pages are not those of its position`));
  }

  private oldestMs(): number | undefined {
    return this.large?.timeMs ?? timeOf(this.current) ?? timeOf(this.queue.peek());
  }

  /** Takes a message of this database. Throws `REPLICATION_MESSAGE` if it is not for a replica. */
  receive(message: Message): void {
    if (message.type === 'restart') {
      if (message.serial === this.awaited) this.awaited = 0;
      return;
    }
    if (message.type === 'database-problem') {
      this.note(new SluiceError(message.code, `the primary cannot send it: ${message.text}`));
      return;
    }
    const item = itemOf(message);
    if (item === undefined) throw badMessage(`${message.type} is not for a replica`);
    if (item.kind === 'drop') {
      this.awaited = 0;
      this.empty(); // what is tried again and again must not keep it from being dropped
    }
    if (this.awaited === 0) {
      this.logAhead(item);
      this.add(item);
      return;
    }
    this.creditBytes += costOf(item);
    this.giveCredit();
  }

  /** The primary, who waits for it, is told that it is in the log before it is its turn to be applied. */
  private logAhead(item: Item): void {
    const { sink } = this.context;
    if (item.kind !== 'transaction' || item.header === undefined || !this.context.wantsStored()) return;
    // Nothing is taken before the gate is, or in the middle of something larger.
    if (this.gate !== undefined || this.large !== undefined) return;
    try {
      const position = sink.logAhead?.(this.name, item.ltx, item.header);
      if (position !== undefined) this.tellStored(position);
    } catch {
      // In its turn it fails again, and that is told.
    }
  }

  private add(item: Item): void {
    this.context.queued(costOf(item));
    this.queue.push(item);
    this.running ??= this.run();
  }

  /** Works until the queue is empty. Runs up to the first call of the sink in the turn in which the message came. */
  private async run(): Promise<void> {
    const { gate } = this;
    if (gate !== undefined) {
      await gate;
      if (this.gate === gate) this.gate = undefined;
    }
    for (let item = this.queue.shift(); item !== undefined; item = this.queue.shift()) {
      this.current = item;
      const { connection } = this;
      const moved = await this.takeOrFail(item);
      this.context.queued(-costOf(item));
      if (connection !== this.connection) continue;
      this.creditBytes += costOf(item);
      if (item.kind === 'drop') this.acknowledge(ZERO_POSITION);
      else if (moved) this.acknowledgeMove();
      else this.giveCredit();
    }
    this.current = undefined;
    this.running = undefined;
  }

  /** True if the database has a new position to tell. Never rejects. */
  private async takeOrFail(item: Item): Promise<boolean> {
    const { epoch } = this;
    try {
      return await this.take(item);
    } catch (error) {
      await this.abortLarge();
      if (epoch === this.epoch) this.startOver(error);
      return false;
    }
  }

  private async take(item: Item): Promise<boolean> {
    switch (item.kind) {
      case 'transaction':
        return this.takeTransaction(item);
      case 'begin':
        this.beginLarge(item);
        return false;
      case 'chunk':
        if (this.large === undefined) throw badMessage(`a piece of no large stream of ${this.name}`);
        await this.large.receiver?.write(item.bytes);
        return false;
      case 'end':
        return this.endLarge();
      case 'abort':
        await this.abortLarge();
        return false;
      case 'drop':
        return this.takeDrop(item);
      case 'forwarded':
        return this.takeForwarded(item);
    }
  }

  private async takeTransaction(item: Extract<Item, { kind: 'transaction' }>): Promise<boolean> {
    if (item.header !== undefined && this.has({ txid: item.header.maxTxid, checksum: item.header.postApply }))
      return true;
    const position = await this.persist(() => this.context.sink.receive(this.name, item.ltx, this.onLogged()));
    if (position === undefined) return false;
    this.moveTo(position, item.header?.timestampMs);
    return true;
  }

  /** What applications here wrote, and the primary has now. */
  private async takeForwarded({ position }: Extract<Item, { kind: 'forwarded' }>): Promise<boolean> {
    if (this.has(position)) return true;
    const { sink } = this.context;
    if (sink.receiveForwarded === undefined) throw badMessage('a forwarded transaction, where nothing was forwarded');
    const reached = await this.persist(() => sink.receiveForwarded!(this.name, position, this.onLogged()));
    if (reached === undefined) return false;
    this.moveTo(reached, this.context.now());
    return true;
  }

  /** Tells the primary, on the connection by which it came. */
  private onLogged(): ((position: Position) => void) | undefined {
    if (!this.context.wantsStored()) return undefined;
    const { connection } = this;
    return (position) => {
      if (connection === this.connection) this.tellStored(position);
    };
  }

  private tellStored(position: Position): void {
    this.told = position;
    this.context.send({ type: 'stored', name: this.name, position });
  }

  /** True for what came by an earlier connection too, see mayRepeat. */
  private has(position: Position): boolean {
    if (!this.mayRepeat) return false;
    if (position.txid >= this.position.txid) this.mayRepeat = false;
    if (position.txid >= this.position.txid && !samePosition(position, this.position)) return false;
    this.context.reached(this);
    return true;
  }

  private beginLarge({ large, position, timeMs }: Extract<Item, { kind: 'begin' }>): void {
    if (this.large !== undefined) throw badMessage(`two large streams of ${this.name} at once`);
    const { sink } = this.context;
    if (large !== 'transaction') this.large = { timeMs, receiver: sink.receiveSnapshot(this.name, large) };
    else this.large = { timeMs, receiver: this.has(position) ? undefined : sink.receiveLarge(this.name) };
  }

  private async endLarge(): Promise<boolean> {
    if (this.large === undefined) throw badMessage(`the end of no large stream of ${this.name}`);
    const { receiver, timeMs } = this.large;
    const position = await receiver?.finish();
    this.large = undefined;
    if (position !== undefined) this.moveTo(position, timeMs);
    return true;
  }

  private async abortLarge(): Promise<void> {
    const { large } = this;
    this.large = undefined;
    try {
      await large?.receiver?.abort();
    } catch (error) {
      this.note(asSluiceError(error));
    }
  }

  private async takeDrop({ position }: Extract<Item, { kind: 'drop' }>): Promise<boolean> {
    await this.abortLarge();
    const done = await this.persist(() => this.context.sink.drop(this.name, position).then(() => true));
    if (done === undefined) return false;
    this.position = ZERO_POSITION;
    this.age.reset(0);
    this.problem = null;
    this.context.dropped(this);
    return true;
  }

  /** Tries until it works; undefined if it became void meanwhile. Throws what trying again does not help. */
  private async persist<T>(attempt: () => Promise<T>): Promise<T | undefined> {
    const { epoch } = this;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (reasonToAsk(error) !== undefined) throw error;
        if (epoch === this.epoch) await this.pause.start(this.noteFailure(error));
        if (epoch !== this.epoch) return undefined;
      }
    }
  }

  private moveTo(position: Position, timeMs: number | undefined): void {
    this.position = position;
    this.age.appliedTo(position.txid);
    this.problem = null;
    this.context.applied(this, timeMs);
  }

  /** What it was told to be in the log the primary does not wait for any more. */
  private acknowledgeMove(): void {
    const { told, position } = this;
    const isTold = told !== undefined && told.txid >= position.txid;
    if (isTold && this.creditBytes < CREDIT_BYTES) this.late.put(position);
    else this.acknowledge(position);
  }

  private acknowledge(position: Position): void {
    this.late.cancel();
    const bytes = this.creditBytes;
    this.creditBytes = 0;
    this.context.send({ type: 'ack', name: this.name, position, bytes });
  }

  private giveCredit(): void {
    const bytes = this.creditBytes;
    if (bytes === 0 || (bytes < CREDIT_BYTES && this.queue.length > 0)) return;
    this.creditBytes = 0;
    this.context.send({ type: 'ack', name: this.name, position: null, bytes });
  }

  /** What is queued is of no use after this failure: drops it, and after a while asks the primary to begin anew. */
  private startOver(error: unknown): void {
    this.age.heard(this.position.txid + 1, this.oldestMs() ?? this.context.now());
    const delayMs = this.noteFailure(error);
    this.empty();
    this.told = undefined;
    this.serial++;
    this.awaited = this.serial;
    void this.askLater(delayMs, this.serial, reasonToAsk(error));
  }

  private async askLater(delayMs: number, serial: number, reason: RequestReason | undefined): Promise<void> {
    await this.pause.start(delayMs);
    if (this.awaited !== serial) return;
    const ask = { name: this.name, serial, position: this.position };
    this.context.send(reason === undefined ? { type: 'resume', ...ask } : { type: 'request-snapshot', ...ask, reason });
  }

  /** Forgets what is queued, and the next tries of what is being done. */
  private empty(): void {
    for (let item = this.queue.shift(); item !== undefined; item = this.queue.shift()) {
      this.context.queued(-costOf(item));
      this.creditBytes += costOf(item);
      // Another drop comes in its place, but the primary counts their acknowledgements.
      if (item.kind === 'drop') this.acknowledge(ZERO_POSITION);
    }
    this.epoch++;
    this.pause.end();
  }

  /** Shows and tells the failure; returns how long to wait now. */
  private noteFailure(error: unknown): number {
    // An acknowledgement says that there is no problem.
    this.late.flush();
    const { limits, random, now } = this.context;
    const nowMs = now();
    if (nowMs - this.lastFailureMs > 2 * limits.retryMaxMs) this.failures = 0;
    this.lastFailureMs = nowMs;
    const known = asSluiceError(error);
    const isNew = this.problem?.code !== known.code;
    this.note(known);
    if (isNew) {
      this.context.send({ type: 'database-problem', name: this.name, code: known.code, text: describeError(known) });
    }
    this.context.failed(this.name, known);
    return backoffMs(this.failures++, limits.retryMinMs, limits.retryMaxMs, random);
  }

  private note({ code, message, hint }: SluiceError): void {
    const sinceMs = this.problem?.code === code ? this.problem.sinceMs : this.context.now();
    this.problem = { name: this.name, code, message, hint, sinceMs };
  }
}

/** Why a snapshot is asked for after this failure; undefined if it is one that passes. */
function reasonToAsk(error: unknown): RequestReason | undefined {
  const code = errorCode(error);
  if (code === 'REPLICA_DIVERGED') return 'diverged';
  return code === 'REPLICA_GAP' || code?.startsWith('LTX_') === true ? 'behind' : undefined;
}

function asSluiceError(error: unknown): SluiceError {
  if (error instanceof SluiceError) return error;
  return new SluiceError(errorCode(error) ?? 'REPLICA_FAILED', describeError(error), '', { cause: error });
}
