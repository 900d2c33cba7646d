import { PROCEED, type Watcher } from './watcher.js';

const NOTHING: readonly number[] = [];

/**
 * Who is asked about files that the watcher was never told of: those that were unlinked in the time of an earlier process
 * and are still open. They have no name, so they are nobody's database.
 */
export const UNWATCHED: Watcher = {
  added: () => undefined,
  removed: () => undefined,
  renamed: () => undefined,
  mayOpen: () => PROCEED,
  mayCreate: () => PROCEED,
  mayWrite: () => PROCEED,
  wrote: () => undefined,
  mayResize: () => PROCEED,
  resized: () => undefined,
  mayUnlink: () => PROCEED,
  mayRename: () => PROCEED,
  mayChange: () => PROCEED,
  released: () => undefined,
  alsoSync: () => NOTHING,
  alsoSyncFolder: () => NOTHING,
  virtual: () => undefined,
  hidden: () => false,
  woken: () => undefined,
};
