import type { LogEntry, ReplicatedDatabase, Snapshot } from '../database/types.js';
import { decodeHeader, HEADER_SIZE, type Position } from '../ltx/index.js';
import { CHUNK_BYTES } from './limits.js';
import { chunkEnvelope, type LargeKind } from './messages.js';
import type { SnapshotReason } from './replica-state.js';

/** What a large stream gives: a `large-chunk` message to send, or that there is none now, or none any more. */
export type Piece = { readonly envelope: Buffer; readonly body: Buffer } | 'later' | 'end';

/** Something large being sent to one replica, piece by piece. */
export interface Outgoing {
  readonly kind: LargeKind;
  /** Where the replica is when it has all of it. */
  readonly position: Position;
  readonly timeMs: number;
  next(): Piece;
  close(): void;
}

/** A transaction from the log, read when there is room for the next piece. */
export class OutgoingEntry implements Outgoing {
  readonly kind = 'transaction';
  readonly position: Position;
  readonly timeMs: number;
  private readonly opened: ReturnType<LogEntry['open']>;
  private offset = 0;

  /** Throws if the entry was pruned meanwhile. */
  constructor(
    private readonly name: string,
    entry: LogEntry,
  ) {
    this.position = entry.after;
    this.opened = entry.open();
    try {
      const head = new Uint8Array(HEADER_SIZE);
      this.opened.source.read(head, 0, HEADER_SIZE, 0);
      this.timeMs = decodeHeader(head).timestampMs;
    } catch (error) {
      this.opened.close();
      throw error;
    }
  }

  next(): Piece {
    const { source } = this.opened;
    const length = Math.min(CHUNK_BYTES, source.size - this.offset);
    if (length === 0) return 'end';
    const piece = chunkEnvelope(this.name, length);
    const done = source.read(piece.body, 0, length, this.offset);
    if (done !== length) throw new Error(`log of ${this.name} is cut: ${done} of ${length} bytes at ${this.offset}`);
    this.offset += length;
    return piece;
  }

  close(): void {
    this.opened.close();
  }
}

/** A snapshot. One piece of it (at most 1 MiB) is in hand, the next is being made. */
export class OutgoingSnapshot implements Outgoing {
  readonly kind: SnapshotReason;
  private snapshot: Snapshot | undefined;
  private iterator: AsyncGenerator<Uint8Array, void, undefined> | undefined;
  private hand: Uint8Array | undefined;
  private handOffset = 0;
  private ready: Uint8Array | undefined;
  private pulling = false;
  private done = false;
  private closed = false;

  /**
   * @param wake called when `next` has something again, and once when `position` is known
   * @param fail called once if the snapshot fails; it is closed then
   */
  constructor(
    private readonly database: ReplicatedDatabase,
    reason: SnapshotReason,
    private readonly wake: () => void,
    private readonly fail: (error: unknown) => void,
  ) {
    this.kind = reason;
    void this.open();
  }

  /** False until the database gave the snapshot. */
  get opened(): boolean {
    return this.snapshot !== undefined;
  }

  get position(): Position {
    return this.snapshot!.position;
  }

  get timeMs(): number {
    return this.snapshot!.timestampMs;
  }

  next(): Piece {
    if (this.hand === undefined) {
      if (this.ready === undefined) return this.done ? 'end' : 'later';
      this.hand = this.ready;
      this.handOffset = 0;
      this.ready = undefined;
      if (!this.done) void this.pull();
    }
    const part = this.hand.subarray(this.handOffset, this.handOffset + CHUNK_BYTES);
    this.handOffset += part.length;
    if (this.handOffset >= this.hand.length) this.hand = undefined;
    const piece = chunkEnvelope(this.database.name, part.length);
    piece.body.set(part);
    return piece;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.hand = undefined;
    this.ready = undefined;
    if (!this.pulling) this.release();
  }

  private async open(): Promise<void> {
    this.pulling = true;
    try {
      this.snapshot = await this.database.snapshot();
      this.iterator = this.snapshot.chunks();
    } catch (error) {
      this.ended(error);
      return;
    }
    this.pulling = false;
    if (this.closed) this.release();
    else void this.pull();
  }

  private async pull(): Promise<void> {
    this.pulling = true;
    try {
      const result = await this.iterator!.next();
      if (result.done === true) this.done = true;
      else this.ready = result.value;
    } catch (error) {
      this.ended(error);
      return;
    }
    this.pulling = false;
    if (this.closed) this.release();
    else this.wake();
  }

  private ended(error: unknown): void {
    this.pulling = false;
    const wasClosed = this.closed;
    this.closed = true;
    this.release();
    if (!wasClosed) this.fail(error);
  }

  /** Never while a piece is being made: the generator's file must not go away under it. */
  private release(): void {
    this.snapshot?.close();
    this.snapshot = undefined;
  }
}
