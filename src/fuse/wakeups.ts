/** What a request costs at the moment, microseconds (medians). */
export interface WakeupTimes {
  /** After 20 ms of silence: what a single request costs on an idle machine. */
  readonly idleUs: number;
  /** One request right after the other. */
  readonly busyUs: number;
}

/** Lets the cores sleep again after a burst (main thread). The worker is what asks for awake cores. */
export class WakeupsTimer {
  constructor(readonly shared: SharedArrayBuffer) {}

  /** `always` holds them awake from here on. Returns what is wrong where the machine does not allow it. */
  start(): string | undefined {
    throw new Error('not built yet');
  }

  close(): void {
    throw new Error('not built yet');
  }
}

/** Round trip of a request to the worker, by asynchronous stat of a name that is never cached. */
export async function measureWakeup(_mountPath: string): Promise<WakeupTimes> {
  throw new Error('not built yet');
}
