import { PROCEED, type Watcher } from './watcher.js';

const NOTHING: readonly number[] = [];

/**
 * Lets everything happen and follows nothing. The watcher of a mount without databases, and who is asked about files that
 * a mount's watcher was never told of: those that were unlinked in the time of an earlier process and are still open.
 * They have no name, so they are nobody's database.
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
  maySetAttributes: () => PROCEED,
  mayChange: () => PROCEED,
  released: () => undefined,
  alsoSync: () => NOTHING,
  alsoSyncFolder: () => NOTHING,
  virtual: () => undefined,
  hidden: () => false,
  woken: () => undefined,
};
