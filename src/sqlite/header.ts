/** The first 100 bytes of a SQLite database file: https://www.sqlite.org/fileformat2.html#the_database_header */

export const HEADER_SIZE = 100;
export const MIN_PAGE_SIZE = 512;
export const MAX_PAGE_SIZE = 65536;

/** `writeVersion` and `readVersion` of a database in a rollback mode, and of one in WAL mode. */
export const ROLLBACK_FORMAT = 1;
export const WAL_FORMAT = 2;

const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');

export interface DatabaseHeader {
  /** Bytes. */
  readonly pageSize: number;
  /** Bytes 18 and 19: 1 for a rollback journal, 2 for WAL. */
  readonly writeVersion: number;
  readonly readVersion: number;
  readonly changeCounter: number;
  /** Bytes 28..31; only right when `versionValidFor` equals `changeCounter`. */
  readonly pageCount: number;
  readonly versionValidFor: number;
}

export function isPageSize(value: number): boolean {
  return value >= MIN_PAGE_SIZE && value <= MAX_PAGE_SIZE && (value & (value - 1)) === 0;
}

/** Whether the bytes at `start` begin like a SQLite database. */
export function hasDatabaseMagic(bytes: Uint8Array, start = 0): boolean {
  if (bytes.length - start < MAGIC.length) return false;
  for (let i = 0; i < MAGIC.length; i++) if (bytes[start + i] !== MAGIC[i]) return false;
  return true;
}

/** The header at the start of page 1, or undefined if this is not one. */
export function parseDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < HEADER_SIZE || !hasDatabaseMagic(bytes)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_SIZE);
  const stored = view.getUint16(16);
  const pageSize = stored === 1 ? MAX_PAGE_SIZE : stored;
  if (!isPageSize(pageSize)) return undefined;
  return {
    pageSize,
    writeVersion: view.getUint8(18),
    readVersion: view.getUint8(19),
    changeCounter: view.getUint32(24),
    pageCount: view.getUint32(28),
    versionValidFor: view.getUint32(92),
  };
}

/** In page 1, as SQLite raises it with each transaction in a rollback mode. */
export function setChangeCounter(pageOne: Buffer, counter: number): void {
  pageOne.writeUInt32BE(counter, 24);
  pageOne.writeUInt32BE(counter, 92);
}

/** Pages of a database file of `fileSizeBytes`, as SQLite counts them: the header's figure where it is valid. */
export function databasePageCount(header: DatabaseHeader, fileSizeBytes: number): number {
  if (header.pageCount > 0 && header.changeCounter === header.versionValidFor) return header.pageCount;
  return Math.floor(fileSizeBytes / header.pageSize);
}
