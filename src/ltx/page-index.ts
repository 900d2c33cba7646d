import type { ByteSource } from './source.js';

/** Where each page's frame is in a file. */
export interface PageIndex {
  readonly pages: number;
  has(pgno: number): boolean;
  /** Ascending. */
  pgnos(): Iterable<number>;
}

export function readPageIndex(source: ByteSource): PageIndex {
  throw new Error(`not yet ${source}`);
}

/** Reads one page to `target`; false if the file does not have it. The file checksum is not looked at. */
export function readPageAt(source: ByteSource, index: PageIndex, pgno: number, target: Uint8Array): boolean {
  throw new Error(`not yet ${source} ${index} ${pgno} ${target}`);
}
