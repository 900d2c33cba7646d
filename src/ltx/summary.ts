import type { LtxHeader } from './header.js';
import type { Checksum } from './position.js';

/** What a file says of the database after it. */
export type LtxEnd = Pick<LtxSummary, 'postApply' | 'standardPostApply'>;

/** What is known of an LTX file after it was written, or read and found whole. */
export interface LtxSummary {
  readonly header: LtxHeader;
  /** Page frames in it. */
  readonly pages: number;
  readonly sizeBytes: number;
  readonly fileChecksum: Checksum;
  /** Database checksum afterwards; 0n if unknown. */
  readonly postApply: Checksum;
  /** Of a file without flag 0x2: the format's own checksum afterwards. Of a snapshot its pages were found to have it. */
  readonly standardPostApply?: Checksum;
}
