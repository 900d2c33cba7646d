import type { Checksum, Txid } from '../ltx/index.js';

/** One thing that is wrong in a store. */
export interface VerifyProblem {
  /** `VERIFY_CORRUPT`, `VERIFY_UNREADABLE`, `VERIFY_CHAIN`, `VERIFY_GAP`, `VERIFY_MANIFEST`. */
  readonly code: string;
  /** As in the store, e.g. `level 0, 0000000000000002-0000000000000005.ltx`; null if it is not one file's. */
  readonly file: string | null;
  readonly message: string;
  readonly hint: string;
}

export interface VerifyResult {
  readonly url: string;
  /** Those that were read, whole databases among them. */
  readonly files: number;
  readonly images: number;
  readonly readBytes: number;
  /** Where the files lead to that are right; 0 if nowhere. */
  readonly txid: Txid;
  /** Of the database there, from its pages; 0n if there is none. */
  readonly checksum: Checksum;
  /** When its last transaction was made, Unix milliseconds; 0 if there is none. */
  readonly timestampMs: number;
  readonly pageSize: number;
  readonly pageCount: number;
  /** Files that name no database checksum, as Litestream's: they were only compared with each other. */
  readonly unnamedFiles: number;
  /** Files that nothing leads to, so that only their own checksums could be checked. */
  readonly looseFiles: number;
  readonly problems: readonly VerifyProblem[];
  /** Of which at most 100 are described. */
  readonly problemCount: number;
  /** What is worth knowing, and not wrong. */
  readonly notes: readonly string[];
}
