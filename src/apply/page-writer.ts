import type { LtxReader } from '../ltx/index.js';
import { writeFully } from './files.js';
import { givePiece, takePiece } from './piece-pool.js';
import type { Turn } from './turn.js';

/**
 * Writes all pages of the LTX to their places in a database file, and checks the LTX to its end: what is written counts
 * only then. Pages that follow each other go in one write.
 */
export async function writePages(fd: number, reader: LtxReader, turn: Turn): Promise<void> {
  const piece = takePiece();
  try {
    await new PageWriter(fd, reader.header.pageSize, piece).writeAll(reader, turn);
  } finally {
    givePiece(piece);
  }
}

class PageWriter {
  private readonly capacity: number;
  /** The run of pages in the piece: `count` of them, from page `firstPgno` on. */
  private firstPgno = 0;
  private count = 0;

  constructor(
    private readonly fd: number,
    private readonly pageSize: number,
    private readonly piece: Buffer,
  ) {
    this.capacity = Math.floor(piece.length / pageSize);
  }

  async writeAll(reader: LtxReader, turn: Turn): Promise<void> {
    for (;;) {
      const pgno = reader.nextPage(this.page(this.count));
      if (pgno === 0) break;
      if (pgno !== this.firstPgno + this.count) this.startRun(pgno);
      if (++this.count === this.capacity) {
        this.flush();
        await turn.pass();
      }
    }
    this.flush();
    reader.finish();
  }

  private page(index: number): Buffer {
    return this.piece.subarray(index * this.pageSize, (index + 1) * this.pageSize);
  }

  /** The page that was just read, behind the run's last, begins a new run. */
  private startRun(pgno: number): void {
    const at = this.count;
    this.flush();
    if (at > 0) this.page(at).copy(this.piece, 0);
    this.firstPgno = pgno;
  }

  private flush(): void {
    if (this.count === 0) return;
    writeFully(this.fd, this.piece, 0, this.count * this.pageSize, (this.firstPgno - 1) * this.pageSize);
    this.firstPgno += this.count;
    this.count = 0;
  }
}
