import { execFile } from 'node:child_process';
import { writeSync } from 'node:fs';
import { WAKE_NAME } from './nodes.js';
import { NOTIFY_RETRIEVE, WAKE_ID } from './protocol.js';
import { WAKE_PENDING } from './shared.js';

/** A program that asks the mount something is given up after this. */
const PROGRAM_LIMIT_MS = 10_000;
/** A wake-up that did not come through is tried again after so long, then after twice as long, up to the limit. */
const FIRST_PAUSE_MS = 10;
const PAUSE_LIMIT_MS = 1000;

/**
 * Wakes the worker of one mount from the main thread: it then calls `watcher.woken()` and looks at deferred requests
 * again.
 *
 * The worker sleeps in a read of the device. FUSE_NOTIFY_RETRIEVE for a regular file that the kernel knows makes the
 * kernel queue a FUSE_NOTIFY_REPLY, which ends that read (10 to 20 microseconds). The file is `.sluice-wake`, which
 * exists for this alone. If the kernel forgot it (ENOENT), `stat -f` asks the mount for its size, and that request wakes
 * the worker as any does while a wake-up is pending. It must be one that needs no lock of a folder: a deferred UNLINK
 * holds its folder's, and a look-up of the wake file there would wait for the request that it is to wake. That look-up
 * comes after, so that the next wake-up is a cheap one again, and nothing waits for it.
 *
 * Both are processes of their own: no thread of this one may wait for its own mount, not even one of libuv's pool. A
 * process that is killed while one of its threads waits for an answer that it had to give itself can never end, and no
 * successor would be started.
 *
 * What could not be done (no memory for a process) is tried again for as long as the wake-up is pending: an application
 * waits for it. Only its rate has a limit.
 */
export class Waker {
  readonly #deviceFd: number;
  readonly #mountPath: string;
  readonly #words: Int32Array;
  readonly #notification = retrieveNotification();
  /** A request is being made, or one will be after a pause. */
  #asking = false;
  #looking = false;
  #closed = false;

  constructor(deviceFd: number, mountPath: string, shared: SharedArrayBuffer) {
    this.#deviceFd = deviceFd;
    this.#mountPath = mountPath;
    this.#words = new Int32Array(shared);
  }

  /** Makes the wake file known to the kernel. Call once, after `whenServing`. Never blocks this thread. */
  start(): void {
    this.#lookUp();
  }

  /** Cheap: many calls before the worker runs cost one write to the device. Never throws. */
  wake(): void {
    if (this.#closed || Atomics.exchange(this.#words, WAKE_PENDING, 1) === 1) return;
    // For a worker that reads no requests for now.
    Atomics.notify(this.#words, WAKE_PENDING);
    if (!this.#notify() && !this.#asking) this.#ask(FIRST_PAUSE_MS);
  }

  /** No wake-ups after this. */
  close(): void {
    this.#closed = true;
  }

  /** Whether the kernel took the notification. */
  #notify(): boolean {
    try {
      writeSync(this.#deviceFd, this.#notification);
      return true;
    } catch {
      return false;
    }
  }

  #ask(pauseMs: number): void {
    this.#asking = true;
    this.#stat(['-f', '-c', '%i', this.#mountPath], () => {
      this.#lookUp();
      if (!this.#missed) {
        this.#asking = false;
        return;
      }
      setTimeout(() => {
        if (this.#missed && !this.#notify()) this.#ask(Math.min(2 * pauseMs, PAUSE_LIMIT_MS));
        else this.#asking = false;
      }, pauseMs).unref();
    });
  }

  /** The worker has not woken since it was to, or it was to wake once more after that. */
  get #missed(): boolean {
    return !this.#closed && Atomics.load(this.#words, WAKE_PENDING) === 1;
  }

  /** Has the kernel look up the wake file. One at a time: each may wait for the lock of the folder. */
  #lookUp(): void {
    if (this.#closed || this.#looking) return;
    this.#looking = true;
    this.#stat(['-c', '%i', `${this.#mountPath}/${WAKE_NAME}`], () => {
      this.#looking = false;
    });
  }

  /** Calls `done` when the program has ended or could not be started; never before this returns. */
  #stat(args: readonly string[], done: () => void): void {
    try {
      execFile('stat', args, { timeout: PROGRAM_LIMIT_MS, cwd: '/' }, done);
    } catch {
      setImmediate(done);
    }
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
