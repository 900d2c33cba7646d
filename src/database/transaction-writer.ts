import {
  type ChecksumHalves,
  encodeLtx,
  LtxEncoder,
  type LtxHeader,
  type LtxPage,
  type LtxWalRange,
  lockPage,
  pageChecksumFrom,
  pageCrc,
} from '../ltx/index.js';
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../sqlite/index.js';
import type { Advance, Database } from './database.js';
import { nextTurn } from './wal-file.js';

/** LTX files up to this size are kept in memory and given to listeners. */
export const SMALL_LTX_BYTES = 256 * 1024;
/** Pages between two turns of the event loop in a large transaction. */
const SLICE_PAGES = 128;

export interface TransactionFacts {
  /** Pages of the database afterwards. */
  readonly commit: number;
  readonly timeMs: number;
  readonly wal?: {
    /** Bytes of its frames in the WAL; 0 for one that stands for a state of the WAL as a whole. */
    readonly size: number;
    readonly salt1: number;
    readonly salt2: number;
    /** For the state: frames of the WAL that are in the log now. */
    readonly frames: number;
  };
}

/** One page of a small transaction; `crc` is for the writer. */
export type ChangedPage = Required<LtxPage>;

export function changedPage(pgno: number, data: Uint8Array): ChangedPage {
  return { pgno, data, crc: { high: 0, low: 0 } };
}

/** Reads a page's new image into `target` at `targetOffset`. */
export type ReadPage = (pageNumber: number, target: Buffer, targetOffset: number) => void;

/**
 * Turns changed pages into the database's next transaction: page checksums, LTX, log, position. Says by its result
 * whether there was anything to log: pages equal to what they were are no transaction.
 */
export class TransactionWriter {
  private readonly sum = { high: 0, low: 0 };
  private readonly crc = { high: 0, low: 0 };
  /** Ready to be logged. */
  private prepared: Prepared[] = [];

  constructor(
    private readonly database: Database,
    private readonly onLogged: (ltx: Uint8Array | undefined, pages: number) => void,
    private readonly onLogFailed: (error: unknown) => void,
  ) {}

  /** Pages of the database after what is prepared. */
  get pageCount(): number {
    return this.prepared.at(-1)?.header.commit ?? this.database.pageCount;
  }

  /** A transaction that fits memory: pages ascending, all at or below the commit, none of them the lock page. */
  writeSmall(pages: readonly ChangedPage[], facts: TransactionFacts): boolean {
    const changed = this.prepare(pages, facts);
    this.writePrepared();
    return changed;
  }

  /** The same, but nothing counts before `writePrepared`, in the same turn of the event loop. */
  prepare(pages: readonly ChangedPage[], facts: TransactionFacts): boolean {
    const numbers = new Uint32Array(pages.length);
    let changed = facts.commit !== this.pageCount;
    for (let i = 0; i < pages.length; i++) {
      const { pgno, data, crc } = pages[i]!;
      numbers[i] = pgno;
      pageCrc(data, 0, data.length, crc);
      if (this.takeChecksum(pgno, crc)) changed = true;
    }
    if (!changed) return false;
    const header = this.headerFor(facts);
    this.prepared.push({ header, facts, numbers, ltx: encodeLtx(header, pages) });
    return true;
  }

  /** Logs what is prepared: one write to the log, however many they are. */
  writePrepared(): void {
    const { database, prepared } = this;
    if (prepared.length === 0) return;
    this.prepared = [];
    try {
      database.log.append(
        prepared[0]!.header.maxTxid,
        prepared.map(({ ltx }) => ltx),
      );
    } catch (error) {
      this.logFailed(prepared, error);
      return;
    }
    for (const { header, facts, numbers, ltx } of prepared) {
      database.advance(stepOf(header, facts, numbers), true);
      this.onLogged(ltx.length <= SMALL_LTX_BYTES ? ltx : undefined, numbers.length);
    }
  }

