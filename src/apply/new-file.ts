import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  rmdirSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { makeFolders, takeAfterFolder } from '../after-folder.js';
import { errorCode, SluiceError } from '../errors.js';
import { syncPath } from '../sync-path.js';
import { ExclusiveUpgrade } from './exclusive-upgrade.js';
import { unlinkIfThere } from './files.js';
import type { LtxFile } from './ltx-file.js';
import { writePages } from './page-writer.js';
import type { Turn } from './turn.js';

const sync = promisify(fsync);

/** What SQLite keeps beside a database. Stale ones would be taken for the new file's. */
const COMPANIONS = ['-journal', '-wal', '-shm'];

const INCOMING = '.sluice-incoming-';
const NAME_MAX_BYTES = 255;

/** Where a new database is written before it gets its name. */
export function incomingPath(path: string): string {
  const name = INCOMING + basename(path);
  const fits = Buffer.byteLength(name) <= NAME_MAX_BYTES;
  return join(dirname(path), fits ? name : INCOMING + createHash('sha256').update(name).digest('hex'));
}

/** Writes a whole database under a temporary name, syncs it and renames it to `path`. Nobody may have `path` open here. */
export async function createDatabase(path: string, ltx: LtxFile, turn: Turn): Promise<void> {
  const incoming = incomingPath(path);
  makeFolders(dirname(path));
  const fd = openSync(incoming, 'w');
  try {
    takeAfterFolder(incoming);
    await writePages(fd, ltx.pages(), turn, true);
    // Neither the lock page nor pages of zeros were written; at the end of the file they must be there all the same.
    ftruncateSync(fd, ltx.header.commit * ltx.header.pageSize);
    await sync(fd);
  } catch (error) {
    closeSync(fd);
    unlinkIfThere(incoming);
    throw error;
  }
  closeSync(fd);
  removeCompanions(path);
  renameSync(incoming, path);
}

/**
 * The same where applications may make one of that name at any moment: the file gets its name first, empty, and its content
 * under all of SQLite's locks. Throws `APPLY_EXISTS` if there is something.
 */
export async function createBesideOthers(path: string, ltx: LtxFile, turn: Turn): Promise<void> {
  makeFolders(dirname(path));
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT);
  try {
    const isFree = ExclusiveUpgrade.of(fd).takeAll() && fstatSync(fd).size === 0;
    if (!isFree) throw new SluiceError('APPLY_EXISTS', `${path} is there already`);
    takeAfterFolder(path);
    await writePages(fd, ltx.pages(), turn, true);
    ftruncateSync(fd, ltx.header.commit * ltx.header.pageSize);
    await sync(fd);
    await syncPath(dirname(path));
  } finally {
    closeSync(fd);
  }
}

/**
 * Removes links in the place of the database `name` under `root` and of the folders above it: they are this node's own,
 * from a time as a primary, and would lead to another database.
 */
export function removeLinks(root: string, name: string): void {
  let path = root;
  for (const part of name.split('/')) {
    path = join(path, part);
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) unlinkIfThere(path);
  }
}

/**
 * Removes the database `name` under `root`, all that SQLite or a broken-off `createDatabase` left beside it, and the
 * folders that are empty now: the next database may have the name of one of them.
 */
export function removeDatabase(root: string, name: string): void {
  const path = join(root, name);
  unlinkIfThere(path);
  removeCompanions(path);
  unlinkIfThere(incomingPath(path));
  for (let folder = dirname(name); folder !== '.'; folder = dirname(folder)) {
    if (!removeIfEmpty(join(root, folder))) return;
  }
}

/** False if something is in the folder. */
function removeIfEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    if (code !== 'ENOENT') throw error;
  }
  return true;
}

function removeCompanions(path: string): void {
  for (const suffix of COMPANIONS) unlinkIfThere(path + suffix);
}
