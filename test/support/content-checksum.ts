import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DatabaseSums, pageChecksum } from '../../src/ltx/index.js';

/** A checkpoint in the middle of a copy makes it begin again, so often at most. */
const MAX_COPIES = 20;
const PIECE_BYTES = 1024 * 1024;

/**
 * The checksum of what a database holds, 16 hex digits as in `<db>-pos`, from copies of its file and of its -wal or
 * -journal, which SQLite itself puts together. The database must be quiet. Throws if PRAGMA integrity_check complains.
 */
export function contentChecksum(backingPath: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-content-'));
  try {
    const copy = join(folder, 'copy');
    for (let copies = 1; !copyDatabase(backingPath, copy); copies++) {
      if (copies === MAX_COPIES) throw new Error(`${backingPath}: its WAL changes while it is copied`);
    }
    const db = new Sqlite(copy);
    db.pragma('wal_checkpoint(TRUNCATE)');
    const pageSize = db.pragma('page_size', { simple: true }) as number;
    // Not the file's size: a writer that died after its commit has not cut off the pages that it freed.
    const pageCount = db.pragma('page_count', { simple: true }) as number;
    const integrity = db.pragma('integrity_check', { simple: true });
    db.close();
    if (integrity !== 'ok') throw new Error(`${backingPath}: ${String(integrity)}`);
    const bytes = readFileSync(copy);
    const sums = new DatabaseSums(pageSize);
    const sum = { high: 0, low: 0 };
    for (let page = 1; page <= pageCount; page++) {
      pageChecksum(page, bytes, (page - 1) * pageSize, pageSize, sum);
      sums.set(page, sum.high, sum.low);
    }
    return sums.checksum().toString(16).padStart(16, '0');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** False if a checkpoint came in between, so that the copies do not belong together. */
function copyDatabase(from: string, to: string): boolean {
  const before = factsOf(`${from}-wal`);
  for (const suffix of ['-journal', '-wal', '']) copyFile(from + suffix, to + suffix);
  return factsOf(`${from}-wal`) === before;
}

/** By hand: copyFileSync copies a file that becomes shorter meanwhile for ever. A file that is not there: no copy. */
function copyFile(from: string, to: string): void {
  rmSync(to, { force: true });
  const source = openIfThere(from);
  if (source === undefined) return;
  const target = openSync(to, 'w');
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    for (let at = 0, read = 1; read > 0; at += read) {
      read = readSync(source, piece, 0, PIECE_BYTES, at);
      writeSync(target, piece, 0, read, at);
    }
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function factsOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
}
