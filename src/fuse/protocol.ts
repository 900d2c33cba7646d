/**
 * Numbers and struct offsets of the kernel's FUSE protocol, from Linux's include/uapi/linux/fuse.h (7.38; 7.39..7.41
 * add nothing to the structs used here). Little-endian machines only, as are all that Node.js runs this on.
 *
 * Request: `fuse_in_header`, then the opcode's own struct, then names or data.
 *
 *   0 u32 len   4 u32 opcode   8 u64 unique   16 u64 nodeid   24 u32 uid   28 u32 gid   32 u32 pid   36 u16 extlen
 *
 * Reply: `fuse_out_header`, then the opcode's own struct or data.
 *
 *   0 u32 len   4 i32 -errno   8 u64 unique
 */
export const KERNEL_VERSION = 7;
export const KERNEL_MINOR = 41;
/** Older kernels have shorter structs (7.23: INIT reply; 7.12: umask in CREATE) and are refused. */
export const MINOR_AT_LEAST = 31;

export const IN_HEADER = 40;
export const OUT_HEADER = 16;
/** High bit of the upper half of `unique`: sent again after FUSE_NOTIFY_RESEND. */
export const UNIQUE_RESEND_HIGH = 0x8000_0000;

export const ROOT_ID = 1;
/** The file that exists to wake the worker (see waker.ts). */
export const WAKE_ID = 2;
export const FIRST_ID = 3;

export const MAX_WRITE = 1 << 20;
export const MAX_PAGES = 256;
/** The kernel refuses a read (EINVAL) into a buffer smaller than max_write + 4096. */
export const REQUEST_BUFFER_BYTES = MAX_WRITE + 8192;
export const REPLY_BUFFER_BYTES = MAX_WRITE + 4096;
export const MAX_NAME_BYTES = 255;

export const FUSE_LOOKUP = 1;
export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_READLINK = 5;
export const FUSE_SYMLINK = 6;
export const FUSE_MKNOD = 8;
export const FUSE_MKDIR = 9;
export const FUSE_UNLINK = 10;
export const FUSE_RMDIR = 11;
export const FUSE_RENAME = 12;
export const FUSE_LINK = 13;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_FSYNC = 20;
export const FUSE_SETXATTR = 21;
export const FUSE_GETXATTR = 22;
export const FUSE_LISTXATTR = 23;
export const FUSE_REMOVEXATTR = 24;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_OPENDIR = 27;
export const FUSE_READDIR = 28;
export const FUSE_RELEASEDIR = 29;
export const FUSE_FSYNCDIR = 30;
export const FUSE_GETLK = 31;
export const FUSE_SETLK = 32;
export const FUSE_SETLKW = 33;
export const FUSE_ACCESS = 34;
export const FUSE_CREATE = 35;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_NOTIFY_REPLY = 41;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;
export const FUSE_RENAME2 = 45;

/** Smallest body of each opcode's request, without names; what is not listed has none. */
const MIN_BODY = new Uint8Array(64);
for (const [opcode, bytes] of [
  [FUSE_FORGET, 8],
  [FUSE_GETATTR, 16],
  [FUSE_SETATTR, 88],
  [FUSE_MKNOD, 16],
  [FUSE_MKDIR, 8],
  [FUSE_RENAME, 8],
  [FUSE_LINK, 8],
  [FUSE_OPEN, 8],
  [FUSE_READ, 40],
  [FUSE_WRITE, 40],
  [FUSE_RELEASE, 24],
  [FUSE_FSYNC, 16],
  [FUSE_FLUSH, 24],
  [FUSE_INIT, 16],
  [FUSE_OPENDIR, 8],
  [FUSE_READDIR, 40],
  [FUSE_RELEASEDIR, 24],
  [FUSE_FSYNCDIR, 16],
  [FUSE_GETLK, 48],
  [FUSE_SETLK, 48],
  [FUSE_SETLKW, 48],
  [FUSE_CREATE, 16],
  [FUSE_INTERRUPT, 8],
  [FUSE_BATCH_FORGET, 8],
  [FUSE_FALLOCATE, 32],
  [FUSE_RENAME2, 16],
] as const) {
  MIN_BODY[opcode] = bytes;
}

