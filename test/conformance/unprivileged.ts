import { chmodSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Debian's user and group `nobody` and `nogroup`. */
const NOBODY = 65_534;
const SEARCH_BY_OTHERS = 0o001;
const PERMISSIONS = 0o7777;
/** The folders that these tests and their runner make. */
const OWN_FOLDER = /\/sluice-[^/]*(\/|$)/;

/** A command, run by a user who may not more than others. */
export function asNobody(command: readonly string[]): string[] {
  return ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--', ...command];
}

/** A command, run by a root that may not more than others: for programs that lie where only root comes. */
export function withoutCapabilities(command: readonly string[]): string[] {
  return ['setpriv', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--', ...command];
}

/** Lets others come to a folder, as far as the folders on the way were made by tests. */
export function letOthersThrough(folder: string): void {
  for (let path = folder; path !== dirname(path); path = dirname(path)) {
    const mode = statSync(path).mode & PERMISSIONS;
    if ((mode & SEARCH_BY_OTHERS) !== 0) continue;
    if (!OWN_FOLDER.test(path)) throw new Error(`${path} is closed to others: set TMPDIR to a folder that is not`);
    chmodSync(path, mode | SEARCH_BY_OTHERS);
  }
}
