import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { companionOf, HEADER_SIZE, hasDatabaseMagic } from '../sqlite/index.js';

/** Folders below folders are looked into this deep. */
const MAX_DEPTH = 32;

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
    for (const entry of readdirSync(join(root, prefix), { withFileTypes: true })) {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory() && depth < MAX_DEPTH) visit(path, depth + 1);
      else if (entry.isFile()) {
        if (companionOf(path) !== undefined || entry.name.startsWith('.sluice-')) continue;
        const like = startsLikeDatabase(join(root, path), head);
        if (like !== undefined) (like ? databases : others).push(path);
      }
    }
  };
  visit('', 0);
  return { databases, others };
}

/** Undefined for a file that is gone, or may not be read. */
function startsLikeDatabase(path: string, head: Buffer): boolean | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return fstatSync(fd).size >= HEADER_SIZE && readSync(fd, head, 0, 16, 0) === 16 && hasDatabaseMagic(head);
  } finally {
    closeSync(fd);
  }
}
