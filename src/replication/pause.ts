/** A wait that can be ended early. One at a time: a new one ends the one before. */
export class Pause {
  private timer: NodeJS.Timeout | undefined;
  private done: (() => void) | undefined;

  get active(): boolean {
    return this.done !== undefined;
  }

  /** Resolves after `delayMs`, or when it is ended. */
  start(delayMs: number): Promise<void> {
    this.end();
    return new Promise((done) => {
      this.done = done;
      this.timer = setTimeout(() => this.end(), delayMs);
    });
  }

  end(): void {
    const { done } = this;
    this.done = undefined;
    clearTimeout(this.timer);
    done?.();
  }
}
