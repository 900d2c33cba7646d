import { type DatabaseSums, lockPage } from '../ltx/index.js';
import type { Database } from './database.js';
import { databaseFileFacts, PageImages } from './page-images.js';
import { allPages } from './page-numbers.js';
import type { SharedState } from './shared.js';
import type { TransactionWriter } from './transaction-writer.js';
import { RESTART_MS, type WalCapture } from './wal-capture.js';
import type { WalFile } from './wal-file.js';
import { readWhole } from './whole-read.js';

/** A database that comes in whole is put in the log up to this many bytes; a larger one is left to snapshots. */
const IMPORT_LOG_BYTES = 4 * 1024 * 1024;
/** Reads of a whole database until one was not disturbed by a write that was under way when they began. */
const WHOLE_READ_TRIES = 5;

interface WholeImage {
  readonly sums: DatabaseSums;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly overlay: { readonly file: WalFile; readonly newest: ReadonlyMap<number, number> } | undefined;
  readonly generation: number;
  readonly frames: number;
}

/**
 * What reading a whole database came to: the same content as before, a transaction that was logged, a position whose
 * content is not in the log (followers need a snapshot), or no database.
 */
export type WholeOutcome = 'same' | 'logged' | 'not logged' | 'unreadable';

/** Takes a database as it is, where what changed is not known: an import, a restart, something that went wrong. */
export class WholeCapture {
  constructor(
    private readonly database: Database,
    private readonly shared: SharedState,
    private readonly wal: WalCapture,
    private readonly writer: TransactionWriter,
  ) {}

  /**
   * The whole database, WAL and all (or its first `limit` frames), for its new position. Nobody may write the database
   * file meanwhile, not even a checkpoint: it would put later transactions under earlier ones.
   */
  async take(limit?: number): Promise<WholeOutcome> {
    const { shared } = this;
    const { slot } = this.database;
    shared.hold(slot, true);
    try {
      for (let n = 0; n < WHOLE_READ_TRIES; n++) {
        const writes = shared.fileWrites(slot);
        const image = await this.read(limit);
        if (shared.fileWrites(slot) !== writes) continue;
        if (image === 'of another WAL') {
          await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
          continue;
        }
        return image === undefined ? 'unreadable' : await this.accept(image);
      }
      throw new Error('the database file changed while it was read whole');
    } finally {
      shared.hold(slot, false);
    }
  }

  private async read(limit: number | undefined): Promise<WholeImage | 'of another WAL' | undefined> {
    const { database } = this;
    const { generation, frames: committed } = this.wal.committed();
    const frames = Math.min(committed, limit ?? committed);
    const file = this.wal.at(generation);
    if (frames > 0 && !this.wal.isAt(generation)) return 'of another WAL';
    const facts = databaseFileFacts(database.path);
    if (facts === undefined) {
      this.wal.skipTo(generation, committed);
      return undefined;
    }
    const wal = frames > 0 ? file : undefined;
    try {
      const overlay = wal === undefined ? undefined : { file: wal, newest: await wal.newestFrames(0, frames) };
      const pageSize = wal?.header.pageSize ?? facts.header.pageSize;
      const pageCount = wal?.frameHeader(frames - 1).commitSize ?? facts.pageCount;
      const sums = await readWhole(database.path, pageSize, pageCount, overlay);
      // All of it was in the file, so a writer could begin it afresh: the worker finds that out, and says so.
      return wal?.isCurrent === false ? 'of another WAL' : { sums, pageSize, pageCount, overlay, generation, frames };
    } catch (error) {
      if (wal?.isCurrent === false) return 'of another WAL';
      throw error;
    }
  }

  private async accept(image: WholeImage): Promise<WholeOutcome> {
    const { database } = this;
    const { sums, pageSize, pageCount, overlay, generation, frames } = image;
    const { position } = database;
    const wal = overlay === undefined ? undefined : { ...saltsOf(overlay.file), frames };
    const step = { pageSize, pageCount, pages: undefined, wal };
    const same = database.live && pageSize === database.pageSize && pageCount === database.pageCount;
    let outcome: WholeOutcome;
    if (same && sums.checksum() === position.checksum) {
      database.sums = sums;
      database.advance({ ...step, position, timeMs: database.state.timeMs });
      outcome = 'same';
    } else if (position.txid === 0 && pageCount * pageSize <= IMPORT_LOG_BYTES) {
      await this.logWhole(image);
      outcome = 'logged';
    } else {
      database.sums = sums;
      const next = { txid: position.txid + 1, checksum: sums.checksum() };
      database.log.cut(next.txid);
      database.advance({ ...step, position: next, timeMs: Date.now() });
      outcome = 'not logged';
    }
    if (overlay !== undefined) this.wal.skipTo(generation, frames);
    return outcome;
  }

  private async logWhole({ sums, pageSize, pageCount, overlay, frames }: WholeImage): Promise<void> {
    const { database } = this;
    const images = new PageImages(database.path, pageSize, overlay);
    const checksum = sums.checksum();
    database.sums = sums;
    database.sums.truncate(0);
    try {
      const facts = { commit: pageCount, timeMs: Date.now() };
      const wal = overlay === undefined ? {} : { wal: { size: 0, ...saltsOf(overlay.file), frames } };
      const read = (pgno: number, target: Buffer, offset: number) => images.read(pgno, target, offset);
      await this.writer.writeLarge(allPages(pageCount, lockPage(pageSize)), read, { ...facts, ...wal }, false);
      // Its WAL began afresh between the two readings, where the kernel writes it by itself.
      if (database.position.checksum !== checksum) throw new Error('the database changed while it was read whole');
    } finally {
      images.close();
    }
  }
}

function saltsOf({ header }: WalFile): { readonly salt1: number; readonly salt2: number } {
  return { salt1: header.salt1, salt2: header.salt2 };
}
