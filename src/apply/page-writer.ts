import type { LtxReader } from '../ltx/index.js';
import { writeFully } from './files.js';
import { PIECE_BYTES } from './limits.js';
import type { Turn } from './turn.js';

/** Writes pages to their places in a database file; pages that follow each other go in one write. */
export class PageWriter {
  private readonly bytes: Buffer;
  private readonly pages: readonly Buffer[];
  private firstPgno = 0;
  private count = 0;

  constructor(
    private readonly fd: number,
    private readonly pageSize: number,
  ) {
    const capacity = Math.max(2, Math.floor(PIECE_BYTES / pageSize));
    this.bytes = Buffer.allocUnsafeSlow(capacity * pageSize);
    this.pages = Array.from({ length: capacity }, (_, i) => this.bytes.subarray(i * pageSize, (i + 1) * pageSize));
  }

  /** Writes all pages of the LTX and checks it to its end. What is written counts only then. */
  async writeAll(reader: LtxReader, turn: Turn): Promise<void> {
    for (;;) {
      const pgno = reader.nextPage(this.pages[this.count]!);
      if (pgno === 0) break;
      if (pgno !== this.firstPgno + this.count) this.startRun(pgno);
      if (++this.count === this.pages.length) {
        this.flush();
        await turn.pass();
      }
    }
    this.flush();
    reader.finish();
  }

  /** The page that was just read, behind the run's last, begins a new run. */
  private startRun(pgno: number): void {
    const at = this.count;
    this.flush();
    if (at > 0) this.pages[at]!.copy(this.bytes, 0);
    this.firstPgno = pgno;
  }

  private flush(): void {
    if (this.count === 0) return;
    writeFully(this.fd, this.bytes, 0, this.count * this.pageSize, (this.firstPgno - 1) * this.pageSize);
    this.firstPgno += this.count;
    this.count = 0;
  }
}
