import { ftruncateSync } from 'node:fs';
import { SluiceError } from '../errors.js';
import {
  type Checksum,
  type ChecksumHalves,
  formatChecksum,
  isSnapshot,
  joinChecksum,
  type LtxEnd,
  type LtxHeader,
  LtxStreamDecoder,
  pageChecksum,
  pageChecksumFrom,
  snapshotPages,
  type Txid,
} from '../ltx/index.js';
import type { FileKey } from './file-names.js';
import { PageSink } from './page-sink.js';

/**
 * A database file being put together from LTX files in order. Each file's own checksum is verified as it comes; the
 * database checksum is verified after each file that names one, and so are the links between files. A snapshot's is
 * verified by the decoder. After that it is kept up by taking out what each page was, which is read back, and putting in
 * what it is: so there is no table of page checksums. Memory: a bit per page, and some MiB.
 */
export class DatabaseImage {
  private sink: PageSink | undefined;
  private lastHeader: LtxHeader | undefined;
  /** Of the last file that was applied to its end. */
  private endedHeader: LtxHeader | undefined;
  /** The last file's; 0n if it names none. */
  private postApply: Checksum = 0n;
  /** The same by the format's own checksum; undefined if it has none. */
  private standardPostApply: Checksum | undefined;
  /** Of the pages as they are now, if `summed`: from a snapshot on, up to an increment that names no checksum. */
  private summed = false;
  private high = 0;
  private low = 0;
  private readonly sum: ChecksumHalves = { high: 0, low: 0 };
  private oldPage = new Uint8Array(0);

  constructor(private readonly fd: number) {}

  /** Of the last file that was applied to its end; 0 before the first. */
  get txid(): Txid {
    return this.endedHeader?.maxTxid ?? 0;
  }

  /** False while a file is applied in part: the pages are of no transaction then. */
  get isBetweenFiles(): boolean {
    return this.lastHeader === this.endedHeader;
  }

  get pageSize(): number {
    return this.lastHeader?.pageSize ?? 0;
  }

  get pageCount(): number {
    return this.lastHeader?.commit ?? 0;
  }

  /** Of the last file's transaction, Unix milliseconds. */
  get timestampMs(): number {
    return this.lastHeader?.timestampMs ?? 0;
  }

  /** The database's checksum, verified; 0n where the last file does not name one, or those before it did not. */
  get checksum(): Checksum {
    return this.summed ? this.postApply : 0n;
  }

  /** Starts the next file. Push its bytes, then call `end`; both throw LtxError, `RESTORE_CHAIN` or a system error. */
  next(file: FileKey): ImageWriter {
    const decoder = new LtxStreamDecoder({
      header: (header) => this.begin(file, header),
      page: (pgno, data, crc) => this.writePage(pgno, data, crc),
    });
    return {
      push: (chunk) => decoder.push(chunk),
      end: async () => this.endFile(decoder.end()),
    };
  }

  /** For a file that is decoded elsewhere: `begin` with its header, `writePage` for each page, `endFile`. */
  begin(file: FileKey, header: LtxHeader): void {
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      throw chainError(`its header is of TXID ${header.minTxid} to ${header.maxTxid}`);
    }
    const previous = this.lastHeader;
    this.lastHeader = header;
    if (previous === undefined) {
      this.sink = new PageSink(this.fd, header.pageSize);
      this.oldPage = new Uint8Array(header.pageSize);
    } else {
      this.checkLink(previous, header);
      if (this.isIncrement && header.postApply === 0n) this.summed = false;
      for (let pgno = header.commit + 1; this.summed && pgno <= previous.commit; pgno++) this.takeOut(pgno);
    }
    if (!this.isIncrement) {
      this.summed = true;
      this.high = 0;
      this.low = 0;
    }
    this.sink!.truncate(header.commit);
  }

  /** `crc`: the page's `pageCrc`. */
  writePage(pgno: number, data: Uint8Array, crc: ChecksumHalves): void {
    const { pageSize, postApply } = this.lastHeader!;
    // Of a snapshot that names its checksum the decoder sums the pages.
    if (this.summed && (this.isIncrement || postApply === 0n)) {
      if (this.isIncrement) this.takeOut(pgno);
      pageChecksumFrom(pgno, pageSize, crc, this.sum);
      this.addSum();
    }
    this.sink!.write(pgno, data);
  }

  /** Resolves when the file's pages are written. */
  async endFile({ postApply, standardPostApply }: LtxEnd): Promise<void> {
    this.sink!.flush();
    await this.sink!.settle();
    this.postApply = postApply;
    this.standardPostApply = standardPostApply;
    if (postApply !== 0n && !this.isIncrement) {
      this.high = Number(postApply >> 32n) | 0;
      this.low = Number(postApply & 0xffffffffn) | 0;
    } else if (postApply !== 0n && this.summed && this.sumNow !== postApply) {
      const [found, named] = [this.sumNow, postApply].map(formatChecksum);
      throw chainError(`the database's checksum is ${found} after it instead of ${named}`);
    }
    this.endedHeader = this.lastHeader;
  }

  /** After the last file: every page must be there. Sets the file's length; does not fsync. */
  finish(): void {
    const { sink, lastHeader } = this;
    if (sink === undefined || lastHeader === undefined) throw chainError('there was no file');
    const expected = snapshotPages(lastHeader.pageSize, lastHeader.commit);
    if (sink.pageCount !== expected) {
      throw chainError(`${expected - sink.pageCount} of ${expected} pages are in none of the files`);
    }
    ftruncateSync(this.fd, lastHeader.commit * lastHeader.pageSize);
  }

  /** After `finish`: waits for what is under way. Throws what a write, or the disk's taking it, failed with. */
  async settle(): Promise<void> {
    await this.sink?.end();
  }

  /** Waits until the descriptor is no longer in use: before it is closed. */
  async release(): Promise<void> {
    await this.sink?.release();
  }

  private get sumNow(): Checksum {
    return joinChecksum(this.high, this.low);
  }

  private get isIncrement(): boolean {
    return !isSnapshot(this.lastHeader!);
  }

  private checkLink(previous: LtxHeader, header: LtxHeader): void {
    if (header.pageSize !== previous.pageSize) {
      throw chainError(`its page size is ${header.pageSize}, the one before it has ${previous.pageSize}`);
    }
    if (header.minTxid !== previous.maxTxid + 1) return;
    mustBeSame(header.preApply, this.summed ? this.sumNow : this.postApply);
    mustBeSame(header.standardPreApply ?? 0n, this.standardPostApply ?? 0n);
  }

  /** A page as it was, out of the checksum. */
  private takeOut(pgno: number): void {
    if (!this.sink!.has(pgno)) return;
    this.sink!.read(pgno, this.oldPage);
    pageChecksum(pgno, this.oldPage, 0, this.oldPage.length, this.sum);
    this.addSum();
  }

  /** Adds a page's checksum, or takes it out: XOR does both. */
  private addSum(): void {
    this.high ^= this.sum.high;
    this.low ^= this.sum.low;
  }
}

/** Takes one file's bytes. */
export interface ImageWriter {
  push(chunk: Uint8Array): void;
  /** Resolves when its pages are written. */
  end(): Promise<void>;
}

/** Unless one of them is not known. */
function mustBeSame(preApply: Checksum, postApply: Checksum): void {
  if (preApply === 0n || postApply === 0n || preApply === postApply) return;
  throw chainError(
    `it begins at checksum ${formatChecksum(preApply)}, the one before it ends at ${formatChecksum(postApply)}`,
  );
}

function chainError(message: string): SluiceError {
  return new SluiceError('RESTORE_CHAIN', message);
}
