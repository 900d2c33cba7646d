import type { SharedState } from './shared.js';

/** A commit that follows another within this time is one of a burst; those are gathered for so long and taken together. */
const BURST_MS = 0.15;
const GATHER_MS = 3;

/** Waits for the bell that the worker rings at each commit, and attends to the databases that have one. Main thread. */
export class Attention {
  private stopped = false;

  constructor(
    private readonly shared: SharedState,
    private readonly attend: (slot: number) => void,
    /** Somebody waits for more than the log: nothing is gathered. */
    private readonly isUrgent: () => boolean = () => false,
  ) {}

  begin(): void {
    void this.loop();
  }

  close(): void {
    this.stopped = true;
    this.shared.wakeMain();
  }

  private async loop(): Promise<void> {
    const { shared } = this;
    let lastMs = 0;
    while (!this.stopped) {
      if (performance.now() - lastMs < BURST_MS && !this.isUrgent())
        await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
      const seen = shared.bell();
      for (let slot = shared.takeAttention(); slot >= 0; slot = shared.takeAttention()) this.attend(slot);
      lastMs = performance.now();
      await shared.untilBell(seen);
    }
  }
}
