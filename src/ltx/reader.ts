import type { LtxHeader } from './header.js';
import type { ByteSource } from './source.js';
import type { LtxSummary } from './summary.js';

export class LtxReader {
  readonly header!: LtxHeader;
  constructor(source: ByteSource) {
    void source;
  }
  /** Reads the next page to the start of `target`; returns its number, 0 after the last. */
  nextPage(target: Uint8Array): number {
    throw new Error(`not yet ${target}`);
  }
  /** Reads what is left, checks index, trailer and all checksums. */
  finish(): LtxSummary {
    throw new Error('not yet');
  }
}

/** Reads the whole file and checks everything. */
export function verifyLtx(source: ByteSource): LtxSummary {
  throw new Error(`not yet ${source}`);
}
