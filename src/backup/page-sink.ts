import { fdatasync, readSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';

/**
 * Pages that follow each other are written together, up to this. Not more: ext4 makes a folio of what comes in one write,
 * and to write one page into it later it looks at each block of it, 13 µs for 1 MiB.
 */
const WRITE_BYTES = 128 * 1024;
/** Less is written at once: handing it to another thread costs more than that. */
const BEHIND_BYTES = 64 * 1024;
/** Buffers that may be on their way to the disk, besides the one being filled; then writes wait. */
const SPARE_BUFFERS = 24;
/** The disk starts on what was written every so often, so that the last fsync has little left to wait for. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024;

const syncData: (fd: number) => Promise<void> = promisify(fdatasync);
const writeAt: (
  fd: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesWritten: number }> = promisify(write);

/**
 * Writes database pages to their places in a new file, behind the back of whoever makes them, and remembers which are
 * there. Pages of zeros are left out where nothing was written so far: the file is to be made as long as it must be.
 */
export class PageSink {
  private buffer: Uint8Array;
  private readonly spares: Uint8Array[] = [];
  private readonly writing = new Set<Promise<void>>();
  private failure: unknown;
  private readonly pagesPerWrite: number;
  /** One bit a page. */
  private present = new Uint8Array(1024);
  private presentCount = 0;
  private highestPgno = 0;
  /** The highest page that was written at any time: behind it the file is all zeros, or ends. */
  private writtenTo = 0;
  private readonly zeros: Uint8Array;
  /** The page that the buffer begins with, and how many it holds. */
  private firstPgno = 0;
  private pages = 0;
  private unsyncedBytes = 0;
  private syncing: Promise<void> | undefined;

  constructor(
    private readonly fd: number,
    readonly pageSize: number,
  ) {
    this.zeros = new Uint8Array(pageSize);
    this.pagesPerWrite = Math.max(1, Math.floor(WRITE_BYTES / pageSize));
    this.buffer = Buffer.allocUnsafeSlow(this.pagesPerWrite * pageSize);
    for (let i = 0; i < SPARE_BUFFERS; i++) this.spares.push(Buffer.allocUnsafeSlow(this.pagesPerWrite * pageSize));
  }

  /** How many different pages were written and not dropped since. */
  get pageCount(): number {
    return this.presentCount;
  }

  /** `data` begins with the page; it is copied. */
  write(pgno: number, data: Uint8Array): void {
    if (pgno > this.writtenTo && Buffer.compare(this.zeros, data.subarray(0, this.pageSize)) === 0) {
      this.mark(pgno);
      return;
    }
    this.writtenTo = Math.max(this.writtenTo, pgno);
    if (this.pages === this.pagesPerWrite || pgno !== this.firstPgno + this.pages) this.flush();
    if (this.pages === 0) this.firstPgno = pgno;
    this.buffer.set(data.length === this.pageSize ? data : data.subarray(0, this.pageSize), this.pages * this.pageSize);
    this.pages++;
    this.mark(pgno);
  }

  /** Forgets the pages above `pageCount`: the database shrank. */
  truncate(pageCount: number): void {
    this.flush();
    for (let pgno = pageCount + 1; pgno <= this.highestPgno; pgno++) {
      if (!this.has(pgno)) continue;
      this.present[pgno >>> 3]! &= ~(1 << (pgno & 7));
      this.presentCount--;
    }
    this.highestPgno = Math.min(this.highestPgno, pageCount);
  }

  /** Reads back a page that is there and was settled, to the start of `target`. */
  read(pgno: number, target: Uint8Array): void {
    if (pgno > this.writtenTo) {
      target.fill(0, 0, this.pageSize);
      return;
    }
    let done = 0;
    while (done < this.pageSize) {
      const read = readSync(this.fd, target, done, this.pageSize - done, (pgno - 1) * this.pageSize + done);
      if (read === 0) throw new Error(`page ${pgno} cannot be read back`);
      done += read;
    }
  }

  has(pgno: number): boolean {
    return ((this.present[pgno >>> 3] ?? 0) & (1 << (pgno & 7))) !== 0;
  }

  /** Hands on what was gathered. Throws what an earlier write failed with. */
  flush(): void {
    if (this.failure !== undefined) throw this.failure;
    const length = this.pages * this.pageSize;
    if (length === 0) return;
    const position = (this.firstPgno - 1) * this.pageSize;
    this.pages = 0;
    this.unsyncedBytes += length;
    const spare = length < BEHIND_BYTES ? undefined : this.spares.pop();
    if (spare === undefined) {
      writeFully(this.fd, this.buffer, length, position);
    } else {
      this.startWrite(this.buffer, length, position);
      this.buffer = spare;
    }
    if (this.unsyncedBytes >= SYNC_EVERY_BYTES && this.syncing === undefined) this.startSync();
  }

  /** Waits until all that was flushed can be read back. Throws what a write failed with. */
  async settle(): Promise<void> {
    await Promise.all(this.writing);
    if (this.failure !== undefined) throw this.failure;
  }

  /** After the last page: waits for what is under way. Throws what a write, or the disk's taking it, failed with. */
  async end(): Promise<void> {
    this.flush();
    await this.release();
    if (this.failure !== undefined) throw this.failure;
  }

  /** Waits until the descriptor is no longer in use here. */
  async release(): Promise<void> {
    await Promise.all(this.writing);
    await this.syncing;
  }

  private startWrite(buffer: Uint8Array, length: number, position: number): void {
    const done = this.writeBehind(buffer, length, position).finally(() => {
      this.writing.delete(done);
      this.spares.push(buffer);
    });
    this.writing.add(done);
  }

  private async writeBehind(buffer: Uint8Array, length: number, position: number): Promise<void> {
    try {
      for (let at = 0; at < length; ) {
        at += (await writeAt(this.fd, buffer, at, length - at, position + at)).bytesWritten;
      }
    } catch (error) {
      this.failure ??= error;
    }
  }

  /** The kernel tells a descriptor of a failure once: the last fsync would not know of it. */
  private startSync(): void {
    this.unsyncedBytes = 0;
    this.syncing = syncData(this.fd)
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => {
        this.syncing = undefined;
      });
  }

  private mark(pgno: number): void {
    if (pgno > this.highestPgno) this.highestPgno = pgno;
    const byte = pgno >>> 3;
    if (byte >= this.present.length) {
      const larger = new Uint8Array(Math.max(byte + 1, this.present.length * 2));
      larger.set(this.present);
      this.present = larger;
    }
    const bit = 1 << (pgno & 7);
    if ((this.present[byte]! & bit) !== 0) return;
    this.present[byte]! |= bit;
    this.presentCount++;
  }
}

function writeFully(fd: number, bytes: Uint8Array, length: number, position: number): void {
  for (let at = 0; at < length; ) at += writeSync(fd, bytes, at, length - at, position + at);
}
