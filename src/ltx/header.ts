import { LtxError } from './errors.js';
import { CHECKSUM_FLAG, type Checksum, type Txid } from './position.js';

/** Bytes of an LTX header. */
export const HEADER_SIZE = 100;

/** The one header flag: no database checksum where the LTX format has them. Sluice always writes it. */
export const FLAG_NO_CHECKSUM = 0x2;

const MAGIC = 0x4c545831; // "LTX1"

/** What `pageChecksum` makes; an earlier Sluice wrote 0, for the XOR of CRCs. Others' checksums count as unknown. */
const CHECKSUM_KIND = 1;
const PENDING_BYTE = 0x40000000;

/** Where the pages were in the WAL, as Litestream notes it. */
export interface LtxWalRange {
  readonly offset: number;
  readonly size: number;
  readonly salt1: number;
  readonly salt2: number;
}

/**
 * The header of an LTX file.
 *
 * ```
 *  0 "LTX1"      16 u64 min TXID    40 u64 pre-apply        64 u32 WAL salt 1   80 u64 Sluice's pre-apply
 *  4 u32 flags   24 u64 max TXID    48 i64 WAL offset       68 u32 WAL salt 2   88 u64 Sluice's post-apply
 *  8 u32 page    32 i64 Unix ms     56 i64 WAL size         72 u64 node id      96 u32 kind of these
 * 12 u32 commit
 * ```
 */
export interface LtxHeader {
  /** Bytes, a power of two, 512..65536. */
  readonly pageSize: number;
  /** Pages of the database afterwards. */
  readonly commit: number;
  /** First transaction in the file; 1 makes it a snapshot: all pages, 1..commit. */
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly timestampMs: number;
  /** Database checksum before; 0n if unknown or for a snapshot. */
  readonly preApply: Checksum;
  /** Database checksum afterwards; 0n if unknown. */
  readonly postApply: Checksum;
  /** As read, of a file without flag 0x2: what bytes 40..47 say, the format's own checksum before. Nothing goes by it. */
  readonly standardPreApply?: Checksum;
  readonly wal?: LtxWalRange | undefined;
  /** Left out if unset. */
  readonly nodeId?: bigint;
  /** As read. Writing ignores it and sets FLAG_NO_CHECKSUM. */
  readonly flags?: number;
}

/** The page that holds SQLite's lock bytes and is never in an LTX file. */
export function lockPage(pageSize: number): number {
  return PENDING_BYTE / pageSize + 1;
}

export function isPageSize(pageSize: number): boolean {
  return pageSize >= 512 && pageSize <= 65536 && Number.isInteger(Math.log2(pageSize));
}

/** True if the file has the whole database in it. */
export function isSnapshot(header: LtxHeader): boolean {
  return header.minTxid === 1;
}

/** How many pages a snapshot of `commit` pages has in it: all but the lock page. */
export function snapshotPages(pageSize: number, commit: number): number {
  return commit >= lockPage(pageSize) ? commit - 1 : commit;
}

/** Reads and checks a header from the first 100 bytes. Throws `LTX_TRUNCATED`, `LTX_MAGIC`, `LTX_HEADER`. */
export function decodeHeader(bytes: Uint8Array): LtxHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 4 && view.getUint32(0) !== MAGIC) throw new LtxError('LTX_MAGIC', 'not an LTX file');
  if (bytes.length < HEADER_SIZE)
    throw new LtxError('LTX_TRUNCATED', `LTX header is cut: ${bytes.length} of 100 bytes`);
  const flags = view.getUint32(4);
  if ((flags & ~FLAG_NO_CHECKSUM) !== 0) throw bad(`unknown flags 0x${flags.toString(16)}`);
  const standardPreApply = view.getBigUint64(40);
  const own = flags === FLAG_NO_CHECKSUM;
  const known = own && view.getUint32(96) === CHECKSUM_KIND;
  if (own && standardPreApply !== 0n) throw bad('pre-apply checksum in spite of flag 0x2');
  const wal = {
    offset: safeInteger(view, 48, 'WAL offset'),
    size: safeInteger(view, 56, 'WAL size'),
    salt1: view.getUint32(64),
    salt2: view.getUint32(68),
  };
  const nodeId = view.getBigUint64(72);
  const header: LtxHeader = {
    pageSize: view.getUint32(8),
    commit: view.getUint32(12),
    minTxid: safeInteger(view, 16, 'min TXID'),
    maxTxid: safeInteger(view, 24, 'max TXID'),
    timestampMs: safeInteger(view, 32, 'timestamp'),
    preApply: known ? view.getBigUint64(80) : 0n,
    postApply: known ? view.getBigUint64(88) : 0n,
    flags,
    ...(own ? {} : { standardPreApply }),
    ...(wal.offset !== 0 || wal.size !== 0 || wal.salt1 !== 0 || wal.salt2 !== 0 ? { wal } : {}),
    ...(nodeId !== 0n ? { nodeId } : {}),
  };
  checkHeader(header);
  if (!own) checkStandard(standardPreApply, header.minTxid);
  return header;
}

