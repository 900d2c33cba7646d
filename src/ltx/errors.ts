import { SluiceError } from '../errors.js';

/**
 * What can be wrong with LTX bytes, or with what someone asks of an encoder or a compaction:
 * - `LTX_MAGIC`: not an LTX file
 * - `LTX_HEADER`: a header field breaks its rule
 * - `LTX_TRUNCATED`: the bytes end too early
 * - `LTX_PAGE`: a page frame breaks its rule (number, order, flags, size, compressed data, snapshot not whole)
 * - `LTX_INDEX`: the page index does not describe the pages
 * - `LTX_TRAILER`: a trailer field breaks its rule, or bytes follow it
 * - `LTX_CHECKSUM`: the file checksum is another
 * - `LTX_DATABASE_CHECKSUM`: the pages of a snapshot do not add up to its post-apply checksum
 * - `LTX_GAP`, `LTX_PAGE_SIZE`, `LTX_CHAIN`: inputs of a compaction do not follow each other
 * - `LTX_STATE`: a reader or encoder used after its end
 */
export type LtxErrorCode =
  | 'LTX_MAGIC'
  | 'LTX_HEADER'
  | 'LTX_TRUNCATED'
  | 'LTX_PAGE'
  | 'LTX_INDEX'
  | 'LTX_TRAILER'
  | 'LTX_CHECKSUM'
  | 'LTX_DATABASE_CHECKSUM'
  | 'LTX_GAP'
  | 'LTX_PAGE_SIZE'
  | 'LTX_CHAIN'
  | 'LTX_STATE';

/** Bad LTX bytes, or a wrong use of an LTX reader or writer. */
export class LtxError extends SluiceError {
  override readonly name = 'LtxError';

  constructor(code: LtxErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, '', options);
  }
}
