import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { LogEntry, ReplicatedDatabase } from '../database/types.js';
import { describeError, errorCode } from '../errors.js';
import { formatTxid, type Position, samePosition } from '../ltx/index.js';
import type { ReplicaStatus } from '../status.js';
import { backoffMs } from './backoff.js';
import { giveEnvelope } from './chunk-pool.js';
import { isDatabaseName } from './fields.js';
import { Window } from './follower-state.js';
import { type FollowerContext, forgetPlans, newStream, type Stream } from './follower-stream.js';
import { CHUNK_BYTES, MESSAGE_COST_BYTES } from './limits.js';
import { encodeMessage, encodeTransaction, type Message } from './messages.js';
import { type Outgoing, OutgoingEntry, OutgoingSnapshot } from './outgoing.js';
import type { SnapshotReason } from './replica-state.js';
import { type StepResult, Turns } from './turns.js';
import type { WriteMessage, WritePeer } from './types.js';

/** Sent by one run of the pump before other work of the process gets its turn. */
const PUMP_BYTES = 2 * 1024 * 1024;

/** Between tries of a database whose snapshot or log cannot be read. */
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 30_000;

/**
 * One connected replica. Each of its databases has a flow; those with something to read from the log or from a
 * snapshot take turns, one message each, as far as the windows and the socket have room.
 */
export class Follower implements WritePeer {
  readonly connectedAtMs: number;
  heardMs = performance.now();
  private readonly streams = new Map<string, Stream>();
  private readonly window: Window;
  private readonly turns = new Turns<Stream>();
  private snapshots = 0;
  private pumpScheduled = false;
  private closed = false;

  constructor(
    readonly nodeId: string,
    readonly name: string,
    readonly address: string,
    private readonly ws: WebSocket,
    socket: Socket,
    private readonly context: FollowerContext,
    held: ReadonlyMap<string, Position>,
  ) {
    this.connectedAtMs = context.now();
    this.window = new Window(context.limits.databaseWindowBytes, context.limits.connectionWindowBytes);
    for (const database of context.databases.all()) this.open(database, held.get(database.name));
    socket.on('drain', () => this.pump());
    this.schedulePump();
  }

  /** A database that this replica is to have. */
  open(database: ReplicatedDatabase, held?: Position): void {
    if (database.position.txid === 0 || !isDatabaseName(database.name)) return;
    const stream = this.streams.get(database.name) ?? this.addStream(database.name);
    stream.flow.begin(held, database);
    stream.flow.noteBehind(database.position.txid, database.positionTimeMs);
    this.makeReady(stream);
    this.context.hooks.standing?.(database.name);
  }

  private addStream(name: string): Stream {
    const stream = newStream(name);
    this.streams.set(name, stream);
    return stream;
  }

  /** Sends a transaction that was just logged, or leaves it to the pump. `envelope` makes the message, once for all followers. */
  push(
    database: ReplicatedDatabase,
    position: Position,
    sizeBytes: number,
    envelope: (() => Buffer) | undefined,
  ): void {
    const stream = this.streams.get(database.name);
    if (stream === undefined || stream.flow.mode === 'dropped') {
      this.open(database);
      return;
    }
    const { flow } = stream;
    const now = this.context.now();
    const { expected } = stream;
    if (expected !== null && samePosition(expected, position)) {
      if (stream.half === 'durable') this.tellOwn(stream, position);
      else stream.half = 'logged';
      return;
    }
    if (stream.half === 'logged') {
      flow.logged(position.txid, 0, this.window, false, now); // behind what is not decided
      return;
    }
    const cost = sizeBytes + MESSAGE_COST_BYTES;
    const room =
      envelope !== undefined &&
      stream.restart === null &&
      this.ws.bufferedAmount + cost <= this.context.limits.liveBufferBytes;
    if (flow.logged(position.txid, cost, this.window, room, now)) {
      this.sendCounted(stream, envelope!(), cost, 'live');
      flow.advanced(position);
    } else if (flow.mode === 'catching-up') {
      this.makeReady(stream);
    }
  }

  /** What it certainly has of a database, of this history; undefined: nothing. */
  standing(name: string): Position | undefined {
    const standing = this.streams.get(name)?.flow.standing;
    return standing?.txid === 0 ? undefined : standing;
  }

  send(message: Message): void {
    this.control(message);
  }

  expect(name: string, position: Position): void {
    const stream = this.streams.get(name);
    if (stream === undefined) return;
    stream.expected = position;
    stream.half = null;
  }