  /** One of any size, in bounded memory and in slices. `numbers` as above; `changedOnly`: leaves out what is as it was. */
  async writeLarge(
    numbers: Uint32Array,
    read: ReadPage,
    facts: TransactionFacts,
    changedOnly: boolean,
  ): Promise<boolean> {
    const { database } = this;
    // Page checksums change while others have their turn: none of them may be written beside an older state.
    database.writeLate();
    const pageSize = database.sums.pageSize;
    const page = Buffer.allocUnsafeSlow(pageSize);
    let changed = facts.commit !== database.pageCount;
    let kept = 0;
    for (let i = 0; i < numbers.length; i++) {
      const pgno = numbers[i]!;
      read(pgno, page, 0);
      pageCrc(page, 0, pageSize, this.crc);
      const differs = this.takeChecksum(pgno, this.crc);
      if (differs) changed = true;
      if (differs || !changedOnly || pgno > database.pageCount) numbers[kept++] = pgno;
      if (i % SLICE_PAGES === SLICE_PAGES - 1) await nextTurn();
    }
    if (!changed) return false;
    const written = numbers.subarray(0, kept);
    const header = this.headerFor(facts);
    try {
      const append = database.log.appendLarge(header.maxTxid);
      const encoder = new LtxEncoder((bytes) => append.write(bytes), header);
      for (let i = 0; i < written.length; i++) {
        read(written[i]!, page, 0);
        encoder.writePage(written[i]!, page);
        if (i % SLICE_PAGES === SLICE_PAGES - 1) await nextTurn();
      }
      encoder.finish();
      append.finish();
    } catch (error) {
      this.logFailed([{ header, facts, numbers: written }], error);
      return true;
    }
    database.advance(stepOf(header, facts, written));
    this.onLogged(undefined, kept);
    return true;
  }

  /** Sets the page's checksum in the table; says whether it was another before. */
  private takeChecksum(pgno: number, crc: ChecksumHalves): boolean {
    const { sums } = this.database;
    pageChecksumFrom(pgno, sums.pageSize, crc, this.sum);
    const { high, low } = this.sum;
    if (pgno <= sums.pageCount && sums.getHigh(pgno) === high && sums.getLow(pgno) === low) return false;
    sums.set(pgno, high, low);
    return true;
  }

  private headerFor(facts: TransactionFacts): LtxHeader {
    const { database } = this;
    const { sums } = database;
    if (facts.commit > sums.pageCount) {
      // Only the lock page may be left to count: all others have an image in the transaction.
      sums.set(lockPage(sums.pageSize), 0, 0);
    }
    sums.truncate(facts.commit);
    const last = this.prepared.at(-1)?.header;
    const { txid, checksum } =
      last === undefined ? database.position : { txid: last.maxTxid, checksum: last.postApply };
    return {
      pageSize: sums.pageSize,
      commit: facts.commit,
      minTxid: txid + 1,
      maxTxid: txid + 1,
      timestampMs: facts.timeMs,
      preApply: txid === 0 ? 0n : checksum,
      postApply: sums.checksum(),
      wal: facts.wal === undefined ? undefined : walRange(facts.wal, sums.pageSize),
    };
  }

  /** They are in the database and must count, though the log could not take them: who follows needs a snapshot. */
  private logFailed(transactions: readonly Step[], error: unknown): void {
    const { database } = this;
    database.log.cut(transactions.at(-1)!.header.maxTxid);
    for (const { header, facts, numbers } of transactions) database.advance(stepOf(header, facts, numbers));
    this.onLogFailed(error);
  }
}

interface Step {
  readonly header: LtxHeader;
  readonly facts: TransactionFacts;
  readonly numbers: Uint32Array;
}

interface Prepared extends Step {
  readonly ltx: Uint8Array;
}

/** Where the range ends says, to a start that replays the log, how much of the WAL is in the log. */
function walRange(wal: NonNullable<TransactionFacts['wal']>, pageSize: number): LtxWalRange {
  const { size, salt1, salt2, frames } = wal;
  const end = WAL_HEADER_SIZE + frames * (WAL_FRAME_HEADER_SIZE + pageSize);
  return { offset: end - size, size, salt1, salt2 };
}

function stepOf(header: LtxHeader, facts: TransactionFacts, pages: ArrayLike<number>): Advance {
  const { wal } = facts;
  return {
    position: { txid: header.maxTxid, checksum: header.postApply },
    pageSize: header.pageSize,
    pageCount: facts.commit,
    timeMs: facts.timeMs,
    pages,
    wal: wal === undefined ? undefined : { salt1: wal.salt1, salt2: wal.salt2, frames: wal.frames },
  };
}
