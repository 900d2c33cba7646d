import { joinChecksum } from './crc64.js';
import { lockPage } from './header.js';
import type { Checksum } from './position.js';

/** Bytes of one page's checksum as `read` and `write` have it. */
export const PAGE_SUM_SIZE = 8;

const FIRST_PAGES = 64;

/**
 * The checksum of every page of a database, and their XOR, which is the database's checksum: kept up in O(1) a page.
 * The lock page counts as a page and never in the checksum. 8 bytes a page.
 */
export class DatabaseSums {
  private words: Uint32Array; // [high, low] of page 1, of page 2, ...
  private pages = 0;
  private high = 0;
  private low = 0;
  private readonly lock: number;

  constructor(readonly pageSize: number) {
    this.lock = lockPage(pageSize);
    this.words = new Uint32Array(2 * FIRST_PAGES);
  }

  /** Pages that have a place in the table: the highest page set, or what `truncate` left. */
  get pageCount(): number {
    return this.pages;
  }

  /** Sets the checksum of a page, from `pageChecksum`. A page past the end makes the table grow; pages between are 0. */
  set(pgno: number, high: number, low: number): void {
    if (pgno > this.pages) this.grow(pgno);
    if (pgno === this.lock) return;
    const i = 2 * (pgno - 1);
    this.high ^= this.words[i]! ^ high;
    this.low ^= this.words[i + 1]! ^ low;
    this.words[i] = high;
    this.words[i + 1] = low;
  }

  /** Upper half of a page's checksum; 0 for a page that is not there. */
  getHigh(pgno: number): number {
    return pgno > this.pages ? 0 : this.words[2 * (pgno - 1)]!;
  }

  /** Lower half of a page's checksum; 0 for a page that is not there. */
  getLow(pgno: number): number {
    return pgno > this.pages ? 0 : this.words[2 * (pgno - 1) + 1]!;
  }

  /** Drops the pages above `pages`. O(pages dropped). */
  truncate(pages: number): void {
    for (let i = 2 * pages; i < 2 * this.pages; i += 2) {
      this.high ^= this.words[i]!;
      this.low ^= this.words[i + 1]!;
    }
    if (pages < this.pages) {
      this.words.fill(0, 2 * pages, 2 * this.pages);
      this.pages = pages;
    }
  }

  /** The database's checksum, bit 63 set; 1 << 63 for no pages. */
  checksum(): Checksum {
    return joinChecksum(this.high, this.low);
  }

  /** The same without the flag, as two words. */
  halves(): { readonly high: number; readonly low: number } {
    return { high: this.high, low: this.low };
  }

  copy(): DatabaseSums {
    const copy = new DatabaseSums(this.pageSize);
    copy.words = this.words.slice(0, Math.max(2 * this.pages, 2));
    copy.pages = this.pages;
    copy.high = this.high;
    copy.low = this.low;
    return copy;
  }

  /** Writes the checksums of `count` pages from `pgno` on to `target`, 8 big-endian bytes each. They must be there. */
  write(pgno: number, count: number, target: Uint8Array, targetOffset = 0): void {
    if (pgno < 1 || pgno - 1 + count > this.pages) throw new RangeError(`no checksums of pages ${pgno}+${count}`);
    const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
    for (let i = 0; i < 2 * count; i++) view.setUint32(targetOffset + 4 * i, this.words[2 * (pgno - 1) + i]!);
  }

  /** Takes the checksums of `count` pages from `pgno` on from bytes that `write` made. */
  read(pgno: number, count: number, source: Uint8Array, sourceOffset = 0): void {
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    for (let i = 0; i < count; i++) {
      const at = sourceOffset + PAGE_SUM_SIZE * i;
      this.set(pgno + i, view.getUint32(at), view.getUint32(at + 4));
    }
  }

  private grow(pages: number): void {
    if (2 * pages > this.words.length) {
      const larger = new Uint32Array(Math.max(2 * pages, Math.ceil(this.words.length * 1.5)));
      larger.set(this.words.subarray(0, 2 * this.pages));
      this.words = larger;
    }
    this.pages = pages;
  }
}

/** What a transaction makes of a database's checksum, while the table stays as it is. Each page may be set once. */
export class SumsChange {
  private high = 0;
  private low = 0;
  private readonly lock: number;

  constructor(private readonly sums: DatabaseSums) {
    this.lock = lockPage(sums.pageSize);
  }

  /** Whether the page's checksum becomes another. */
  set(pgno: number, high: number, low: number): boolean {
    if (pgno === this.lock) return false;
    const oldHigh = this.sums.getHigh(pgno);
    const oldLow = this.sums.getLow(pgno);
    this.high ^= oldHigh ^ high;
    this.low ^= oldLow ^ low;
    return oldHigh !== high || oldLow !== low || pgno > this.sums.pageCount;
  }

  /** The database's checksum with what was set, and without the pages above `commit`, none of which was. */
  checksum(commit: number): Checksum {
    const { sums } = this;
    let { high, low } = sums.halves();
    high ^= this.high;
    low ^= this.low;
    for (let pgno = commit + 1; pgno <= sums.pageCount; pgno++) {
      high ^= sums.getHigh(pgno);
      low ^= sums.getLow(pgno);
    }
    return joinChecksum(high, low);
  }
}
