/**
 * Until when the primary's word that nobody else writes is good. It takes the word back when it has heard nothing of a replica
 * for `silenceMs`, or after `holdMs`, and then others write. A replica that is cut off or was stopped does not learn of
 * that, so it counts for itself, and from earlier than the primary does. Times are of the replica's monotonic clock.
 */
export class HaltTrust {
  private askedMs = 0;
  private heardMs = 0;
  private endMs = 0;
  private silenceMs = 0;

  /** A halt is asked for. */
  asked(nowMs: number): void {
    this.askedMs = nowMs;
    this.endMs = 0;
  }

  /** The primary has got what was sent then. */
  heard(sentMs: number): void {
    this.heardMs = Math.max(this.heardMs, sentMs);
  }

  /** The primary is halted; what it had answered before this message it had answered before the halt began. */
  halted(limits: { readonly silenceMs: number; readonly holdMs: number }): void {
    this.heard(this.askedMs);
    this.silenceMs = limits.silenceMs;
    this.endMs = this.heardMs + limits.holdMs;
  }

  /** From then on others may write. */
  get untilMs(): number {
    return Math.min(this.heardMs + this.silenceMs, this.endMs);
  }
}
