import { readdirSync, rmSync } from '../disk/index.js';
import { announce, type Backing, backingPath, childBackingPath, statPath } from './backing.js';
import { ENAMETOOLONG, ENOTDIR, errnoOf } from './errno.js';
import type { DiskPath } from './file-name.js';
import type { RegularFile } from './nodes.js';

/**
 * What an earlier process left: finds out what its log of nodes misses, because it was killed in between or could not
 * write, and tells the watcher of the files. Before the first request is served. Call `NodeTable.record` after it.
 */
export function takeOver(backing: Backing, orphans: string): void {
  const { table, descriptors, watcher } = backing;
  const moved = finishRename(backing);
  adoptOrphans(backing, orphans);
  table.settle();
  for (const node of table.all()) {
    if (node.kind === 'file' && !node.orphan && isThere(descriptors.path(node))) {
      announce(backing, node, false);
    }
  }
  for (const { file, oldPath } of moved) if (file.announced) watcher.renamed(file, oldPath);
}

/** If the last rename was made but not recorded, it is now. Returns the files that have new paths. */
function finishRename(backing: Backing): { file: RegularFile; oldPath: string }[] {
  const { table } = backing;
  const { interrupted } = table;
  if (interrupted === undefined) return [];
  const { node, folder, name } = interrupted;
  if (node.nameless || isThere(backingPath(backing, node))) return [];
  if (!isThere(childBackingPath(backing, folder, name))) return [];
  const replaced = table.child(folder, name);
  if (replaced !== undefined) table.unbind(replaced);
  const files: { file: RegularFile; oldPath: string }[] = [];
  for (const each of table.below(node)) if (each.kind === 'file') files.push({ file: each, oldPath: each.path });
  table.move(node, folder, name);
  return files;
}

/** The folder of orphans says which files are. Data that nobody can name any more is deleted. */
function adoptOrphans({ table, descriptors }: Backing, orphans: string): void {
  const kept = new Set<number>();
  for (const entry of readdirSync(orphans)) {
    const node = table.get(Number(entry));
    if (
      node?.kind === 'file' &&
      (node.orphan || node.nameless || !isSame(descriptors.path(node), `${orphans}/${entry}`))
    ) {
      if (!node.orphan) table.orphan(node);
      kept.add(node.id);
    } else rmSync(`${orphans}/${entry}`, { recursive: true, force: true });
  }
  for (const node of table.all()) if (node.kind === 'file' && node.orphan && !kept.has(node.id)) table.end(node);
}

/** A rename was about to replace the file, and did not: it has a second name. */
const isSame = (path: DiskPath, orphan: string): boolean => find(path)?.ino === find(orphan)?.ino;

const isThere = (path: DiskPath): boolean => find(path) !== undefined;

/**
 * A rename of a folder may have made the paths below it longer than the system takes: nobody can open those files. Where a
 * folder was there may be a file, if somebody put it behind the mount.
 */
function find(path: DiskPath): ReturnType<typeof statPath> {
  try {
    return statPath(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ENAMETOOLONG || errno === ENOTDIR) return undefined;
    throw error;
  }
}
