import { existsSync, lstatSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { syncPath } from '../sync-path.js';
import { linkOrRename } from './link.js';

/** SQLite would read these beside a database and change it, or refuse it. */
const COMPANION_SUFFIXES = ['-wal', '-journal'];
/** What SQLite may leave beside a database. */
const ALL_SUFFIXES = [...COMPANION_SUFFIXES, '-shm'];

/** Throws `RESTORE_EXISTS` where a restored file cannot be put; with `force`, only what is no file is in the way. */
export function checkPlace(output: string, force: boolean): void {
  if (!force) {
    checkNothingThere(output);
    return;
  }
  for (const path of [output, ...ALL_SUFFIXES.map((suffix) => output + suffix)]) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) continue;
    throw new SluiceError('RESTORE_EXISTS', `${path} is a folder`, 'Name the file to make with -o');
  }
}

/** Gives the finished file its name, durably; with `force` in the place of what is there. If it fails, nothing changed. */
export async function publish(temporary: string, output: string, force: boolean): Promise<void> {
  checkPlace(output, force);
  if (force) await replace(temporary, output);
  else if (!(await linkOrRename(temporary, output))) checkNothingThere(output);
  await syncPath(dirname(output));
}

/**
 * The old database's WAL must never lie beside the new file, and never be lost while the old file is there. So it is
 * moved aside first, put back if the rename fails, and removed when it is done. A machine that dies in between leaves it
 * beside the database as `<its name><the temporary's>`.
 */
async function replace(temporary: string, output: string): Promise<void> {
  const ending = basename(temporary);
  const aside: string[] = [];
  try {
    for (const path of ALL_SUFFIXES.map((suffix) => output + suffix)) {
      if (await renameIfThere(path, path + ending)) aside.push(path);
    }
    if (aside.length > 0) await syncPath(dirname(output));
    await rename(temporary, output);
  } catch (error) {
    await putBack(aside, ending, error);
    throw error;
  }
  // The new file is in place: what stays behind under this name is in nobody's way.
  for (const path of aside) await rm(path + ending, { force: true }).catch(() => undefined);
}

async function putBack(paths: readonly string[], ending: string, reason: unknown): Promise<void> {
  for (const path of paths) {
    try {
      await rename(path + ending, path);
    } catch (error) {
      throw new SluiceError(
        'RESTORE_FAILED',
        `${describeError(reason)}; then ${path}, which was moved aside, could not be put back: ${describeError(error)}`,
        `Rename ${path}${ending} to ${path} before the database is opened`,
        { cause: reason },
      );
    }
  }
}

function checkNothingThere(output: string): void {
  const hint = 'Choose another path with -o, or replace it with --force';
  if (existsSync(output)) throw new SluiceError('RESTORE_EXISTS', `${output} exists already`, hint);
  for (const suffix of COMPANION_SUFFIXES) {
    if (!existsSync(output + suffix)) continue;
    throw new SluiceError('RESTORE_EXISTS', `${output}${suffix} exists: it belongs to a database that was here`, hint);
  }
}

async function renameIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
