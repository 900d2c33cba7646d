import { LtxError, type LtxHeader, LtxParser } from '../ltx/index.js';
import type { Store, StoreFile } from './store.js';

const NOTHING = new Uint8Array(0);

/**
 * Reads an LTX file of a store page by page, a range at a time, the next one while this one is worked on. So no connection
 * stays open with nobody reading, however slowly the pages are taken. Memory: two ranges and a page.
 */
export class StorePages {
  readonly header: LtxHeader;
  /** The page that was read last. */
  readonly page: Uint8Array;
  private chunk: Uint8Array = NOTHING;
  private at = 0;

  private constructor(
    private readonly parser: LtxParser,
    private readonly ranges: Ranges,
    rest: Uint8Array,
  ) {
    this.header = parser.header!;
    this.page = new Uint8Array(this.header.pageSize);
    parser.target = this.page;
    this.chunk = rest;
  }

  /** Reads up to the header. Throws `LTX_*` and Store's errors, as all of it does. */
  static async open(store: Store, file: StoreFile, rangeBytes: number): Promise<StorePages> {
    const ranges = new Ranges(store, file, rangeBytes);
    const parser = new LtxParser();
    for (;;) {
      const chunk = await ranges.next();
      if (chunk.length === 0) parser.end(); // throws: cut
      const used = parser.feed(chunk, 0, chunk.length);
      if (parser.header === undefined) continue;
      const { minTxid, maxTxid } = parser.header;
      if (minTxid !== file.minTxid || maxTxid !== file.maxTxid) {
        throw new LtxError('LTX_HEADER', `the file's header is of TXID ${minTxid} to ${maxTxid}`);
      }
      return new StorePages(parser, ranges, chunk.subarray(used));
    }
  }

  /** The number of the next page, which is in `page` then; Infinity behind the last; undefined: `fill` first. */
  next(): number | undefined {
    const { parser } = this;
    for (;;) {
      if (parser.pagesDone) return Number.POSITIVE_INFINITY;
      if (this.at === this.chunk.length) return undefined;
      this.at = parser.feed(this.chunk, this.at, this.chunk.length);
      if (parser.pageReady) return parser.pgno;
    }
  }

  async fill(): Promise<void> {
    this.chunk = await this.ranges.next();
    this.at = 0;
    if (this.chunk.length === 0) this.parser.end(); // throws: cut
  }

  /** After the last page: reads and checks what is left. */
  async finish(): Promise<void> {
    for (;;) {
      while (this.at < this.chunk.length) this.at = this.parser.feed(this.chunk, this.at, this.chunk.length);
      this.chunk = await this.ranges.next();
      this.at = 0;
      if (this.chunk.length === 0) break;
    }
    this.parser.end();
  }

  /** Ends what is under way; for when the rest is not wanted. */
  async close(): Promise<void> {
    await this.ranges.close();
  }
}

/**
 * A file's ranges in order, one read ahead, into two buffers by turns: new ones for each range pile up, since they live long
 * enough to be collected with the old objects only, and a thread that merges makes hardly any of these.
 */
class Ranges {
  private offset = 0;
  private ahead: Promise<Uint8Array> | undefined;
  private free: Uint8Array;
  private other: Uint8Array;

  constructor(
    private readonly store: Store,
    private readonly file: StoreFile,
    rangeBytes: number,
  ) {
    const sizeBytes = Math.min(rangeBytes, file.sizeBytes + 1);
    this.free = Buffer.allocUnsafeSlow(sizeBytes);
    this.other = Buffer.allocUnsafeSlow(sizeBytes);
  }

  /** Empty at the end. Valid until the next is asked for. */
  async next(): Promise<Uint8Array> {
    const bytes = await (this.ahead ?? this.read());
    this.ahead = this.offset < this.file.sizeBytes ? this.read() : Promise.resolve(NOTHING);
    this.ahead.catch(() => undefined); // the error is met when its turn comes
    return bytes;
  }

  async close(): Promise<void> {
    await this.ahead?.catch(() => undefined);
  }

  private async read(): Promise<Uint8Array> {
    const target = this.free;
    this.free = this.other;
    this.other = target;
    const offset = this.offset;
    this.offset += target.length;
    return target.subarray(0, await this.store.read(this.file, offset, target));
  }
}
