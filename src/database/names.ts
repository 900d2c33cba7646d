import { SluiceError } from '../errors.js';
import { isUnicode } from '../fuse/index.js';
import { companionOf } from '../sqlite/index.js';

const PATH_MAX_BYTES = 1024;
const PART_MAX_BYTES = 255;

/** Throws `DATABASE_NAME` unless `name` is a path below the mount that a database may have: nothing may lead out of it. */
export function checkName(name: string): void {
  const bad = (why: string) =>
    new SluiceError('DATABASE_NAME', `${JSON.stringify(name.slice(0, 80))} is no name for a database: ${why}`);
  if (name === '' || Buffer.byteLength(name) > PATH_MAX_BYTES) throw bad(`1 to ${PATH_MAX_BYTES} bytes`);
  if (name.includes('\0')) throw bad('it has a NUL byte');
  if (!isUnicode(name)) throw bad('it is not UTF-8');
  for (const part of name.split('/')) {
    if (part === '' || part === '.' || part === '..') throw bad('an empty, "." or ".." part');
    if (Buffer.byteLength(part) > PART_MAX_BYTES) throw bad(`a part of over ${PART_MAX_BYTES} bytes`);
    if (part.startsWith('.sluice-')) throw bad('names that begin with .sluice- are reserved');
  }
  if (companionOf(name) !== undefined) throw bad('SQLite uses that suffix for files beside databases');
}

/** What `checkName` would throw; undefined if it is a name. */
export function nameProblem(name: string): SluiceError | undefined {
  try {
    checkName(name);
    return undefined;
  } catch (error) {
    if (error instanceof SluiceError) return error;
    throw error;
  }
}
