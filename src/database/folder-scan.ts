import { type Dirent, fstatSync } from 'node:fs';
import { join } from 'node:path';
import { closeSync, readdirSync, readSync } from '../disk/index.js';
import { errorCode } from '../errors.js';
import { companionOf, HEADER_SIZE, hasDatabaseMagic } from '../sqlite/index.js';
import { openToRead } from './readable-file.js';

/** Folders below folders are looked into this deep. */
export const MAX_DEPTH = 32;

export interface FolderScan {
  /** Paths below the folder, `/`-separated, of SQLite databases. */
  readonly databases: readonly string[];
  /** Other files, without what SQLite keeps beside databases. */
  readonly others: readonly string[];
}

/** Tells databases from other files by their first bytes. */
export function scanFolder(root: string): FolderScan {
  const databases: string[] = [];
  const others: string[] = [];
  const head = Buffer.alloc(16);
  const visit = (prefix: string, depth: number): void => {
    for (const entry of entriesOf(join(root, prefix))) {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory() && depth < MAX_DEPTH) visit(path, depth + 1);
      else if (entry.isFile()) {
        if (!isKept(path)) continue;
        const like = startsLikeDatabase(join(root, path), head);
        if (like !== undefined) (like ? databases : others).push(path);
      }
    }
  };
  visit('', 0);
  return { databases, others };
}

/**
 * What is in a folder; nothing if its path is longer than the system takes, which a rename of one above may have made it:
 * no file in there can be opened by anybody, and none is a database, whose names are shorter.
 */
export function entriesOf(folder: string): readonly Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === 'ENAMETOOLONG') return [];
    throw error;
  }
}

/** Whether a file is one by itself: not what SQLite or Sluice keep beside others. */
export function isKept(path: string): boolean {
  return companionOf(path) === undefined && !path.slice(path.lastIndexOf('/') + 1).startsWith('.sluice-');
}

/** Whether a file has a database's first bytes; undefined for one that is gone, or may not be read. */
export function startsLikeDatabase(path: string, head = Buffer.alloc(16)): boolean | undefined {
  const fd = openToRead(path);
  if (fd === undefined) return undefined;
  try {
    return fstatSync(fd).size >= HEADER_SIZE && readSync(fd, head, 0, 16, 0) === 16 && hasDatabaseMagic(head);
  } finally {
    closeSync(fd);
  }
}
