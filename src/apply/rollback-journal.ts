import { randomBytes } from 'node:crypto';
import { closeSync, fsync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { JOURNAL_MAGIC, PENDING_BYTE } from '../sqlite/index.js';
import { syncPath } from '../sync-path.js';
import { readOrZeros, unlinkIfThere, writeFully } from './files.js';
import { givePiece, takePiece } from './piece-pool.js';

const sync = promisify(fsync);

/** The header fills a sector, so that records begin behind it. */
const SECTOR_SIZE = 512;
/** "As many records as the file's size tells": whole records in a journal that was cut still count, by their checksum. */
const COUNT_BY_SIZE = 0xffffffff;

/**
 * A rollback journal with the pages as they are before a transaction is applied, in SQLite's own format:
 *
 * ```
 * header: magic | u32 records | u32 nonce | u32 database pages | u32 sector size | u32 page size | zeros to the sector
 * record: u32 page number | page | u32 checksum
 * ```
 */
export class RollbackJournal {
  private readonly fd: number;
  private readonly recordSize: number;
  private readonly piece: Buffer;
  private readonly nonce = randomBytes(4).readUInt32BE();
  private readonly lockPage: number;
  private used = SECTOR_SIZE;
  private position = 0;
  private closed = false;

  /** Begins `path` afresh. `databasePages` and `pageSize` are those of the database before the transaction. */
  constructor(
    readonly path: string,
    private readonly databaseFd: number,
    readonly databasePages: number,
    readonly pageSize: number,
  ) {
    this.recordSize = pageSize + 8;
    this.lockPage = PENDING_BYTE / pageSize + 1;
    this.fd = openSync(path, 'w');
    this.piece = takePiece().fill(0, 0, SECTOR_SIZE);
    JOURNAL_MAGIC.forEach((byte, i) => {
      this.piece[i] = byte;
    });
    this.piece.writeUInt32BE(COUNT_BY_SIZE, 8);
    this.piece.writeUInt32BE(this.nonce, 12);
    this.piece.writeUInt32BE(databasePages, 16);
    this.piece.writeUInt32BE(SECTOR_SIZE, 20);
    this.piece.writeUInt32BE(pageSize, 24);
  }

  /** Copies the page as the database file has it. Pages that the file does not have need no copy. */
  save(pgno: number): void {
    if (pgno > this.databasePages || pgno === this.lockPage) return;
    if (this.used + this.recordSize > this.piece.length) this.flush();
    const { piece, used, pageSize } = this;
    piece.writeUInt32BE(pgno, used);
    readOrZeros(this.databaseFd, piece, used + 4, pageSize, (pgno - 1) * pageSize);
    piece.writeUInt32BE(this.checksum(used + 4), used + 4 + pageSize);
    this.used += this.recordSize;
  }

  /**
   * Ends the journal: from now on it is whole, and "hot" once the lock is gone. Its content and its name are on the disk, as
   * SQLite has them there before it writes a page, and so is what was done to names in the folder before: the WAL that it
   * removed when the database left WAL mode must not come back after a power loss.
   */
  async finish(): Promise<void> {
    this.flush();
    await Promise.all([sync(this.fd), syncPath(dirname(this.path))]);
    this.close();
  }

  /** Ends a journal that is not needed or could not be written, before the database was touched. */
  abandon(): void {
    this.close();
    this.remove();
  }

  /** Commits: without its journal the database stands as it is. */
  remove(): void {
    unlinkIfThere(this.path);
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.fd);
    givePiece(this.piece);
  }

  private flush(): void {
    writeFully(this.fd, this.piece, 0, this.used, this.position);
    this.position += this.used;
    this.used = 0;
  }

  /** SQLite's pager_cksum: the nonce and every 200th byte, from the end. */
  private checksum(start: number): number {
    let sum = this.nonce;
    for (let i = this.pageSize - 200; i > 0; i -= 200) sum = (sum + this.piece[start + i]!) >>> 0;
    return sum;
  }
}
