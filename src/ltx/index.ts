export { compactLtx } from './compactor.js';
export { Crc64, joinChecksum } from './crc64.js';
export { DatabaseSums, PAGE_SUM_SIZE, SumsChange } from './database-sums.js';
export { encodeLtx, LtxEncoder, type LtxPage } from './encoder.js';
export { LtxError, type LtxErrorCode } from './errors.js';
export {
  decodeHeader,
  HEADER_SIZE,
  isPageSize,
  isSnapshot,
  type LtxHeader,
  type LtxWalRange,
  lockPage,
  snapshotPages,
} from './header.js';
export { mergedHeader, newestOfLowest } from './merge.js';
export {
  type ChecksumHalves,
  pageChecksum,
  pageChecksumFrom,
  pageCrc,
  standardPageChecksumFrom,
} from './page-checksum.js';
export { PageIndex, readPageAt, readPageIndex } from './page-index.js';
export { checkPageRoom } from './page-room.js';
export { LtxParser } from './parser.js';
export * from './position.js';
export { LtxReader, verifyLtx } from './reader.js';
export * from './source.js';
export { LtxStreamDecoder, type LtxStreamEvents } from './stream-decoder.js';
export type { LtxEnd, LtxSummary } from './summary.js';