  settle(name: string, isTaken: boolean): void {
    const stream = this.streams.get(name);
    if (stream?.expected == null) return;
    const { expected, half, flow } = stream;
    if (isTaken && half === 'logged') this.tellOwn(stream, expected);
    else if (isTaken) stream.half = 'durable';
    else {
      stream.expected = null;
      stream.half = null;
      if (half !== 'logged') return;
      // It was made and taken back, which the replica gets as anybody does.
      flow.logged(expected.txid, 0, this.window, false, this.context.now());
      this.makeReady(stream);
    }
  }

  /** In the place of the transaction. */
  private tellOwn(stream: Stream, position: Position): void {
    const { flow } = stream;
    stream.expected = null;
    stream.half = null;
    const now = this.context.now();
    if (flow.logged(position.txid, MESSAGE_COST_BYTES, this.window, stream.restart === null, now)) {
      const message = encodeMessage({ type: 'forwarded', name: flow.name, position });
      this.sendCounted(stream, message, MESSAGE_COST_BYTES, 'live');
      flow.advanced(position);
    } else if (flow.mode === 'catching-up') {
      this.makeReady(stream);
    }
  }

  /** The log was cut: whatever is being sent of it is void. */
  reset(database: ReplicatedDatabase): void {
    const stream = this.streams.get(database.name);
    if (stream === undefined) {
      this.open(database);
      return;
    }
    this.endOutgoing(stream, true);
    stream.flow.needSnapshot('behind');
    stream.flow.noteBehind(database.position.txid, this.context.now());
    this.makeReady(stream);
  }

  drop(name: string, position: Position): void {
    const stream = this.streams.get(name);
    if (stream === undefined || stream.flow.mode === 'dropped') return;
    this.endOutgoing(stream, true);
    this.forget(stream);
    stream.flow.dropped(MESSAGE_COST_BYTES, this.window, this.context.now());
    this.control({ type: 'drop', name, position });
  }

  /** It was heard of. */
  lives(): void {
    this.heardMs = performance.now();
  }

  /** Handles what the replica sent after its hello; false for what it may not send, or for what does not add up. */
  receive(message: Message): boolean {
    this.lives();
    switch (message.type) {
      case 'ack':
        return this.acknowledged(message.name, message.position, message.bytes);
      case 'stored':
        this.streams.get(message.name)?.flow.stored(message.position);
        this.context.hooks.standing?.(message.name);
        return true;
      case 'heartbeat-reply':
        return true;
      case 'request-snapshot':
      case 'resume':
        this.startOver(message);
        return true;
      case 'database-problem': {
        const stream = this.streams.get(message.name);
        if (stream !== undefined) stream.flow.problem = `${message.code}: ${message.text}`;
        const fields = { replica: this.nodeId, database: message.name, code: message.code };
        this.context.log.warn(fields, `replica cannot follow: ${message.text}`);
        return true;
      }
      case 'halt':
      case 'release':
      case 'forward-chunk':
      case 'forward':
        return this.writes(message);
      default:
        return false;
    }
  }

  /** Where no replica may write, it is told so. */
  private writes(message: WriteMessage): boolean {
    const { writes } = this.context;
    if (writes !== undefined) return writes.receive(this, message);
    const { name, serial } = message;
    const refusal = { name, serial, code: 'WRITES_OFF', text: 'the primary takes no writes of replicas' };
    if (message.type === 'halt') this.control({ type: 'halt-ended', ...refusal });
    else if (message.type === 'forward') this.control({ type: 'forward-refused', ...refusal });
    return true;
  }

  private acknowledged(name: string, position: Position | null, bytes: number): boolean {
    const stream = this.streams.get(name);
    if (stream === undefined) return bytes === 0;
    const { flow } = stream;
    if (!flow.acknowledged(position, bytes, this.window, this.context.now())) return false;
    if (flow.finished) this.streams.delete(name);
    if (position !== null && flow.acked === position) {
      this.context.hooks.acknowledged?.(this.nodeId, name, position);
      this.context.hooks.standing?.(name);
    }
    if (stream.parked && flow.unackedBytes === 0) stream.parked = false;
    this.turns.unblock();
    if (flow.mode !== 'live') this.turns.add(stream);
    this.pump();
    return true;
  }

  /** The replica discards what it gets of this database until `restart`, and says where it stands. */
  private startOver(message: Extract<Message, { type: 'request-snapshot' | 'resume' }>): void {
    const stream = this.streams.get(message.name);
    const database = this.context.databases.get(message.name);
    if (stream === undefined || database === undefined || stream.flow.mode === 'dropped') return;
    this.endOutgoing(stream, false);
    const { flow } = stream;
    flow.begin(message.position, database);
    if (message.type === 'request-snapshot' && !(flow.mode === 'snapshot' && flow.reason === 'diverged')) {
      flow.needSnapshot(message.position.txid === 0 ? 'new' : message.reason);
    }
    flow.noteBehind(database.position.txid, this.context.now());
    stream.restart = message.serial;
    stream.parked = false;
    this.makeReady(stream);
  }

