import type { Position } from '../ltx/index.js';

/** So long an acknowledgement may wait for the next one. */
const LATE_MS = 5;

/**
 * Acknowledgements of what the primary knows to be stored already: nobody waits for them, so one stands for all of a few
 * milliseconds. Where each commit waits for an answer, a second one would cost the primary as much as the first.
 */
export class LateAck {
  private position: Position | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly send: (position: Position) => void) {}

  /** It is sent soon, or a later one in its place. */
  put(position: Position): void {
    this.position = position;
    if (this.timer !== undefined) return;
    this.timer = setTimeout(() => this.flush(), LATE_MS);
    this.timer.unref();
  }

  /** Sends the one that waits, if there is one. */
  flush(): void {
    const { position } = this;
    this.cancel();
    if (position !== undefined) this.send(position);
  }

  /** There is a better one, or nobody to be told. */
  cancel(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.position = undefined;
  }
}
