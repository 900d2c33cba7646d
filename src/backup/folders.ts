import type { Dir, Dirent } from 'node:fs';
import { mkdir, opendir, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode } from '../errors.js';
import { syncPath } from '../sync-path.js';

/** Entries of a folder read at a time. */
const READ_ENTRIES = 1024;

/** Makes a folder with those above it, durably. */
export async function makeFolder(folder: string): Promise<void> {
  const created = await mkdir(folder, { recursive: true }).catch(async (error: unknown) => {
    // So Node calls a read-only file system too; for a single folder it says what is the matter.
    if (errorCode(error) === 'ENOENT') await makeFirstMissing(folder);
    throw error;
  });
  if (created === undefined) return;
  for (let path = folder; path.length >= dirname(created).length; path = dirname(path)) {
    await syncPath(path);
    if (path === dirname(path)) break;
  }
}

async function makeFirstMissing(folder: string): Promise<void> {
  let missing = folder;
  while (dirname(missing) !== missing && (await statIfThere(dirname(missing))) === undefined)
    missing = dirname(missing);
  await mkdir(missing);
}

/** A folder's entries, a few at a time; none if there is no such folder. */
export async function* openFolder(path: string): AsyncGenerator<Dirent, void, undefined> {
  let folder: Dir;
  try {
    folder = await opendir(path, { bufferSize: READ_ENTRIES });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  yield* folder;
}

/** A folder's entries; empty if there is no such folder. */
export async function readFolder(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Undefined if there is no such file. */
export async function statIfThere(
  path: string,
): Promise<{ size: number; mtimeMs: number; ctimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes files of this ending that nobody has written to for so long: a process that died left them. */
export async function removeAbandoned(folder: string, suffix: string, ageMs: number): Promise<void> {
  for (const entry of await readFolder(folder)) {
    if (!entry.name.endsWith(suffix)) continue;
    const path = join(folder, entry.name);
    const info = await statIfThere(path);
    if (info !== undefined && Date.now() - info.ctimeMs >= ageMs) await rm(path, { force: true });
  }
}
