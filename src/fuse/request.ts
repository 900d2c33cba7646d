import { EINVAL, ENAMETOOLONG } from './errno.js';
import { IN_HEADER, MAX_NAME_BYTES } from './protocol.js';

/** Fields of a request, read where they stand. All functions trust that the session checked `minBody` first. */

export const headerLength = (request: Buffer): number => request.readUInt32LE(0);
export const headerOpcode = (request: Buffer): number => request.readUInt32LE(4);
export const headerUniqueLow = (request: Buffer): number => request.readUInt32LE(8);
export const headerUniqueHigh = (request: Buffer): number => request.readUInt32LE(12);
export const headerNodeId = (request: Buffer): number => u64(request, 16);
export const headerUid = (request: Buffer): number => request.readUInt32LE(24);
export const headerGid = (request: Buffer): number => request.readUInt32LE(28);
/** The caller's thread id. */
export const headerPid = (request: Buffer): number => request.readUInt32LE(32);

/** FORGET: 40 u64 nlookup */
export const forgetCount = (request: Buffer): number => u64(request, 40);
/** BATCH_FORGET: 40 u32 count  44 u32; then count x { u64 nodeid, u64 nlookup } from 48 */
export const batchForgetCount = (request: Buffer): number => request.readUInt32LE(40);
export const batchForgetId = (request: Buffer, index: number): number => u64(request, 48 + 16 * index);
export const batchForgetLookups = (request: Buffer, index: number): number => u64(request, 56 + 16 * index);

/**
 * SETATTR: 40 u32 valid  48 u64 fh  56 u64 size  64 u64 lock_owner  72 u64 atime  80 u64 mtime  88 u64 ctime
 * 96 u32 atimensec  100 u32 mtimensec  104 u32 ctimensec  108 u32 mode  116 u32 uid  120 u32 gid
 */
export const setattrValid = (request: Buffer): number => request.readUInt32LE(40);
export const setattrSize = (request: Buffer): number => u64(request, 56);
/** Seconds, with a fraction. */
export const setattrAtime = (request: Buffer): number => i64(request, 72) + request.readUInt32LE(96) / 1e9;
export const setattrMtime = (request: Buffer): number => i64(request, 80) + request.readUInt32LE(100) / 1e9;
export const setattrMode = (request: Buffer): number => request.readUInt32LE(108);
export const setattrUid = (request: Buffer): number => request.readUInt32LE(116);
export const setattrGid = (request: Buffer): number => request.readUInt32LE(120);

/** MKNOD: 40 u32 mode  44 u32 rdev  48 u32 umask; name at 56 */
export const mknodMode = (request: Buffer): number => request.readUInt32LE(40);
export const MKNOD_NAME = 56;
/** MKDIR: 40 u32 mode  44 u32 umask; name at 48 */
export const mkdirMode = (request: Buffer): number => request.readUInt32LE(40);
export const MKDIR_NAME = 48;
/** LOOKUP, UNLINK, RMDIR: name at 40; SYMLINK: name at 40, then the target */
export const ONLY_NAME = 40;
/** RENAME: 40 u64 newdir; two names from 48 */
export const renameFolder = (request: Buffer): number => u64(request, 40);
export const RENAME_NAMES = 48;
/** RENAME2: 40 u64 newdir  48 u32 flags; two names from 56 */
export const rename2Flags = (request: Buffer): number => request.readUInt32LE(48);
export const RENAME2_NAMES = 56;

/** OPEN, OPENDIR: 40 u32 flags  44 u32 open_flags */
export const openFlags = (request: Buffer): number => request.readUInt32LE(40);
/** CREATE: 40 u32 flags  44 u32 mode  48 u32 umask  52 u32 open_flags; name at 56 */
export const createFlags = (request: Buffer): number => request.readUInt32LE(40);
export const createMode = (request: Buffer): number => request.readUInt32LE(44);
export const CREATE_NAME = 56;
/** RELEASE: 40 u64 fh  48 u32 flags  52 u32 release_flags  56 u64 lock_owner */
export const releaseHandle = (request: Buffer): number => u64(request, 40);
export const releaseFlags = (request: Buffer): number => request.readUInt32LE(48);
/** FLUSH: 40 u64 fh  48 u32 unused  56 u64 lock_owner */
export const flushOwnerLow = (request: Buffer): number => request.readUInt32LE(56);
export const flushOwnerHigh = (request: Buffer): number => request.readUInt32LE(60);

