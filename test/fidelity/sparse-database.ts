import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';

const PAGE_BYTES = 4096;
/** The page at this byte holds SQLite's locks and nothing else. */
const LOCK_BYTE = 0x4000_0000;
/** SQLite itself puts no more in a trunk of the list of free pages, for old readers. */
const MAX_LEAVES = 1016;

/**
 * Makes a database of so many bytes nearly all of which are free pages, in a file with holes. The pages around SQLite's
 * lock bytes, if it has them, are the first that are taken into use.
 */
export function makeSparseDatabase(path: string, bytes: number): void {
  const db = new Database(path);
  db.pragma(`page_size = ${PAGE_BYTES}`);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  const used = db.pragma('page_count', { simple: true }) as number;
  db.close();
  const last = Math.floor(bytes / PAGE_BYTES);
  const groups = freeGroups(used + 1, last);
  const fd = openSync(path, 'r+');
  ftruncateSync(fd, last * PAGE_BYTES);
  for (const [n, [trunk, ...leaves]] of groups.entries()) {
    const page = Buffer.alloc(PAGE_BYTES);
    page.writeUInt32BE(groups[n + 1]?.[0] ?? 0, 0);
    page.writeUInt32BE(leaves.length, 4);
    for (const [at, leaf] of leaves.entries()) page.writeUInt32BE(leaf, 8 + 4 * at);
    writeSync(fd, page, 0, PAGE_BYTES, (trunk! - 1) * PAGE_BYTES);
  }
  const header = Buffer.alloc(100);
  readSync(fd, header, 0, 100, 0);
  header.writeUInt32BE(last, 28);
  header.writeUInt32BE(groups[0]![0]!, 32);
  header.writeUInt32BE(
    groups.reduce((total, group) => total + group.length, 0),
    36,
  );
  writeSync(fd, header, 0, 100, 0);
  closeSync(fd);
}

/** The free pages by trunks, each followed by its leaves; those around the lock page first. */
function freeGroups(first: number, last: number): number[][] {
  const lock = LOCK_BYTE / PAGE_BYTES + 1;
  const groups: number[][] = [];
  let group: number[] = [];
  for (let page = first; page <= last; page++) {
    if (page === lock) continue;
    group.push(page);
    if (group.length <= MAX_LEAVES && page < last) continue;
    if (group[0]! <= lock + MAX_LEAVES && group.at(-1)! >= lock - MAX_LEAVES) groups.unshift(group);
    else groups.push(group);
    group = [];
  }
  return groups;
}