/** Writes the header as Sluice does, with flag 0x2, to the first 100 bytes of `view`. Throws `LTX_HEADER`. */
export function encodeHeader(header: LtxHeader, view: DataView): void {
  checkHeader(header);
  view.setUint32(0, MAGIC);
  view.setUint32(4, FLAG_NO_CHECKSUM);
  view.setUint32(8, header.pageSize);
  view.setUint32(12, header.commit);
  setInteger(view, 16, header.minTxid);
  setInteger(view, 24, header.maxTxid);
  setInteger(view, 32, header.timestampMs);
  setInteger(view, 40, 0);
  setInteger(view, 48, header.wal?.offset ?? 0);
  setInteger(view, 56, header.wal?.size ?? 0);
  view.setUint32(64, header.wal?.salt1 ?? 0);
  view.setUint32(68, header.wal?.salt2 ?? 0);
  view.setBigUint64(72, header.nodeId ?? 0n);
  view.setBigUint64(80, header.preApply);
  view.setBigUint64(88, header.postApply);
  view.setUint32(96, CHECKSUM_KIND);
}

/** As `ltx verify` has it. */
function checkStandard(preApply: Checksum, minTxid: Txid): void {
  if (minTxid === 1 && preApply !== 0n) throw bad('pre-apply checksum on a snapshot');
  if (minTxid !== 1 && preApply === 0n) throw bad('pre-apply checksum is missing');
  if (preApply !== 0n && preApply < CHECKSUM_FLAG) throw bad('malformed pre-apply checksum');
}

/** The rules that hold for reading and for writing. */
function checkHeader(header: LtxHeader): void {
  const { pageSize, commit, minTxid, maxTxid, timestampMs, preApply, postApply, wal } = header;
  if (!isPageSize(pageSize)) throw bad(`invalid page size ${pageSize}`);
  if (!(Number.isInteger(commit) && commit >= 0 && commit <= 0xffffffff)) throw bad(`invalid commit ${commit}`);
  if (!Number.isSafeInteger(minTxid) || !Number.isSafeInteger(maxTxid) || minTxid < 1 || maxTxid < minTxid) {
    throw bad(`invalid TXID range ${minTxid}-${maxTxid}`);
  }
  if (!Number.isSafeInteger(timestampMs)) throw bad(`invalid timestamp ${timestampMs}`);
  if (minTxid === 1 && preApply !== 0n) throw bad('pre-apply checksum on a snapshot');
  if (preApply !== 0n && preApply < CHECKSUM_FLAG) throw bad('malformed pre-apply checksum');
  if (postApply !== 0n && postApply < CHECKSUM_FLAG) throw bad('malformed post-apply checksum');
  if (wal !== undefined && (wal.offset < 0 || wal.size < 0)) throw bad('negative WAL offset or size');
  if (wal !== undefined && wal.offset === 0 && (wal.size !== 0 || wal.salt1 !== 0 || wal.salt2 !== 0)) {
    throw bad('WAL size or salt without an offset');
  }
}

function bad(what: string): LtxError {
  return new LtxError('LTX_HEADER', `bad LTX header: ${what}`);
}

/** A 64-bit integer that fits a number; nothing real is larger. */
function safeInteger(view: DataView, offset: number, name: string): number {
  const value = view.getInt32(offset) * 0x100000000 + view.getUint32(offset + 4);
  if (!Number.isSafeInteger(value)) throw bad(`${name} out of range`);
  return value;
}

function setInteger(view: DataView, offset: number, value: number): void {
  view.setInt32(offset, Math.floor(value / 0x100000000));
  view.setUint32(offset + 4, value >>> 0);
}