/** READ, READDIR: 40 u64 fh  48 u64 offset  56 u32 size  60 u32 read_flags  64 u64 lock_owner  72 u32 flags */
export const readOffset = (request: Buffer): number => u64(request, 48);
export const readSize = (request: Buffer): number => request.readUInt32LE(56);
/** WRITE: 40 u64 fh  48 u64 offset  56 u32 size  60 u32 write_flags  64 u64 lock_owner  72 u32 flags; data at 80 */
export const writeOffset = (request: Buffer): number => u64(request, 48);
export const writeSize = (request: Buffer): number => request.readUInt32LE(56);
export const WRITE_DATA = 80;

/** FSYNC, FSYNCDIR: 40 u64 fh  48 u32 fsync_flags */
export const fsyncFlags = (request: Buffer): number => request.readUInt32LE(48);
/** FALLOCATE: 40 u64 fh  48 u64 offset  56 u64 length  64 u32 mode */
export const fallocateOffset = (request: Buffer): number => u64(request, 48);
export const fallocateLength = (request: Buffer): number => u64(request, 56);
export const fallocateMode = (request: Buffer): number => request.readUInt32LE(64);

/** GETLK, SETLK, SETLKW: 40 u64 fh  48 u64 owner  56 u64 start  64 u64 end  72 u32 type  76 u32 pid  80 u32 lk_flags */
export const lkHandle = (request: Buffer): number => u64(request, 40);
export const lkOwnerLow = (request: Buffer): number => request.readUInt32LE(48);
export const lkOwnerHigh = (request: Buffer): number => request.readUInt32LE(52);
export const lkStart = (request: Buffer): number => u64(request, 56);
/** Inclusive; the kernel's "to the end" (2^63 - 1) becomes Number.MAX_SAFE_INTEGER. */
export const lkEnd = (request: Buffer): number => Math.min(u64(request, 64), Number.MAX_SAFE_INTEGER);
export const lkType = (request: Buffer): number => request.readUInt32LE(72);
export const lkPid = (request: Buffer): number => request.readUInt32LE(76);
export const lkFlags = (request: Buffer): number => request.readUInt32LE(80);

/** INTERRUPT: 40 u64 unique of the request meant */
export const interruptLow = (request: Buffer): number => request.readUInt32LE(40);
export const interruptHigh = (request: Buffer): number => request.readUInt32LE(44);

/** INIT: 40 u32 major  44 u32 minor  48 u32 max_readahead  52 u32 flags  56 u32 flags2 (if INIT_EXT) */
export const initMajor = (request: Buffer): number => request.readUInt32LE(40);
export const initMinor = (request: Buffer): number => request.readUInt32LE(44);
export const initReadahead = (request: Buffer): number => request.readUInt32LE(48);
export const initFlags = (request: Buffer): number => request.readUInt32LE(52);
export const initFlags2 = (request: Buffer, length: number): number =>
  length >= IN_HEADER + 20 ? request.readUInt32LE(56) : 0;

/** The byte after the name that starts at `start`, which is its NUL; -1 if there is none before `end`. */
export function nameEnd(request: Buffer, start: number, end: number): number {
  const at = request.indexOf(0, start);
  return at < 0 || at >= end ? -1 : at;
}

/** Whether the name from `start` to its NUL at `end` may be a file's here: 0, or the errno to answer. */
export function checkName(request: Buffer, start: number, end: number): number {
  const length = end - start;
  if (length <= 0) return EINVAL;
  if (length > MAX_NAME_BYTES) return ENAMETOOLONG;
  if (request[start] === DOT && (length === 1 || (length === 2 && request[start + 1] === DOT))) return EINVAL;
  for (let at = start; at < end; at++) if (request[at] === SLASH) return EINVAL;
  return 0;
}

const DOT = 0x2e;
const SLASH = 0x2f;

/** Exact up to 2^53; above, near enough to be refused. */
function u64(request: Buffer, at: number): number {
  return request.readUInt32LE(at) + request.readUInt32LE(at + 4) * 0x1_0000_0000;
}

function i64(request: Buffer, at: number): number {
  return request.readUInt32LE(at) + request.readInt32LE(at + 4) * 0x1_0000_0000;
}
