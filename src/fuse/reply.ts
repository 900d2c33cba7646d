import { OUT_HEADER } from './protocol.js';

/** Writers of reply structs, at their place behind the header. All return the bytes of the body. */

/** What a reply says of a file. `fs.Stats` is one. Times in milliseconds with a fraction. */
export interface Attributes {
  readonly size: number;
  readonly blocks: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly blksize: number;
}

export const ENTRY_BYTES = 128;
export const OPEN_BYTES = 16;

/** 0 u32 len  4 i32 -errno  8 u64 unique */
export function writeHeader(
  out: Buffer,
  bodyBytes: number,
  errno: number,
  uniqueLow: number,
  uniqueHigh: number,
): void {
  out.writeUInt32LE(OUT_HEADER + bodyBytes, 0);
  out.writeInt32LE(-errno, 4);
  out.writeUInt32LE(uniqueLow, 8);
  out.writeUInt32LE(uniqueHigh, 12);
}

/**
 * fuse_attr at `at`: 0 u64 ino  8 u64 size  16 u64 blocks  24 u64 atime  32 u64 mtime  40 u64 ctime  48 u32 atimensec
 * 52 u32 mtimensec  56 u32 ctimensec  60 u32 mode  64 u32 nlink  68 u32 uid  72 u32 gid  76 u32 rdev  80 u32 blksize
 * 84 u32 flags
 */
function writeAttr(out: Buffer, at: number, id: number, a: Attributes, orphan: boolean): void {
  putU64(out, at, id);
  putU64(out, at + 8, a.size);
  putU64(out, at + 16, a.blocks);
  putTime(out, at + 24, at + 48, a.atimeMs);
  putTime(out, at + 32, at + 52, a.mtimeMs);
  putTime(out, at + 40, at + 56, a.ctimeMs);
  out.writeUInt32LE(a.mode, at + 60);
  out.writeUInt32LE(orphan ? 0 : a.nlink, at + 64);
  out.writeUInt32LE(a.uid, at + 68);
  out.writeUInt32LE(a.gid, at + 72);
  out.writeUInt32LE(a.rdev, at + 76);
  out.writeUInt32LE(a.blksize, at + 80);
  out.writeUInt32LE(0, at + 84);
}

/** fuse_attr_out: 0 u64 attr_valid  8 u32 attr_valid_nsec  12 u32; fuse_attr at 16 */
export function writeAttrOut(out: Buffer, timeoutS: number, id: number, a: Attributes, orphan: boolean): number {
  putU64(out, OUT_HEADER, timeoutS);
  putU64(out, OUT_HEADER + 8, 0);
  writeAttr(out, OUT_HEADER + 16, id, a, orphan);
  return 104;
}

/**
 * fuse_entry_out: 0 u64 nodeid  8 u64 generation  16 u64 entry_valid  24 u64 attr_valid  32 u32 entry_valid_nsec
 * 36 u32 attr_valid_nsec; fuse_attr at 40
 */
export function writeEntry(out: Buffer, timeoutS: number, id: number, a: Attributes): number {
  putU64(out, OUT_HEADER, id);
  putU64(out, OUT_HEADER + 8, 0);
  putU64(out, OUT_HEADER + 16, timeoutS);
  putU64(out, OUT_HEADER + 24, timeoutS);
  putU64(out, OUT_HEADER + 32, 0);
  writeAttr(out, OUT_HEADER + 40, id, a, false);
  return ENTRY_BYTES;
}

/** An entry with node id 0: the name does not exist, and the kernel need not ask again for `timeoutS`. */
export function writeNegativeEntry(out: Buffer, timeoutS: number): number {
  out.fill(0, OUT_HEADER, OUT_HEADER + ENTRY_BYTES);
  putU64(out, OUT_HEADER + 16, timeoutS);
  return ENTRY_BYTES;
}

/** The low half of the node id in an entry that was just written. */
export const entryId = (out: Buffer): number => out.readUInt32LE(OUT_HEADER);

/** fuse_open_out `at` bytes into the body: 0 u64 fh  8 u32 open_flags  12 i32 backing_id */
export function writeOpen(out: Buffer, at: number, handle: number, flags: number, backingId = 0): number {
  putU64(out, OUT_HEADER + at, handle);
  out.writeUInt32LE(flags, OUT_HEADER + at + 8);
  out.writeInt32LE(backingId, OUT_HEADER + at + 12);
  return at + OPEN_BYTES;
}

/** fuse_write_out: 0 u32 size  4 u32 */
export function writeWritten(out: Buffer, bytes: number): number {
  out.writeUInt32LE(bytes, OUT_HEADER);
  out.writeUInt32LE(0, OUT_HEADER + 4);
  return 8;
}

/** fuse_lk_out: 0 u64 start  8 u64 end  16 u32 type  20 u32 pid. An `end` of MAX_SAFE_INTEGER is the kernel's 2^63 - 1. */
export function writeLock(out: Buffer, start: number, end: number, type: number, pid: number): number {
  putU64(out, OUT_HEADER, start);
  if (end === Number.MAX_SAFE_INTEGER) {
    out.writeUInt32LE(0xffff_ffff, OUT_HEADER + 8);
    out.writeUInt32LE(0x7fff_ffff, OUT_HEADER + 12);
  } else {
    putU64(out, OUT_HEADER + 8, end);
  }
  out.writeUInt32LE(type, OUT_HEADER + 16);
  out.writeUInt32LE(pid, OUT_HEADER + 20);
  return 24;
}

