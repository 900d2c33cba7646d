import type { LtxHeader } from './header.js';
import type { LtxSummary } from './summary.js';

export interface LtxPage {
  readonly pgno: number;
  /** Exactly one page. */
  readonly data: Uint8Array;
}

/** Writes an LTX file piece by piece to `sink`; a piece is valid during the call only. */
export class LtxEncoder {
  constructor(sink: (chunk: Uint8Array) => void, header: LtxHeader) {
    void sink;
    void header;
  }
  /** `start`: where the page begins in `data`. */
  writePage(pgno: number, data: Uint8Array, start = 0): void {
    throw new Error(`not yet ${pgno} ${data} ${start}`);
  }
  finish(): LtxSummary {
    throw new Error('not yet');
  }
}

/** A small transaction as one LTX file in memory; pages ascending. */
export function encodeLtx(header: LtxHeader, pages: readonly LtxPage[]): Uint8Array {
  throw new Error(`not yet ${header} ${pages}`);
}
