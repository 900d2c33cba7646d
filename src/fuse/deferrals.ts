import { REQUEST_BUFFER_BYTES } from './protocol.js';
import { headerNodeId, headerUniqueHigh, headerUniqueLow } from './request.js';

/** Requests kept at most, and their bytes, for each of two reasons: until a wake-up, or until a lock is free. */
export const DEFERRED_LIMIT = 4096;
export const DEFERRED_LIMIT_BYTES = 64 << 20;

/** A whole request that was not answered yet. */
export interface KeptRequest {
  readonly bytes: Buffer;
  readonly length: number;
  /** Bytes that were written already, where only the answer waits; -1: nothing was done. */
  written: number;
}

/** Requests that wait, in the order in which they came. */
export class Deferrals {
  readonly #limit: number;
  #waiting: KeptRequest[] = [];
  #bytes = 0;

  /** `limit` is lower in tests. */
  constructor(limit = DEFERRED_LIMIT) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** One more may be too much. */
  get full(): boolean {
    return this.#waiting.length >= this.#limit || this.#bytes > DEFERRED_LIMIT_BYTES - REQUEST_BUFFER_BYTES;
  }

  /** Keeps a copy of `request`, or the kept one itself if it is presented again. */
  keep(request: Buffer, length: number, again: KeptRequest | undefined, written = -1): void {
    const kept = again ?? { bytes: Buffer.from(request.subarray(0, length)), length, written };
    kept.written = written;
    this.#waiting.push(kept);
    this.#bytes += length;
  }

  /** Takes all out. */
  takeAll(): KeptRequest[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    return taken;
  }

  /** Takes out those that name a node. */
  takeNode(id: number): KeptRequest[] {
    return this.#take((request) => headerNodeId(request) === id);
  }

  /** Takes out the one with this `unique`. */
  takeUnique(low: number, high: number): KeptRequest | undefined {
    return this.#take((request) => headerUniqueLow(request) === low && headerUniqueHigh(request) === high)[0];
  }

  /** The one with this `unique`, left where it is. */
  find(low: number, high: number): KeptRequest | undefined {
    return this.#waiting.find(({ bytes }) => headerUniqueLow(bytes) === low && headerUniqueHigh(bytes) === high);
  }

  #take(matches: (request: Buffer) => boolean): KeptRequest[] {
    const taken = this.#waiting.filter(({ bytes }) => matches(bytes));
    if (taken.length === 0) return taken;
    this.#waiting = this.#waiting.filter(({ bytes }) => !matches(bytes));
    for (const { length } of taken) this.#bytes -= length;
    return taken;
  }
}
