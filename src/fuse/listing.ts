import { readdirSync } from '../disk/index.js';
import { type Backing, backingPath } from './backing.js';
import { nameOf } from './file-name.js';
import type { Folder } from './nodes.js';
import { writeDirent } from './reply.js';

/** What a directory entry says of an id that was not looked up. */
const UNKNOWN_INO = 0xffff_ffff;

const DT_DIR = 4;
const DT_REG = 8;
const DT_LNK = 10;
const DT_UNKNOWN = 0;

const SELF = Buffer.from('.');
const PARENT = Buffer.from('..');

interface Entry {
  readonly name: string;
  readonly bytes: Buffer;
  readonly type: number;
  /** Where the next READDIR goes on: a hash of the name. */
  readonly offset: number;
}

/**
 * Folder contents for READDIR, without state in a handle. Entries are ordered by a 48-bit hash of their names, and
 * the hash is the offset, so that a reader goes on at the right place after names came or went. (Two names with one
 * hash on the edge of a reply would lose one: at 100,000 files less than 1 in 10,000.) The listing that was read last
 * is kept for its next pieces.
 */
export class Listing {
  readonly #backing: Backing;
  #entries: Entry[] = [];
  #folder: Folder | undefined;
  #changes = 0;

  constructor(backing: Backing) {
    this.#backing = backing;
  }

  /** Writes entries after `offset` into the body of a reply, up to `limit` bytes. Returns the bytes. */
  write(out: Buffer, folder: Folder, offset: number, limit: number): number {
    if (folder.removed !== undefined) return 0;
    let at = 0;
    if (offset < 1) {
      const next = writeDirent(out, at, limit, folder.id, 1, DT_DIR, SELF);
      if (next < 0) return at;
      at = next;
    }
    if (offset < 2) {
      const next = writeDirent(out, at, limit, folder.parent?.id ?? folder.id, 2, DT_DIR, PARENT);
      if (next < 0) return at;
      at = next;
    }
    const entries = this.#read(folder, offset <= 2);
    for (let i = firstAfter(entries, offset); i < entries.length; i++) {
      const { name, bytes, type, offset: next } = entries[i]!;
      const id = folder.children.get(name)?.id ?? UNKNOWN_INO;
      const end = writeDirent(out, at, limit, id, next, type, bytes);
      if (end < 0) break;
      at = end;
    }
    return at;
  }

  #read(folder: Folder, fresh: boolean): Entry[] {
    if (!fresh && folder === this.#folder && folder.changes === this.#changes) return this.#entries;
    const { watcher } = this.#backing;
    const entries: Entry[] = [];
    const path = backingPath(this.#backing, folder);
    for (const entry of readdirSync(path, { encoding: 'buffer', withFileTypes: true })) {
      const name = nameOf(entry.name);
      if (watcher.hidden(name)) continue;
      const type = entry.isFile()
        ? DT_REG
        : entry.isDirectory()
          ? DT_DIR
          : entry.isSymbolicLink()
            ? DT_LNK
            : DT_UNKNOWN;
      entries.push({ name, bytes: entry.name, type, offset: offsetOf(name) });
    }
    entries.sort((a, b) => a.offset - b.offset || (a.name < b.name ? -1 : 1));
    this.#folder = folder;
    this.#changes = folder.changes;
    this.#entries = entries;
    return entries;
  }
}

function firstAfter(entries: readonly Entry[], offset: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle]!.offset <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** 48 bits from two FNV-1a hashes, above the offsets of `.` and `..`. */
function offsetOf(name: string): number {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ (unit + i), 0x85ebca6b);
  }
  return 3 + (a >>> 0) * 0x1_0000 + ((b >>> 16) & 0xffff);
}
