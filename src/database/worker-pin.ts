import { fstatSync } from 'node:fs';
import { closeSync, copyFileSync, openSync, readSync, writeSync } from '../disk/index.js';
import type { PinFlags } from './pin-flags.js';

/** Bytes before each saved page: its number, big-endian. */
export const SAVED_PAGE_HEADER_SIZE = 4;

/** The worker's side of a pin: saves old pages and the old WAL before they are overwritten. */
export class WorkerPin {
  private fd = -1;
  private saved = 0;
  private readonly record: Buffer;

  constructor(
    readonly id: number,
    private readonly flags: PinFlags,
    /** Where saved pages go; the WAL's copy gets `-wal` behind it. */
    private readonly path: string,
    private readonly pageSize: number,
    private readonly walPath: string,
    /** Frames of the WAL that belong to the image. */
    private readonly walFrames: number,
  ) {
    this.record = Buffer.alloc(SAVED_PAGE_HEADER_SIZE + pageSize);
  }

  /** Saves the pages of the database file that `length` bytes at `position` will change. */
  save(databaseFd: number, position: number, length: number): void {
    const first = Math.floor(position / this.pageSize) + 1;
    const last = Math.floor((position + length - 1) / this.pageSize) + 1;
    const cursor = this.flags.cursor;
    for (let page = Math.max(first, cursor); page <= last; page++) {
      if (!this.flags.covers(page)) return;
      if (!this.flags.isSaved(page)) this.savePage(databaseFd, page);
    }
  }

  /** Saves all pages from `size` bytes on, before the file is cut there. */
  saveTail(databaseFd: number, size: number): void {
    const fileSize = fstatSync(databaseFd).size;
    if (fileSize > size) this.save(databaseFd, size, fileSize - size);
  }

  get needsWal(): boolean {
    return this.walFrames > 0 && !this.flags.walCopied && !this.flags.failed;
  }

  /** Copies the WAL, before it starts afresh or goes away. */
  saveWal(): void {
    if (!this.needsWal) return;
    try {
      copyFileSync(this.walPath, `${this.path}-wal`);
      this.flags.setWalCopied();
    } catch {
      this.flags.setFailed();
    }
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  private savePage(databaseFd: number, page: number): void {
    try {
      if (this.fd < 0) this.fd = openSync(this.path, 'w');
      this.record.writeUInt32BE(page, 0);
      const read = readSync(databaseFd, this.record, SAVED_PAGE_HEADER_SIZE, this.pageSize, (page - 1) * this.pageSize);
      this.record.fill(0, SAVED_PAGE_HEADER_SIZE + read);
      writeSync(this.fd, this.record, 0, this.record.length, this.saved * this.record.length);
      this.saved++;
      this.flags.setSaved(page);
    } catch {
      // No room to save the page: the application's write goes on, the image is given up.
      this.flags.setFailed();
    }
  }
}
