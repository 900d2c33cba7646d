import { chmodSync, chownSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Reading and writing, of owner, group and others. */
const FILE_BITS = 0o666;
const FOLDER_BITS = 0o7777;

/**
 * Gives a file or folder that was just made for others the owner of the folder it is in, and its mode: whoever may make files
 * there may write this one. A node of another user than root can give the mode only. Throws the system's error.
 */
export function takeAfterFolder(path: string): void {
  const { uid, gid, mode } = statSync(dirname(path));
  const isFolder = statSync(path).isDirectory();
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
  chmodSync(path, mode & (isFolder ? FOLDER_BITS : FILE_BITS));
}

/** The folder, with those above it that are missing; each takes after the one that it is in. Throws the system's error. */
export function makeFolders(folder: string): void {
  if (existsSync(folder)) return;
  makeFolders(dirname(folder));
  mkdirSync(folder);
  takeAfterFolder(folder);
}
