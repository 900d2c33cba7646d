import type { ChecksumHalves } from '../ltx/index.js';

/** Numbers of a page: its own, and the halves of its checksum. */
const NUMBERS = 3;
const FIRST_PAGES = 256;

/** Pages and their checksums, in order: 12 bytes each. */
export class PageRecords {
  private numbers = new Uint32Array(NUMBERS * FIRST_PAGES);
  private used = 0;

  add(pgno: number, sum: ChecksumHalves): void {
    if (this.used === this.numbers.length) {
      const larger = new Uint32Array(NUMBERS * Math.ceil(this.used / 2));
      larger.set(this.numbers);
      this.numbers = larger;
    }
    this.numbers[this.used++] = pgno;
    this.numbers[this.used++] = sum.high;
    this.numbers[this.used++] = sum.low;
  }

  each(visit: (pgno: number, high: number, low: number) => void): void {
    const { numbers } = this;
    for (let i = 0; i < this.used; i += NUMBERS) visit(numbers[i]!, numbers[i + 1]!, numbers[i + 2]!);
  }
}
