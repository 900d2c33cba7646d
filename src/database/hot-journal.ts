import { fstatSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  bySqlite,
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  unlinkSync,
} from '../disk/index.js';
import { errorCode } from '../errors.js';
import {
  byExactPath,
  isSuperJournalName,
  SUPER_NOTE_MAX,
  type SuperJournalNote,
  superJournalNote,
} from '../sqlite/index.js';
import { syncFolder } from './durable-file.js';
import { entriesOf } from './folder-scan.js';
import { hasHotJournal } from './page-images.js';

/** Folders below folders are looked into this deep. */
const MAX_DEPTH = 32;

/** SQLite attaches 125 databases at most, whose journals' names a super-journal lists. */
const MAX_SUPER_JOURNAL_BYTES = 128 * 1024;

/** Where the databases' files are, and where applications see them. */
export interface MountPlace {
  readonly files: string;
  /** Nothing below it may be touched during recovery: the mount does not answer yet. */
  readonly mountPath: string;
}

/** `left`: only an application can tell what becomes of it. */
export type JournalEnd = 'none' | 'ended' | 'left';

/**
 * Ends the transaction of a database whose writer died, before anyone opens the mount: SQLite itself rolls it back.
 *
 * A journal that is one of several, for a transaction over attached databases, is rolled back while their super-journal
 * is there; once that is gone the transaction is committed and the journal void. Its name is a path below the mount, so
 * SQLite must not look for it there: it is looked for among the files behind, by its last part, which is random, so that
 * it is found also if the mount has another path now.
 */
export async function endHotJournal(path: string, place: MountPlace): Promise<JournalEnd> {
  if (!hasHotJournal(path)) return 'none';
  const journal = `${path}-journal`;
  const note = readNote(journal);
  if (note === undefined) {
    await rollBack(path);
    return 'ended';
  }
  const found = findFile(place.files, basename(note.name));
  if (found !== undefined) {
    withoutNote(journal, note);
    await rollBack(path);
    removeUnneeded(found, place);
    return 'ended';
  }
  // It stood beside a database that is not under the mount: what is there may not be seen from here.
  if (!isBelow(place.mountPath, note.name)) return 'left';
  unlinkSync(journal);
  syncFolder(dirname(journal));
  return 'ended';
}

/** Lets SQLite roll back: it does so before it reads anything. */
async function rollBack(path: string): Promise<void> {
  const { default: Sqlite } = await import('better-sqlite3');
  bySqlite(path, () => {
    const db = byExactPath(path, (exact) => new Sqlite(exact));
    try {
      db.pragma('schema_version');
    } catch (error) {
      // What is left is no database: whoever looks next says so.
      if (errorCode(error) !== 'SQLITE_NOTADB') throw error;
    } finally {
      db.close();
    }
  });
}

function readNote(journal: string): SuperJournalNote | undefined {
  const fd = openSync(journal, 'r');
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, SUPER_NOTE_MAX));
    const read = readSync(fd, tail, 0, tail.length, size - tail.length);
    return superJournalNote(tail.subarray(0, read));
  } finally {
    closeSync(fd);
  }
}

/** Makes a journal that is to be rolled back one that stands for itself. */
function withoutNote(journal: string, note: SuperJournalNote): void {
  const fd = openSync(journal, 'r+');
  try {
    ftruncateSync(fd, fstatSync(fd).size - note.size);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Removes a super-journal once no journal refers to it; one that names a journal elsewhere is left to that one's opener.
 * The name came from a journal, which any application may write: what is no super-journal stays, whatever is in it.
 */
function removeUnneeded(superJournal: string, place: MountPlace): void {
  const name = basename(superJournal);
  if (!isSuperJournalName(name) || statSync(superJournal).size > MAX_SUPER_JOURNAL_BYTES) return;
  for (const journal of readFileSync(superJournal, 'utf8').split('\0')) {
    if (journal === '') continue;
    if (!isBelow(place.mountPath, journal)) return;
    const found = findFile(place.files, basename(journal), (path) => {
      const note = readNote(path);
      return note !== undefined && basename(note.name) === name;
    });
    if (found !== undefined) return;
  }
  unlinkSync(superJournal);
}

function isBelow(folder: string, path: string): boolean {
  if (path.startsWith(`${folder}/`)) return true;
  try {
    // SQLite resolves links in the paths that it opens. The last part is the mount itself, which is not to be asked.
    return path.startsWith(`${join(realpathSync(dirname(folder)), basename(folder))}/`);
  } catch {
    return false;
  }
}

/** The first file of that name in `folder` or below it for which `fits` holds. */
function findFile(
  folder: string,
  name: string,
  fits = (_path: string): boolean => true,
  depth = 0,
): string | undefined {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name);
    if (entry.isFile() && entry.name === name && fits(path)) return path;
    if (!entry.isDirectory() || depth >= MAX_DEPTH) continue;
    const found = findFile(path, name, fits, depth + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}
