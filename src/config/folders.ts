import { readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { parseStoreUrl } from '../backup/urls.js';
import { type ConfigSource, storeKey } from './source.js';
import type { Config } from './types.js';

/** What a node makes in its data folder and serves the mount from. */
const OWN_FOLDERS = ['files', 'meta', 'run', 'spool', 'set-aside'];

/** Notes folders that lie in each other so that a node would wait for itself. */
export function checkFolders(config: Config, source: ConfigSource): void {
  const stores = config.backup.map(({ url }) => {
    const place = parseStoreUrl(url);
    return place.scheme === 'file' ? place.path : undefined;
  });
  const asWritten = { data: config.data, mount: config.mount.path, stores };
  if (checkPlaces(asWritten, config, source)) return;
  // Only now is anything looked up: a look into a mount that nobody serves would not come back.
  checkPlaces(
    {
      data: realPath(config.data),
      mount: realMountPoint(config.mount.path),
      stores: stores.map((path) => (path === undefined ? undefined : realPath(path))),
    },
    config,
    source,
  );
}

interface Places {
  readonly data: string;
  readonly mount: string;
  /** Undefined: not a folder. */
  readonly stores: readonly (string | undefined)[];
}

/** True if something was noted. */
function checkPlaces({ data, mount, stores }: Places, config: Config, source: ConfigSource): boolean {
  const before = source.problems.length;
  const own = OWN_FOLDERS.map((name) => join(data, name));
  const ownAround = (path: string) => own.find((folder) => isIn(path, folder));
  const around = ownAround(mount);
  if (mount === data) {
    source.reportValue(['mount', 'path'], 'the data folder itself; want another folder, for example data/mnt');
  } else if (around !== undefined) {
    source.reportValue(['mount', 'path'], insideOwn(around, 'mnt'));
  } else if (isIn(data, mount)) {
    source.reportValue(['data'], `inside the mount ${mount}; want a folder outside it`);
  }
  stores.forEach((store, i) => {
    if (store === undefined) return;
    const storeAround = ownAround(store);
    if (isIn(store, mount)) {
      const text = `inside the mount ${mount}, which would wait for its own backup; want a folder outside it`;
      source.reportValue(storeKey(config, i), text);
    } else if (storeAround !== undefined) {
      source.reportValue(storeKey(config, i), insideOwn(storeAround, 'backup'));
    } else if (isIn(mount, store)) {
      source.reportValue(['mount', 'path'], `inside the backup folder ${store}; want a folder outside it`);
    }
  });
  return source.problems.length > before;
}

function insideOwn(folder: string, example: string): string {
  return `inside ${folder}, which the node keeps for itself; want another folder, for example data/${example}`;
}

/** Whether the path is the folder or below it. */
function isIn(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === '' || (way !== '..' && !way.startsWith('../') && !isAbsolute(way));
}

/** With the links in it followed as far as it exists. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}

/** The mount point itself is not looked at unless it is a link: it may be a mount that nobody serves. */
function realMountPoint(path: string): string {
  const here = join(realPath(dirname(path)), basename(path));
  try {
    return realPath(resolve(dirname(here), readlinkSync(here)));
  } catch {
    return here;
  }
}
