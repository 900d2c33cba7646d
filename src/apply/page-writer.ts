import type { LtxReader } from '../ltx/index.js';
import { writeFully } from './files.js';
import { givePiece, takePiece } from './piece-pool.js';
import type { Turn } from './turn.js';

/**
 * Writes all pages of the LTX to their places in a database file, and checks the LTX to its end: what is written counts
 * only then. Pages that follow each other go in one write. `holes`: the file is new, so that pages of zeros need not be
 * written at all.
 */
export async function writePages(fd: number, reader: LtxReader, turn: Turn, holes = false): Promise<void> {
  const piece = takePiece();
  try {
    await new PageWriter(fd, reader.header.pageSize, piece, holes).writeAll(reader, turn);
  } finally {
    givePiece(piece);
  }
}

class PageWriter {
  private readonly capacity: number;
  /** Undefined where a page of zeros is one like any other. */
  private readonly zeros: Buffer | undefined;
  /** The run of pages in the piece: `count` of them, from page `firstPgno` on. */
  private firstPgno = 0;
  private count = 0;

  constructor(
    private readonly fd: number,
    private readonly pageSize: number,
    private readonly piece: Buffer,
    holes: boolean,
  ) {
    this.capacity = Math.floor(piece.length / pageSize);
    this.zeros = holes ? Buffer.alloc(pageSize) : undefined;
  }

  async writeAll(reader: LtxReader, turn: Turn): Promise<void> {
    let skipped = 0;
    for (;;) {
      const page = this.page(this.count);
      const pgno = reader.nextPage(page);
      if (pgno === 0) break;
      if (this.zeros?.equals(page) === true) {
        if (++skipped % this.capacity === 0) await turn.pass();
        continue;
      }
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
