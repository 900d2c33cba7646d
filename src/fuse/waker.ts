/** Wakes the worker of one mount from the main thread: it then calls `watcher.woken()` and looks at deferred requests again. */
export class Waker {
  constructor(
    readonly deviceFd: number,
    readonly mountPath: string,
    readonly shared: SharedArrayBuffer,
  ) {}

  /** Makes the wake file known to the kernel. Call once, after `whenServing`. Never blocks this thread. */
  start(): void {
    throw new Error('not built yet');
  }

  /** Cheap: many calls before the worker runs cost one write to the device. Never throws. */
  wake(): void {
    throw new Error('not built yet');
  }

  /** No wake-ups after this. */
  close(): void {
    throw new Error('not built yet');
  }
}
