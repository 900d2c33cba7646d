import { headerNodeId, headerUniqueHigh, headerUniqueLow } from './request.js';

/** Requests kept at most, of both kinds together, and their bytes. Beyond, a caller gets EAGAIN. */
export const DEFERRED_LIMIT = 256;
export const DEFERRED_LIMIT_BYTES = 64 << 20;

/** A whole request that was not answered yet. */
export interface KeptRequest {
  readonly bytes: Buffer;
  readonly length: number;
}

/** Requests that wait, in the order in which they came. */
export class Deferrals {
  #waiting: KeptRequest[] = [];
  #bytes = 0;

  get count(): number {
    return this.#waiting.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps a copy of `request`, or the kept one itself if it is presented again. */
  keep(request: Buffer, length: number, again: KeptRequest | undefined): void {
    const kept = again ?? { bytes: Buffer.from(request.subarray(0, length)), length };
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
