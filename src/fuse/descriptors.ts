import { constants } from 'node:fs';
import { closeSync, openSync } from '../disk/index.js';
import { EMFILE, ENFILE, EROFS, errnoOf, Stale } from './errno.js';
import { type DiskPath, onDisk } from './file-name.js';
import type { FileOpener, RegularFile } from './nodes.js';

/**
 * Descriptors of backing files: opened read-write on first use, the longest unused closed beyond a limit. A
 * descriptor that a sync thread is using is never closed.
 */
export class Descriptors implements FileOpener {
  readonly #backing: string;
  readonly #orphans: string;
  readonly #limit: number;
  readonly #inUse: (fd: number) => boolean;
  readonly #open = new Set<RegularFile>();
  /** Descriptors whose file is gone but that were in use when it went. */
  #closeLater: number[] = [];
  #tick = 0;

  constructor(backing: string, orphans: string, limit: number, inUse: (fd: number) => boolean) {
    this.#backing = backing;
    this.#orphans = orphans;
    this.#limit = Math.max(2, limit);
    this.#inUse = inUse;
  }

  /** Valid until the next call of this object, except while a sync of it is under way. Throws system errors. */
  fd(file: RegularFile): number {
    file.usedAt = ++this.#tick;
    return file.openFd >= 0 ? file.openFd : this.#openFile(file);
  }

  /** Takes over a descriptor that was just made, by create. */
  adopt(file: RegularFile, fd: number): void {
    this.close(file);
    file.openFd = fd;
    file.usedAt = ++this.#tick;
    this.#open.add(file);
    if (this.#open.size > this.#limit) this.#evict(file);
  }

  close(file: RegularFile): void {
    if (file.openFd < 0) return;
    this.#closeDescriptor(file.openFd);
    file.openFd = -1;
    this.#open.delete(file);
  }

  closeAll(): void {
    for (const file of [...this.#open]) this.close(file);
    this.#sweep();
  }

  get size(): number {
    return this.#open.size + this.#closeLater.length;
  }

  /** Where the data of `file` is. */
  path(file: RegularFile): DiskPath {
    return file.orphan ? this.orphanPath(file) : onDisk(`${this.#backing}/${file.path}`);
  }

  orphanPath(file: RegularFile): string {
    return `${this.#orphans}/${file.id}`;
  }

  #openFile(file: RegularFile): number {
    // Another file may have its path by now.
    if (file.nameless && !file.orphan) throw new Stale();
    if (this.#open.size >= this.#limit) this.#evict(file);
    let fd: number;
    try {
      fd = this.#openRetrying(this.path(file), constants.O_RDWR);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === EROFS) fd = this.#openRetrying(this.path(file), constants.O_RDONLY);
      else throw error;
    }
    file.openFd = fd;
    this.#open.add(file);
    return fd;
  }

  #openRetrying(path: DiskPath, access: number): number {
    const flags = access | constants.O_NOFOLLOW;
    try {
      return openSync(path, flags);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno !== EMFILE && errno !== ENFILE) throw error;
      this.#evict(undefined);
      return openSync(path, flags);
    }
  }

  /** Closes the eighth that was not used for longest. */
  #evict(keep: RegularFile | undefined): void {
    this.#sweep();
    const oldest = [...this.#open].sort((a, b) => a.usedAt - b.usedAt);
    let excess = Math.max(1, this.#open.size >> 3);
    for (const file of oldest) {
      if (excess === 0) return;
      if (file === keep || this.#inUse(file.openFd)) continue;
      this.close(file);
      excess--;
    }
  }

  #closeDescriptor(fd: number): void {
    if (this.#closeLater.length > 0) this.#sweep();
    if (this.#inUse(fd)) this.#closeLater.push(fd);
    else closeSync(fd);
  }

  #sweep(): void {
    this.#closeLater = this.#closeLater.filter((fd) => {
      if (this.#inUse(fd)) return true;
      closeSync(fd);
      return false;
    });
  }
}
