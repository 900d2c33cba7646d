import type { LtxHeader } from './header.js';
import type { LtxSummary } from './summary.js';

export interface LtxStreamEvents {
  header?(header: LtxHeader): void;
  /** `data` is valid during the call only. */
  page?(pgno: number, data: Uint8Array): void;
}

/** Takes an LTX file in chunks of any size, checks it as it comes. */
export class LtxStreamDecoder {
  constructor(events: LtxStreamEvents) {
    void events;
  }
  push(chunk: Uint8Array): void {
    throw new Error(`not yet ${chunk}`);
  }
  /** After the last chunk. Throws if the file is not whole. */
  end(): LtxSummary {
    throw new Error('not yet');
  }
}
