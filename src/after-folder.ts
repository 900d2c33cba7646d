import { chmodSync, chownSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode } from './errors.js';

/** Reading and writing, of owner, group and others. */
const FILE_BITS = 0o666;
const FOLDER_BITS = 0o7777;

/**
 * Gives a file or folder that was just made for others the owner of the folder it is in, and its mode: whoever may make files
 * there may write this one. As far as the node may: only root gives files away. Throws the system's error otherwise.
 */
export function takeAfterFolder(path: string): void {
  const { uid, gid, mode } = statSync(dirname(path));
  const own = statSync(path);
  const bits = mode & (own.isDirectory() ? FOLDER_BITS : FILE_BITS);
  if (own.uid !== uid || own.gid !== gid) asFarAsMay(() => chownSync(path, uid, gid));
  if ((own.mode & FOLDER_BITS) !== bits) asFarAsMay(() => chmodSync(path, bits));
}

function asFarAsMay(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (errorCode(error) !== 'EPERM') throw error;
  }
}

/** The folder, with those above it that are missing; each takes after the one that it is in. Throws the system's error. */
export function makeFolders(folder: string): void {
  if (existsSync(folder)) return;
  makeFolders(dirname(folder));
  mkdirSync(folder, { recursive: true }); // somebody else may have made it by now
  takeAfterFolder(folder);
}
