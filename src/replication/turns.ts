/** What one step of a stream did: bytes sent; `idle`, nothing to do until it is added again; `blocked`, no room. */
export type StepResult = number | 'idle' | 'blocked';

/** Streams that take turns, one step each, so that none waits for another to finish. */
export class Turns<Stream> {
  private readonly ready = new Set<Stream>();
  private readonly blocked = new Set<Stream>();

  /** Puts it at the end of the line, unless it is in it. */
  add(stream: Stream): void {
    this.ready.add(stream);
  }

  /** Room was made: those that waited for it get their turns. */
  unblock(): void {
    for (const stream of this.blocked) this.ready.add(stream);
    this.blocked.clear();
  }

  remove(stream: Stream): void {
    this.ready.delete(stream);
    this.blocked.delete(stream);
  }

  clear(): void {
    this.ready.clear();
    this.blocked.clear();
  }

  /** Steps in turn while `mayGo`, for at most about `budgetBytes`. True if that was used up with streams still ready. */
  run(budgetBytes: number, mayGo: () => boolean, step: (stream: Stream) => StepResult): boolean {
    let leftBytes = budgetBytes;
    // A Set goes on to what is added while it is walked, so adding a stream again is the end of the line.
    for (const stream of this.ready) {
      if (!mayGo()) return false;
      if (leftBytes <= 0) return true;
      this.ready.delete(stream);
      const result = step(stream);
      if (result === 'blocked') this.blocked.add(stream);
      else if (result !== 'idle') {
        leftBytes -= result;
        this.ready.add(stream);
      }
    }
    return false;
  }
}
