import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

const LIMIT_MS = 10_000;

/**
 * Has the kernel read a file of the mount into its page cache, by a process of its own (see waker.ts for why).
 *
 * A write that covers a part of a cached page which the kernel has not read, or seen written whole, becomes a request
 * of its own: it is split there, and the page stays as it is. SQLite's frames cover pages of a WAL in parts only, so
 * that each frame would cost three requests instead of two, for good.
 */
export class Warmer {
  private running: ChildProcess | undefined;
  private closed = false;

  constructor(private readonly mountPath: string) {}

  /** A file is being read. */
  get busy(): boolean {
    return this.running !== undefined;
  }

  /** The first `bytes` of the file. False if another is being read: try again later. Never throws. */
  read(path: string, bytes: number): boolean {
    if (this.closed || this.running !== undefined) return false;
    try {
      const child = spawn('head', ['-c', `${bytes}`, '--', join(this.mountPath, path)], {
        stdio: 'ignore',
        cwd: '/',
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
      });
      this.running = child;
      const ended = () => {
        this.running = undefined;
      };
      child.once('exit', ended).once('error', ended);
      child.unref();
      return true;
    } catch {
      // No memory for a process: writes stay as slow as they are.
      return false;
    }
  }

  /** Before the mount ends: nothing here keeps it busy any more. */
  close(): void {
    this.closed = true;
    this.running?.kill('SIGKILL');
  }
}
