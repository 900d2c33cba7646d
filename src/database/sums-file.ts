import { closeSync, fdatasyncSync, ftruncateSync, openSync, readSync, writeSync } from '../disk/index.js';
import { DatabaseSums, PAGE_SUM_SIZE } from '../ltx/index.js';

/** Pages whose checksums one read or write takes. */
const BATCH_PAGES = 32 * 1024;

/** The page checksums of one database on disk, 8 bytes a page, written as they change. */
export class SumsFile {
  private readonly fd: number;
  private readonly few = Buffer.alloc(64 * PAGE_SUM_SIZE);

  constructor(path: string) {
    closeSync(openSync(path, 'a'));
    this.fd = openSync(path, 'r+');
  }

  /** Undefined if the file is too short. */
  load(pageSize: number, pageCount: number): DatabaseSums | undefined {
    const sums = new DatabaseSums(pageSize);
    const buffer = Buffer.alloc(Math.min(pageCount, BATCH_PAGES) * PAGE_SUM_SIZE);
    for (let page = 1; page <= pageCount; page += BATCH_PAGES) {
      const count = Math.min(BATCH_PAGES, pageCount - page + 1);
      const size = count * PAGE_SUM_SIZE;
      if (readSync(this.fd, buffer, 0, size, (page - 1) * PAGE_SUM_SIZE) < size) return undefined;
      sums.read(page, count, buffer);
    }
    return sums;
  }

  /** Writes the checksums of these pages, ascending, neighbours in one go; those behind the end are left out. */
  write(sums: DatabaseSums, pages: ArrayLike<number>): void {
    for (let i = 0; i < pages.length; ) {
      const first = pages[i]!;
      if (first > sums.pageCount) return;
      const most = Math.min(64, pages.length - i, sums.pageCount - first + 1);
      let count = 1;
      while (count < most && pages[i + count] === first + count) count++;
      sums.write(first, count, this.few, 0);
      writeSync(this.fd, this.few, 0, count * PAGE_SUM_SIZE, (first - 1) * PAGE_SUM_SIZE);
      i += count;
    }
  }

  writeAll(sums: DatabaseSums): void {
    const buffer = Buffer.alloc(Math.max(1, Math.min(sums.pageCount, BATCH_PAGES)) * PAGE_SUM_SIZE);
    for (let page = 1; page <= sums.pageCount; page += BATCH_PAGES) {
      const count = Math.min(BATCH_PAGES, sums.pageCount - page + 1);
      sums.write(page, count, buffer, 0);
      writeSync(this.fd, buffer, 0, count * PAGE_SUM_SIZE, (page - 1) * PAGE_SUM_SIZE);
    }
    ftruncateSync(this.fd, sums.pageCount * PAGE_SUM_SIZE);
  }

  sync(): void {
    fdatasyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}
