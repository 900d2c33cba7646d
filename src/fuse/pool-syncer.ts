import { constants } from 'node:fs';
import { closeSync, fdatasync, fsync, openSync } from '../disk/index.js';
import { errnoOf } from './errno.js';
import type { DiskPath } from './file-name.js';

/** fsyncs on the threads that Node.js has for its own; see syncer.ts for the raw driver's. */
export class PoolSyncer {
  /** Descriptors that are being synced, and how often. */
  readonly #busy = new Map<number, number>();

  inUse(fd: number): boolean {
    return this.#busy.has(fd);
  }

  /** Calls `done` with 0 or the first errno when all are durable. */
  files(fds: readonly number[], dataOnly: boolean, done: (errno: number) => void): void {
    let left = fds.length;
    let errno = 0;
    for (const fd of fds) {
      this.#busy.set(fd, (this.#busy.get(fd) ?? 0) + 1);
      (dataOnly ? fdatasync : fsync)(fd, (error) => {
        this.#ended(fd);
        if (error !== null && error !== undefined) errno ||= errnoOf(error);
        if (--left === 0) done(errno);
      });
    }
  }

  /** Throws a system error if the folder cannot be opened. */
  folder(path: DiskPath, also: readonly number[], done: (errno: number) => void): void {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    this.files([fd, ...also], false, (errno) => {
      closeSync(fd);
      done(errno);
    });
  }

  #ended(fd: number): void {
    const count = (this.#busy.get(fd) ?? 1) - 1;
    if (count === 0) this.#busy.delete(fd);
    else this.#busy.set(fd, count);
  }
}
