/** The Linux errno numbers that this folder answers with by its own decision. */
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const EACCES = 13;
export const EEXIST = 17;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const EFBIG = 27;
export const EROFS = 30;
export const ENAMETOOLONG = 36;
export const ENOLCK = 37;
export const ENOSYS = 38;
export const EILSEQ = 84;
export const EOPNOTSUPP = 95;
export const ESTALE = 116;

/** The largest errno that Linux defines (EHWPOISON). The kernel takes a larger one as a protocol error. */
const MAX_ERRNO = 133;

/**
 * The errno of what a `fs` call threw, positive. Node.js carries the system's own number; what has none (a bad
 * argument, a bug) is EIO.
 */
export function errnoOf(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('errno' in error)) return EIO;
  const { errno } = error;
  if (typeof errno !== 'number' || !Number.isInteger(errno)) return EIO;
  return errno < 0 && errno >= -MAX_ERRNO ? -errno : EIO;
}

/** Whether `errnoOf` found a system error rather than a mistake of this program. */
export function isSystemError(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'errno' in error && typeof error.errno === 'number';
}

/** What a file that has neither a name nor kept data answers, in the shape of a system error. */
export class Stale extends Error {
  readonly code = 'ESTALE';
  readonly errno = -ESTALE;

  constructor() {
    super('ESTALE: the file is gone');
  }
}
