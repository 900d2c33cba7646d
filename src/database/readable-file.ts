import { constants, fstatSync } from 'node:fs';
import { closeSync, openSync } from '../disk/index.js';
import { errorCode } from '../errors.js';

/** Not by way of a link, which may lead through the node's own mount; a pipe that nobody writes is no reason to wait. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A descriptor to read a regular file by, which the caller closes; undefined if there is none, or it may not be opened. */
export function openToRead(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, FLAGS);
  } catch {
    return undefined;
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return undefined;
}

/** Errors that say nothing of the file. */
const OF_THE_MACHINE = new Set(['EIO', 'EMFILE', 'ENFILE', 'ENOMEM']);

/**
 * Throws if one of a database's files cannot be opened now, though it may be there: what is decided without it would be
 * wrong, like that there is no WAL.
 */
export function mustBeReadable(databasePath: string): void {
  for (const suffix of ['', '-wal', '-journal']) {
    try {
      closeSync(openSync(databasePath + suffix, FLAGS));
    } catch (error) {
      if (OF_THE_MACHINE.has(errorCode(error) ?? '')) throw error;
    }
  }
}