  /** A slot for a snapshot may be free. */
  slotFreed(): void {
    for (const stream of this.streams.values()) {
      if (stream.flow.mode === 'snapshot' && stream.outgoing === null) this.turns.add(stream);
    }
    this.schedulePump();
  }

  private makeReady(stream: Stream): void {
    this.turns.add(stream);
    this.schedulePump();
  }

  /** Later in this turn of the event loop: callers are inside a listener or a generator. */
  private schedulePump(): void {
    if (this.pumpScheduled || this.closed) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  /** Sends what there is room for: one message of each ready stream in turn. */
  private pump(): void {
    if (this.turns.run(PUMP_BYTES, this.hasRoom, this.tryStep)) this.schedulePump();
  }

  /** The socket's 'drain' event calls the pump again. */
  private readonly hasRoom = (): boolean =>
    !this.closed && this.ws.bufferedAmount < this.context.limits.bulkBufferBytes;

  private readonly tryStep = (stream: Stream): StepResult => {
    try {
      return this.step(stream);
    } catch (error) {
      this.failed(stream, error);
      return 'idle';
    }
  };

  private step(stream: Stream): StepResult {
    const { flow } = stream;
    if (stream.restart !== null) {
      this.control({ type: 'restart', name: flow.name, serial: stream.restart });
      stream.restart = null;
    }
    if (stream.outgoing !== null) return this.sendPiece(stream, stream.outgoing);
    if (stream.parked || stream.retry !== null) return 'idle';
    const database = this.context.databases.get(flow.name);
    if (database === undefined) return 'idle'; // its drop is to come
    const isHeld = stream.half === 'logged' && stream.expected?.txid === flow.sent.txid + 1;
    if (isHeld || (stream.half === 'logged' && flow.mode === 'snapshot')) return 'idle'; // see settle
    const next = flow.next(database);
    if (next.kind === 'none') return 'idle';
    if (next.kind === 'snapshot') return this.startSnapshot(stream, database, next.reason);
    return this.sendEntry(stream, next.entry);
  }

  private sendEntry(stream: Stream, entry: LogEntry): StepResult {
    const { flow } = stream;
    if (entry.size > CHUNK_BYTES) {
      stream.outgoing = new OutgoingEntry(flow.name, entry);
      return 0;
    }
    const cost = entry.size + MESSAGE_COST_BYTES;
    if (!this.window.mayTake(flow, cost)) return 'blocked';
    this.sendCounted(stream, encodeTransaction(flow.name, entry.bytes()), cost, 'log');
    flow.advanced(entry.after);
    return cost;
  }

  private startSnapshot(stream: Stream, database: ReplicatedDatabase, reason: SnapshotReason): StepResult {
    const { slots, limits } = this.context;
    if (this.snapshots >= limits.followerSnapshots || slots.used >= limits.snapshots) return 'idle'; // see slotFreed
    this.snapshots++;
    slots.used++;
    const outgoing: OutgoingSnapshot = new OutgoingSnapshot(
      database,
      reason,
      () => {
        if (stream.outgoing === outgoing) this.makeReady(stream);
      },
      (error) => {
        if (stream.outgoing === outgoing) this.failed(stream, error);
      },
    );
    stream.outgoing = outgoing;
    return 'idle';
  }

  private sendPiece(stream: Stream, outgoing: Outgoing): StepResult {
    const { flow } = stream;
    if (outgoing instanceof OutgoingSnapshot && !outgoing.opened) return 'idle';
    if (!stream.begun) {
      const { kind, position, timeMs } = outgoing;
      this.control({ type: 'large-begin', name: flow.name, kind, position, timeMs: Math.round(timeMs) });
      stream.begun = true;
    }
    if (!this.window.mayTake(flow, CHUNK_BYTES + MESSAGE_COST_BYTES)) return 'blocked';
    const piece = outgoing.next();
    if (piece === 'later') return 'idle';
    if (piece === 'end') {
      this.control({ type: 'large-end', name: flow.name });
      flow.advanced(outgoing.position);
      stream.failures = 0;
      this.endOutgoing(stream, false);
      return 0;
    }
    const cost = piece.body.length + MESSAGE_COST_BYTES;
    const { envelope } = piece;
    this.sendCounted(stream, envelope, cost, outgoing.kind === 'transaction' ? 'log' : 'snapshot', (error) => {
      if (error == null) giveEnvelope(envelope);
    });
    return cost;
  }

  /** Ends what is being sent, if anything is; `abort` tells the replica, unless it will be told to start over. */
  private endOutgoing(stream: Stream, abort: boolean): void {
    const { outgoing, begun } = stream;
    if (outgoing === null) return;
    stream.outgoing = null;
    stream.begun = false;
    outgoing.close();
    if (abort && begun) this.control({ type: 'large-abort', name: stream.flow.name });
    if (outgoing.kind === 'transaction') return;
    this.snapshots--;
    this.context.slots.used--;
    this.context.slotFreed();
  }

  /** Reading the log or a snapshot failed here: this database waits and tries again, the others go on. */
  private failed(stream: Stream, error: unknown): void {
    const { flow } = stream;
    this.endOutgoing(stream, true);
    const delayMs = backoffMs(stream.failures++, RETRY_MIN_MS, RETRY_MAX_MS, Math.random);
    const text = describeError(error);
    flow.problem = text;
    this.context.log.warn({ replica: this.nodeId, database: flow.name, delayMs }, `cannot send: ${text}`);
    this.control({ type: 'database-problem', name: flow.name, code: errorCode(error) ?? 'SEND_FAILED', text });
    stream.retry = setTimeout(() => {
      stream.retry = null;
      this.makeReady(stream);
    }, delayMs);
  }

  private forget(stream: Stream): void {
    forgetPlans(stream);
    this.turns.remove(stream);
  }

  /** `onSent`: the socket does not need the envelope any more. */
  private sendCounted(
    stream: Stream,
    envelope: Buffer,
    cost: number,
    kind: 'live' | 'log' | 'snapshot',
    onSent?: (error?: Error | null) => void,
  ): void {
    stream.flow.took(cost, this.window, this.context.now());
    this.ws.send(envelope, onSent);
    this.context.hooks.sent?.(cost - MESSAGE_COST_BYTES, kind);
  }

  /** Sends what does not count in a window. A replica that leaves so much unread that even these pile up is cut off. */
  control(message: Message): void {
    this.controlBytes(encodeMessage(message));
  }

  /** The same for an encoded message, which all followers may share. */
  controlBytes(message: Buffer): void {
    if (this.closed) return;
    if (this.ws.bufferedAmount > 2 * this.context.limits.liveBufferBytes) {
      this.context.log.warn({ replica: this.nodeId }, 'replica does not read: disconnected');
      this.ws.terminate();
      return;
    }
    this.ws.send(message);
  }

  /** Now and then: gives up large streams that the replica does not take, so that they hold no file and no slot. */
  tick(): void {
    const now = this.context.now();
    for (const stream of this.streams.values()) {
      const { flow } = stream;
      const database = this.context.databases.get(flow.name);
      if (database !== undefined) flow.noteBehind(database.position.txid, now);
      if (stream.outgoing === null || flow.unackedBytes === 0) continue;
      if (now - flow.progressMs <= this.context.limits.snapshotStallMs) continue;
      this.context.log.warn(
        { replica: this.nodeId, database: flow.name },
        'replica takes no more of a large stream: given up',
      );
      this.endOutgoing(stream, true);
      stream.parked = true;
    }
  }

  /** True when the replica has acknowledged everything. */
  get settled(): boolean {
    for (const { flow } of this.streams.values()) if (!flow.settled) return false;
    return true;
  }

  status(): ReplicaStatus {
    const now = this.context.now();
    const { stuckMs } = this.context.limits;
    const databases: ReplicaStatus['databases'][number][] = [];
    let lagMs = 0;
    for (const { flow } of this.streams.values()) {
      if (flow.mode === 'dropped') continue;
      lagMs = Math.max(lagMs, flow.lagMs(now));
      const state = flow.isStuck(now, stuckMs) ? 'stuck' : flow.mode;
      databases.push({ name: flow.name, txid: formatTxid(flow.acked.txid), state });
    }
    return {
      nodeId: this.nodeId,
      address: this.address,
      connectedAt: new Date(this.connectedAtMs).toISOString(),
      lagMs,
      bufferedBytes: this.ws.bufferedAmount,
      databases,
    };
  }

  /** Frees what it holds; the socket is closed by the server. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.context.writes?.left(this);
    for (const stream of this.streams.values()) {
      this.forget(stream);
      this.endOutgoing(stream, false);
    }
    this.turns.clear();
  }
}
