import type { Txid } from '../ltx/index.js';

/** Heartbeats over which the least delayed one is looked for. */
const SAMPLES = 16;

/**
 * The primary's clock as seen from here. Of the last heartbeats the least delayed tells the difference best; what is
 * left of error is the shortest way over the network, so ages come out too small by that, never too large.
 */
export class PrimaryClock {
  private readonly samples: number[] = [];
  private next = 0;
  private offsetMs = 0;

  heard(sentMs: number, receivedMs: number): void {
    this.samples[this.next] = sentMs - receivedMs;
    this.next = (this.next + 1) % SAMPLES;
    this.offsetMs = Math.max(...this.samples);
  }

  /** The primary's time at this node's time `nowMs`. */
  at(nowMs: number): number {
    return nowMs + this.offsetMs;
  }
}

/** How old the content of one database is: for how long the primary has had something that is not applied here. */
export class ContentAge {
  private applied: Txid = 0;
  /** The first that was heard of and is not applied: known from a hello or a heartbeat, before its bytes came. */
  private missing: { readonly txid: Txid; readonly timeMs: number } | undefined;

  /** The primary is at `txid`, logged at `timeMs` of its clock. */
  heard(txid: Txid, timeMs: number): void {
    if (txid > this.applied) this.missing ??= { txid, timeMs };
  }

  appliedTo(txid: Txid): void {
    this.applied = txid;
    if (this.missing !== undefined && this.missing.txid <= txid) this.missing = undefined;
  }

  /** A new connection: what was heard before may be another primary's. */
  reset(applied: Txid): void {
    this.applied = applied;
    this.missing = undefined;
  }

  /**
   * Milliseconds; 0 when nothing is missing. `queuedMs`: the time of the oldest transaction that came and is not
   * applied, if any. `nowMs`: the primary's clock.
   */
  lagMs(nowMs: number, queuedMs: number | undefined): number {
    const sinceMs = queuedMs ?? this.missing?.timeMs;
    return sinceMs === undefined ? 0 : Math.max(0, nowMs - sinceMs);
  }
}
