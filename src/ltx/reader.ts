import { LtxError } from './errors.js';
import { HEADER_SIZE, type LtxHeader } from './header.js';
import { LtxParser } from './parser.js';
import type { ByteSource } from './source.js';
import type { LtxSummary } from './summary.js';

/** Bytes read from the source at a time. */
const PIECE_SIZE = 256 * 1024;

/**
 * Reads an LTX file page by page, in bounded memory whatever its size. Pages come before the file checksum is known:
 * what is done with them counts only when `finish` has returned.
 * Throws `LTX_*`.
 */
export class LtxReader {
  readonly header: LtxHeader;
  private readonly parser = new LtxParser();
  private readonly piece: Uint8Array;
  private pieceStart = 0;
  private pieceEnd = 0;
  private position = 0;

  constructor(
    private readonly source: ByteSource,
    pieceSize: number = PIECE_SIZE,
  ) {
    this.piece = Buffer.allocUnsafeSlow(Math.max(HEADER_SIZE, Math.min(source.size, pieceSize)));
    while (this.parser.header === undefined && this.advance());
    if (this.parser.header === undefined) this.parser.end(); // throws: cut
    this.header = this.parser.header!;
  }

  /** Reads the next page to the start of `target`, which has room for one; returns its number, 0 after the last. */
  nextPage(target: Uint8Array): number {
    if (target.length < this.header.pageSize) {
      throw new LtxError('LTX_STATE', `${target.length} bytes are no room for a page of ${this.header.pageSize}`);
    }
    this.parser.target = target;
    while (!this.parser.pagesDone) {
      if (!this.advance()) this.parser.end(); // throws: cut
      if (this.parser.pageReady) return this.parser.pgno;
    }
    return 0;
  }

  /** Reads what is left, pages too, and checks index, trailer and all checksums. */
  finish(): LtxSummary {
    if (!this.parser.pagesDone) this.skipPages();
    while (this.advance());
    return this.parser.end();
  }

  private skipPages(): void {
    const page = new Uint8Array(this.header.pageSize);
    while (this.nextPage(page) !== 0);
  }

  /** Gives bytes to the parser; false if there are none left. */
  private advance(): boolean {
    if (this.pieceStart === this.pieceEnd) {
      this.pieceStart = 0;
      this.pieceEnd = this.source.read(this.piece, 0, this.piece.length, this.position);
      this.position += this.pieceEnd;
      if (this.pieceEnd === 0) return false;
    }
    this.pieceStart = this.parser.feed(this.piece, this.pieceStart, this.pieceEnd);
    return true;
  }
}

/** Reads the whole file and checks everything. Throws `LTX_*`. */
export function verifyLtx(source: ByteSource): LtxSummary {
  return new LtxReader(source).finish();
}
