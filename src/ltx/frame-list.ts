import { putUvarint, UVARINT_MAX, UvarintReader } from './uvarint.js';

const FIRST_BYTES = 256;

/**
 * The page frames of a file being written: all that its index will say, in about 3 bytes a page, since one frame
 * follows the other: uvarint pages skipped, uvarint frame size.
 */
export class FrameList {
  private bytes = new Uint8Array(FIRST_BYTES);
  private used = 0;
  private lastPgno = 0;

  /** Frames come in page order, without a hole between them. */
  add(pgno: number, size: number): void {
    if (this.used + 2 * UVARINT_MAX > this.bytes.length) {
      const larger = new Uint8Array(2 * this.bytes.length);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.used = putUvarint(this.bytes, this.used, pgno - this.lastPgno);
    this.used = putUvarint(this.bytes, this.used, size);
    this.lastPgno = pgno;
  }

  /** Calls `visit` for each frame; the first is at `firstOffset` of the file. */
  forEach(firstOffset: number, visit: (pgno: number, offset: number, size: number) => void): void {
    const reader = new UvarintReader();
    reader.bytes = this.bytes;
    reader.end = this.used;
    let pgno = 0;
    for (let offset = firstOffset; reader.offset < this.used; ) {
      pgno += reader.next();
      const size = reader.next();
      visit(pgno, offset, size);
      offset += size;
    }
  }

  clear(): void {
    this.used = 0;
    this.lastPgno = 0;
  }
}
