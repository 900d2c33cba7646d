import { LtxError } from './errors.js';
import type { LtxHeader } from './header.js';
import { formatTxid } from './position.js';

/**
 * The header of the file that holds what those with these do, given in TXID order. One may begin inside of the range of those before it, but not after a
 * gap. Throws `LTX_GAP`, `LTX_PAGE_SIZE`, `LTX_CHAIN` if they do not follow each other.
 */
export function mergedHeader(headers: readonly LtxHeader[]): LtxHeader {
  for (let i = 1; i < headers.length; i++) checkFollows(headers[i - 1]!, headers[i]!);
  const { minTxid, preApply } = headers[0]!;
  const { pageSize, commit, maxTxid, timestampMs, postApply } = headers.at(-1)!;
  return { pageSize, commit, minTxid, maxTxid, timestampMs, preApply, postApply };
}

/**
 * The input that has the newest image of the lowest page among `pgnos`, the next page of each input: the last of those with
 * that page. -1 when all are at their end (Infinity). A scan, which is fast enough for hundreds of inputs.
 */
export function newestOfLowest(pgnos: Float64Array): number {
  let newest = 0;
  for (let i = 1; i < pgnos.length; i++) if (pgnos[i]! <= pgnos[newest]!) newest = i;
  return pgnos[newest] === Number.POSITIVE_INFINITY ? -1 : newest;
}

function checkFollows(a: LtxHeader, b: LtxHeader): void {
  if (a.pageSize !== b.pageSize) {
    throw new LtxError('LTX_PAGE_SIZE', `LTX files have different page sizes: ${a.pageSize} and ${b.pageSize}`);
  }
  if (b.minTxid > a.maxTxid + 1 || b.maxTxid <= a.maxTxid) {
    throw new LtxError('LTX_GAP', `LTX files do not follow each other: ${rangeOf(a)}, then ${rangeOf(b)}`);
  }
  const adjacent = b.minTxid === a.maxTxid + 1;
  if (adjacent && a.postApply !== 0n && b.preApply !== 0n && a.postApply !== b.preApply) {
    throw new LtxError(
      'LTX_CHAIN',
      `LTX files do not fit each other: ${rangeOf(a)} and ${rangeOf(b)} disagree on the database`,
    );
  }
}

function rangeOf(header: LtxHeader): string {
  return `${formatTxid(header.minTxid)}-${formatTxid(header.maxTxid)}`;
}
