import { execFile } from 'node:child_process';
import { writeSync } from 'node:fs';
import { WAKE_NAME } from './nodes.js';
import { NOTIFY_RETRIEVE, WAKE_ID } from './protocol.js';
import { WAKE_PENDING } from './shared.js';

/** A look-up is given up after this. */
const LOOK_UP_LIMIT_MS = 10_000;

/**
 * Wakes the worker of one mount from the main thread: it then calls `watcher.woken()` and looks at deferred requests
 * again.
 *
 * The worker sleeps in a read of the device. FUSE_NOTIFY_RETRIEVE for a regular file that the kernel knows makes the
 * kernel queue a FUSE_NOTIFY_REPLY, which ends that read (10 to 20 microseconds). The file is `.sluice-wake`, which
 * exists for this alone. If the kernel forgot it (ENOENT), a stat looks it up again, and that LOOKUP is itself a
 * wake-up. The stat is a process of its own: no thread of this one may wait for its own mount, not even one of libuv's
 * pool. A process that is killed while one of its threads waits for an answer that it had to give itself can never end,
 * and no successor would be started.
 */
export class Waker {
  readonly #deviceFd: number;
  readonly #wakePath: string;
  readonly #words: Int32Array;
  readonly #notification = retrieveNotification();
  #looking = false;
  #lookAgain = false;
  #closed = false;

  constructor(deviceFd: number, mountPath: string, shared: SharedArrayBuffer) {
    this.#deviceFd = deviceFd;
    this.#wakePath = `${mountPath}/${WAKE_NAME}`;
    this.#words = new Int32Array(shared);
  }

  /** Makes the wake file known to the kernel. Call once, after `whenServing`. Never blocks this thread. */
  start(): void {
    this.#lookUp();
  }

  /** Cheap: many calls before the worker runs cost one write to the device. Never throws. */
  wake(): void {
    if (this.#closed || Atomics.exchange(this.#words, WAKE_PENDING, 1) === 1) return;
    try {
      writeSync(this.#deviceFd, this.#notification);
    } catch {
      this.#lookUp();
    }
  }

  /** No wake-ups after this. */
  close(): void {
    this.#closed = true;
  }

  /** One at a time; a wake-up that comes while one is under way may have come too late for it. */
  #lookUp(): void {
    if (this.#closed) return;
    if (this.#looking) {
      this.#lookAgain = true;
      return;
    }
    this.#looking = true;
    this.#lookAgain = false;
    execFile('stat', ['-c', '%i', this.#wakePath], { timeout: LOOK_UP_LIMIT_MS }, () => {
      this.#looking = false;
      if (this.#lookAgain) this.#lookUp();
    });
  }
}

/**
 * fuse_out_header { len 48, error = code, unique 0 } and fuse_notify_retrieve_out: 16 u64 notify_unique
 * 24 u64 nodeid  32 u64 offset  40 u32 size  44 u32
 */
function retrieveNotification(): Buffer {
  const bytes = Buffer.alloc(48);
  bytes.writeUInt32LE(48, 0);
  bytes.writeInt32LE(NOTIFY_RETRIEVE, 4);
  bytes.writeUInt32LE(1, 16);
  bytes.writeUInt32LE(WAKE_ID, 24);
  return bytes;
}
