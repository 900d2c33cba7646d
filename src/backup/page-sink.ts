import { fdatasync, readSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';

/** Pages that follow each other are written together, up to this. */
const WRITE_BYTES = 1024 * 1024;
/** The disk starts on what was written every so often, so that the last fsync has little left to wait for. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024;

const syncData: (fd: number) => Promise<void> = promisify(fdatasync);

/** Writes database pages to their places in a file, and remembers which are there. */
export class PageSink {
  private readonly buffer: Uint8Array;
  private readonly pagesPerWrite: number;
  /** One bit a page. */
  private present = new Uint8Array(1024);
  private presentCount = 0;
  private highestPgno = 0;
  /** The page that the buffer begins with, and how many it holds. */
  private firstPgno = 0;
  private pages = 0;
  private unsyncedBytes = 0;
  private syncing: Promise<void> | undefined;

  constructor(
    private readonly fd: number,
    readonly pageSize: number,
  ) {
    this.pagesPerWrite = Math.max(1, Math.floor(WRITE_BYTES / pageSize));
    this.buffer = Buffer.allocUnsafeSlow(this.pagesPerWrite * pageSize);
  }

  /** How many different pages were written and not dropped since. */
  get pageCount(): number {
    return this.presentCount;
  }

  /** `data` begins with the page; it is copied. */
  write(pgno: number, data: Uint8Array): void {
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

  /** Reads back a page that is there and was flushed, to the start of `target`. */
  read(pgno: number, target: Uint8Array): void {
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

  flush(): void {
    const length = this.pages * this.pageSize;
    let done = 0;
    while (done < length) {
      done += writeSync(this.fd, this.buffer, done, length - done, (this.firstPgno - 1) * this.pageSize + done);
    }
    this.pages = 0;
    this.unsyncedBytes += length;
    if (this.unsyncedBytes < SYNC_EVERY_BYTES || this.syncing !== undefined) return;
    this.unsyncedBytes = 0;
    // Errors come up again in the last fsync or as a failed write.
    this.syncing = syncData(this.fd).then(
      () => this.endSync(),
      () => this.endSync(),
    );
  }

  /** Waits until the descriptor is no longer in use here. */
  async settle(): Promise<void> {
    await this.syncing;
  }

  private endSync(): void {
    this.syncing = undefined;
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
