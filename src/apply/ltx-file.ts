import { closeSync, openSync } from 'node:fs';
import { type ByteSource, bytesSource, fileSource, isSnapshot, type LtxHeader, LtxReader } from '../ltx/index.js';
import { type DatabaseHeader, parseDatabaseHeader } from '../sqlite/index.js';
import type { LtxLocation } from './types.js';

/** The LTX of one request: may be read more than once. */
export class LtxFile {
  readonly header: LtxHeader;
  private readonly source: ByteSource;
  private readonly fd: number;
  /** Read up to the header only. */
  private first: LtxReader | undefined;

  /** Throws `LTX_*`, or the system's error if the file cannot be opened. */
  constructor(location: LtxLocation) {
    this.fd = location.kind === 'file' ? openSync(location.path, 'r') : -1;
    this.source =
      location.kind === 'file' ? fileSource(this.fd, location.offset, location.size) : bytesSource(location.bytes);
    try {
      this.first = new LtxReader(this.source);
      this.header = this.first.header;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether every page of the database is in it. */
  get isWhole(): boolean {
    return isSnapshot(this.header);
  }

  /** Page 1's header; undefined if page 1 is not in it. */
  pageOne(): DatabaseHeader | undefined {
    const page = Buffer.allocUnsafe(this.header.pageSize);
    return new LtxReader(this.source).nextPage(page) === 1 ? parseDatabaseHeader(page) : undefined;
  }

  /** A reader at the first page. */
  pages(): LtxReader {
    const reader = this.first ?? new LtxReader(this.source);
    this.first = undefined;
    return reader;
  }

  /** The source is never under the mount, so closing it drops no lock of SQLite's. */
  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
  }
}
