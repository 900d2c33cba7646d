import type { ByteSource } from './source.js';
import type { LtxSummary } from './summary.js';

/** Merges files whose TXIDs follow each other into one. */
export function compactLtx(inputs: readonly ByteSource[], sink: (chunk: Uint8Array) => void): LtxSummary {
  throw new Error(`not yet ${inputs} ${sink}`);
}