/** Bytes that a request with this opcode must have after its header; 0 for an unknown one. */
export function minBody(opcode: number): number {
  return opcode < MIN_BODY.length ? MIN_BODY[opcode]! : 0;
}

/** For status pages and benchmarks. */
export const OPCODE_NAMES: ReadonlyMap<number, string> = new Map([
  [FUSE_LOOKUP, 'LOOKUP'],
  [FUSE_FORGET, 'FORGET'],
  [FUSE_GETATTR, 'GETATTR'],
  [FUSE_SETATTR, 'SETATTR'],
  [FUSE_MKNOD, 'MKNOD'],
  [FUSE_MKDIR, 'MKDIR'],
  [FUSE_UNLINK, 'UNLINK'],
  [FUSE_RMDIR, 'RMDIR'],
  [FUSE_RENAME, 'RENAME'],
  [FUSE_OPEN, 'OPEN'],
  [FUSE_READ, 'READ'],
  [FUSE_WRITE, 'WRITE'],
  [FUSE_STATFS, 'STATFS'],
  [FUSE_RELEASE, 'RELEASE'],
  [FUSE_FSYNC, 'FSYNC'],
  [FUSE_GETXATTR, 'GETXATTR'],
  [FUSE_FLUSH, 'FLUSH'],
  [FUSE_INIT, 'INIT'],
  [FUSE_OPENDIR, 'OPENDIR'],
  [FUSE_READDIR, 'READDIR'],
  [FUSE_RELEASEDIR, 'RELEASEDIR'],
  [FUSE_FSYNCDIR, 'FSYNCDIR'],
  [FUSE_GETLK, 'GETLK'],
  [FUSE_SETLK, 'SETLK'],
  [FUSE_SETLKW, 'SETLKW'],
  [FUSE_CREATE, 'CREATE'],
  [FUSE_INTERRUPT, 'INTERRUPT'],
  [FUSE_NOTIFY_REPLY, 'NOTIFY_REPLY'],
  [FUSE_BATCH_FORGET, 'BATCH_FORGET'],
  [FUSE_FALLOCATE, 'FALLOCATE'],
  [FUSE_RENAME2, 'RENAME2'],
]);

// INIT flags (flags, and flags2 from bit 32 on).
export const ASYNC_READ = 1 << 0;
export const POSIX_LOCKS = 1 << 1;
export const ATOMIC_O_TRUNC = 1 << 3;
export const BIG_WRITES = 1 << 5;
export const PARALLEL_DIROPS = 1 << 18;
export const MAX_PAGES_FLAG = 1 << 22;
export const NO_OPENDIR_SUPPORT = 1 << 24;
export const EXPLICIT_INVAL_DATA = 1 << 25;
export const INIT_EXT = 1 << 30;
/** flags2 */
/** In the second word of flags, like HAS_RESEND. */
export const PASSTHROUGH = 1 << 5;
export const HAS_RESEND = 1 << 7;

// Open reply flags.
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_NOFLUSH = 1 << 5;
export const FOPEN_PASSTHROUGH = 1 << 7;

export const FSYNC_FDATASYNC = 1;
export const LK_FLOCK = 1;

// SETATTR's `valid`.
export const FATTR_MODE = 1 << 0;
export const FATTR_UID = 1 << 1;
export const FATTR_GID = 1 << 2;
export const FATTR_SIZE = 1 << 3;
export const FATTR_ATIME = 1 << 4;
export const FATTR_MTIME = 1 << 5;
export const FATTR_ATIME_NOW = 1 << 7;
export const FATTR_MTIME_NOW = 1 << 8;

// Notifications: the daemon writes a reply header with unique 0 and the code in place of the error.
export const NOTIFY_RETRIEVE = 5;
export const NOTIFY_RESEND = 7;

// Linux numbers that the requests carry.
export const O_ACCMODE = 3;
export const O_EXCL = 0x80;
export const O_TRUNC = 0x200;
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o10;
export const RENAME_NOREPLACE = 1;
