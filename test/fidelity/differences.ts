/** What the mount does otherwise than ext4, on purpose: everything else must be the same. docs/limits.md tells them. */
export interface Difference {
  /** Matches the beginnings of lines of fs-cases.py. */
  readonly where: RegExp;
  readonly reason: string;
}

export const DIFFERENCES: readonly Difference[] = [
  {
    where: /^link (from|to) /,
    reason: 'EPERM for a hard link: a file has one name, by which it is replicated if it is a database',
  },
  {
    where: /^(mkfifo|mknod device|mknod socket|bind) /,
    reason: 'EPERM for a pipe, a device or a socket: they would mean something on this node alone',
  },
  {
    where: /^rename (exchange|whiteout) /,
    reason: 'EINVAL for RENAME_EXCHANGE and RENAME_WHITEOUT: Node.js has no renameat2; programs then do without',
  },
  {
    where: /^(set|get|list|remove)xattr /,
    reason: 'ENOTSUP for extended attributes: Node.js has no calls for them, and a write would cost a request more',
  },
  {
    where: /^allocation_modes /,
    reason: 'EOPNOTSUPP for every mode of fallocate but 0: Node.js has no fallocate',
  },
  { where: /^no_name_at_all /, reason: 'EOPNOTSUPP for O_TMPFILE: FUSE had no request for it before 6.1' },
  {
    where: /^holes_are_found /,
    reason: 'SEEK_HOLE finds the end of the file only, as POSIX allows: Node.js has no lseek',
  },
  {
    where: /^times_to_the_nanosecond /,
    reason: 'times that a program sets are exact to a microsecond: Node.js carries them as floating-point numbers',
  },
  {
    where: /^deeper_than_a_path_may_be_long/,
    reason: 'ENAMETOOLONG where the path below the mount, with the data folder before it, has over 4,095 bytes',
  },
];
