import type { LtxHeader } from './header.js';
import type { ChecksumHalves } from './page-checksum.js';
import { LtxParser } from './parser.js';
import type { LtxSummary } from './summary.js';

/** What a stream decoder finds. A throw in here comes out of `push`. */
export interface LtxStreamEvents {
  header?(header: LtxHeader): void;
  /** `data` is one page, `crc` its `pageCrc`; valid during the call only. The file checksum is known only at the end. */
  page?(pgno: number, data: Uint8Array, crc: ChecksumHalves): void;
}

/** Takes an LTX file in chunks of any size and checks it as it comes, in bounded memory. */
export class LtxStreamDecoder {
  private readonly parser = new LtxParser();
  private page = new Uint8Array(0);

  constructor(private readonly events: LtxStreamEvents = {}) {}

  /** Undefined until it has come. */
  get header(): LtxHeader | undefined {
    return this.parser.header;
  }

  /** Throws `LTX_*` at the first thing that is wrong, and at everything after it. */
  push(chunk: Uint8Array): void {
    const { parser, events } = this;
    for (let at = 0; at < chunk.length; ) {
      const headerKnown = parser.header !== undefined;
      at = parser.feed(chunk, at, chunk.length);
      if (parser.pageReady) events.page?.(parser.pgno, this.page, parser.pageCrc);
      if (!headerKnown && parser.header !== undefined) this.begin(parser.header);
    }
  }

  /** After the last chunk. Throws `LTX_TRUNCATED` if the file is not whole. */
  end(): LtxSummary {
    return this.parser.end();
  }

  private begin(header: LtxHeader): void {
    this.page = new Uint8Array(header.pageSize);
    this.parser.target = this.page;
    this.events.header?.(header);
  }
}