/** What INIT settles. */
export interface InitReply {
  readonly major: number;
  readonly minor: number;
  readonly readaheadBytes: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWriteBytes: number;
  readonly timeGranularityNs: number;
  readonly maxPages: number;
  /** 0 unless PASSTHROUGH is among `flags2`. */
  readonly stackDepth: number;
}

/**
 * fuse_init_out: 0 u32 major  4 u32 minor  8 u32 max_readahead  12 u32 flags  16 u16 max_background
 * 18 u16 congestion_threshold  20 u32 max_write  24 u32 time_gran  28 u16 max_pages  30 u16 map_alignment
 * 32 u32 flags2  36 u32 x 7
 */
export function writeInit(out: Buffer, init: InitReply): number {
  out.fill(0, OUT_HEADER, OUT_HEADER + 64);
  out.writeUInt32LE(init.major, OUT_HEADER);
  out.writeUInt32LE(init.minor, OUT_HEADER + 4);
  out.writeUInt32LE(init.readaheadBytes, OUT_HEADER + 8);
  out.writeUInt32LE(init.flags >>> 0, OUT_HEADER + 12);
  out.writeUInt16LE(init.maxBackground, OUT_HEADER + 16);
  out.writeUInt16LE(init.congestionThreshold, OUT_HEADER + 18);
  out.writeUInt32LE(init.maxWriteBytes, OUT_HEADER + 20);
  out.writeUInt32LE(init.timeGranularityNs, OUT_HEADER + 24);
  out.writeUInt16LE(init.maxPages, OUT_HEADER + 28);
  out.writeUInt32LE(init.flags2 >>> 0, OUT_HEADER + 32);
  out.writeUInt32LE(init.stackDepth, OUT_HEADER + 36);
  return 64;
}

/** What STATFS tells. `fs.StatsFs` is one. */
export interface FileSystemAttributes {
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly bsize: number;
}

/**
 * fuse_statfs_out: 0 u64 blocks  8 u64 bfree  16 u64 bavail  24 u64 files  32 u64 ffree  40 u32 bsize  44 u32 namelen
 * 48 u32 frsize  52 u32 x 7
 */
export function writeStatfs(out: Buffer, s: FileSystemAttributes, nameBytes: number): number {
  out.fill(0, OUT_HEADER, OUT_HEADER + 80);
  putU64(out, OUT_HEADER, s.blocks);
  putU64(out, OUT_HEADER + 8, s.bfree);
  putU64(out, OUT_HEADER + 16, s.bavail);
  putU64(out, OUT_HEADER + 24, s.files);
  putU64(out, OUT_HEADER + 32, s.ffree);
  out.writeUInt32LE(s.bsize, OUT_HEADER + 40);
  out.writeUInt32LE(nameBytes, OUT_HEADER + 44);
  out.writeUInt32LE(s.bsize, OUT_HEADER + 48);
  return 80;
}

/**
 * One fuse_dirent at byte `at` of the body: 0 u64 ino  8 u64 off  16 u32 namelen  20 u32 type  24 name, padded to 8.
 * Returns the bytes after it, or -1 if it does not fit into `limit` bytes. `offset` is where the next READDIR goes on;
 * `type` is the file type's bits of a mode, shifted right by 12.
 */
export function writeDirent(
  out: Buffer,
  at: number,
  limit: number,
  id: number,
  offset: number,
  type: number,
  name: Buffer,
): number {
  const nameBytes = name.length;
  const bytes = (24 + nameBytes + 7) & ~7;
  if (at + bytes > limit) return -1;
  const start = OUT_HEADER + at;
  putU64(out, start, id);
  putU64(out, start + 8, offset);
  out.writeUInt32LE(nameBytes, start + 16);
  out.writeUInt32LE(type, start + 20);
  name.copy(out, start + 24);
  out.fill(0, start + 24 + nameBytes, start + bytes);
  return at + bytes;
}

function putU64(out: Buffer, at: number, value: number): void {
  const low = value % 0x1_0000_0000;
  out.writeUInt32LE(low, at);
  out.writeUInt32LE((value - low) / 0x1_0000_0000, at + 4);
}

function putTime(out: Buffer, secondsAt: number, nanosecondsAt: number, ms: number): void {
  let seconds = Math.floor(ms / 1000);
  // A number holds a time of today to a quarter of a microsecond: the nearest whole one is what was set.
  let microseconds = Math.round((ms - seconds * 1000) * 1000);
  if (microseconds === 1_000_000) {
    microseconds = 0;
    seconds++;
  }
  out.writeInt32LE(seconds | 0, secondsAt);
  out.writeInt32LE(Math.floor(seconds / 0x1_0000_0000), secondsAt + 4);
  out.writeUInt32LE(microseconds * 1000, nanosecondsAt);
}
