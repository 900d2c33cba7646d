import type { Warmer } from '../fuse/index.js';
import type { ToWorker } from './worker-messages.js';

/** The main thread's hold on what answers the mount's requests: a thread (MountWorker), or libfuse (LibfuseMount). */
export interface MountServer {
  /** Deferred requests are presented again when it is told to wake. */
  readonly waker: {
    /** Once the mount is served. */
    start(): void;
    /** Cheap, never throws. */
    wake(): void;
    /** No wake-ups after this. */
    close(): void;
  };
  readonly warmer: Warmer;
  /** Resolves when the mount is gone; rejects if it is no longer served. */
  readonly ended: Promise<void>;
  send(message: ToWorker): void;
  /** Without a wake-up: the watcher looks when it next wakes. */
  post(message: ToWorker): void;
  /** Has it end between two requests, the mount staying as it is. Rejects if it cannot, or has not after `limitMs`. */
  handOver(limitMs: number): Promise<void>;
}
