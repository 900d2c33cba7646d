import { ftruncateSync } from 'node:fs';
import { SluiceError } from '../errors.js';
import {
  type Checksum,
  type ChecksumHalves,
  DatabaseSums,
  formatChecksum,
  type LtxHeader,
  LtxStreamDecoder,
  pageChecksum,
  snapshotPages,
  type Txid,
} from '../ltx/index.js';
import type { FileKey } from './file-names.js';
import { PageSink } from './page-sink.js';

/**
 * A database file being put together from LTX files in order. Each file's own checksum is verified as it comes; the
 * database checksum is verified after each file that names one, and so are the links between files.
 * Memory: 8 bytes and a bit per page, and 1 MiB.
 */
export class DatabaseImage {
  private sink: PageSink | undefined;
  /** Undefined as soon as a file does not name its checksum: from there on sums are not kept. */
  private sums: DatabaseSums | undefined;
  private postApply: Checksum = 0n;
  private lastHeader: LtxHeader | undefined;

  constructor(private readonly fd: number) {}

  get txid(): Txid {
    return this.lastHeader?.maxTxid ?? 0;
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

  /** The database's checksum, verified; 0n where the files do not name one. */
  get checksum(): Checksum {
    return this.sums === undefined ? 0n : this.postApply;
  }

  /** Starts the next file. Push its bytes, then call `end`; both throw LtxError, `RESTORE_CHAIN` or a system error. */
  next(file: FileKey): ImageWriter {
    const sum: ChecksumHalves = { high: 0, low: 0 };
    let pageSize = 0;
    const decoder = new LtxStreamDecoder({
      header: (header) => {
        this.begin(file, header);
        pageSize = header.pageSize;
      },
      page: (pgno, data) => {
        this.sink!.write(pgno, data);
        if (this.sums === undefined) return;
        pageChecksum(pgno, data, 0, pageSize, sum);
        this.sums.set(pgno, sum.high, sum.low);
      },
    });
    return {
      push: (chunk) => decoder.push(chunk),
      end: () => this.finishFile(decoder.end().postApply),
    };
  }

  /** After the last file: every page must be there. Flushes and sets the file's length; does not fsync. */
  async finish(): Promise<void> {
    const { sink, lastHeader } = this;
    if (sink === undefined || lastHeader === undefined) throw chainError('there was no file');
    sink.flush();
    await sink.settle();
    const expected = snapshotPages(lastHeader.pageSize, lastHeader.commit);
    if (sink.pageCount !== expected) {
      throw chainError(`${expected - sink.pageCount} of ${expected} pages are in none of the files`);
    }
    ftruncateSync(this.fd, lastHeader.commit * lastHeader.pageSize);
  }

  /** Waits until the descriptor is no longer in use: call before closing it early. */
  async settle(): Promise<void> {
    await this.sink?.settle();
  }

  private begin(file: FileKey, header: LtxHeader): void {
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      throw chainError(`its header is of TXID ${header.minTxid} to ${header.maxTxid}`);
    }
    const previous = this.lastHeader;
    this.lastHeader = header;
    if (previous === undefined) {
      this.sink = new PageSink(this.fd, header.pageSize);
      this.sums = new DatabaseSums(header.pageSize);
      return;
    }
    if (header.pageSize !== previous.pageSize) {
      throw chainError(`its page size is ${header.pageSize}, the one before it has ${previous.pageSize}`);
    }
    const follows = header.minTxid === previous.maxTxid + 1;
    if (follows && header.preApply !== 0n && this.postApply !== 0n && header.preApply !== this.postApply) {
      throw chainError(
        `it begins at checksum ${formatChecksum(header.preApply)}, the one before it ends at ${formatChecksum(this.postApply)}`,
      );
    }
  }

  private finishFile(postApply: Checksum): void {
    const pageCount = this.pageCount;
    this.sink!.truncate(pageCount);
    this.sums?.truncate(pageCount);
    this.postApply = postApply;
    if (postApply === 0n) this.sums = undefined;
    if (this.sums !== undefined && this.sums.checksum() !== postApply) {
      throw chainError(
        `the database's checksum is ${formatChecksum(this.sums.checksum())} after it instead of ${formatChecksum(postApply)}`,
      );
    }
  }
}

/** Takes one file's bytes. */
export interface ImageWriter {
  push(chunk: Uint8Array): void;
  end(): void;
}

function chainError(message: string): SluiceError {
  return new SluiceError('RESTORE_CHAIN', message);
}
