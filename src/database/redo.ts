import { bySqlite, closeSync, fsyncSync, ftruncateSync, openSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { type ByteSource, LtxReader, verifyLtx } from '../ltx/index.js';
import { byExactPath } from '../sqlite/index.js';
import type { Database } from './database.js';
import { writeWhole } from './log-segment.js';
import type { LogEntry } from './types.js';

/**
 * Writes the log's transactions from `first` on into the database file again; its WAL is gone then. Nobody has it open.
 * Pages are written in place: only the log has all of them, until a start has come to the end of this. So the state says
 * that it is under way, and a start that finds that begins again: pages are whole images, to write them twice is safe.
 * `hasWal`: there is a WAL with commits.
 */
export async function redo(db: Database, first: number, hasWal: boolean): Promise<undefined> {
  if (first < db.log.first) {
    throw new SluiceError(
      'REDO_INCOMPLETE',
      `transactions ${first} to ${db.log.first - 1} are not in the log any more`,
      'The database file is neither before nor after them: restore it from a backup',
    );
  }
  eachEntry(db, first, verifyLtx);
  db.beginRedo(first);
  // Without one it is not asked: SQLite may refuse a file that a crash left half written.
  if (hasWal) await checkpointOffline(db.path);
  const fd = openSync(db.path, 'r+');
  try {
    eachEntry(db, first, (source) => writePages(fd, source));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** For one that finds itself under way when applications may have the file open. */
export function redoUnderWay(first: number): SluiceError {
  return new SluiceError(
    'REDO_UNDER_WAY',
    `transactions from ${first} on were to be written into the database file again, and applications have it open`,
    'Stop them and the node, then start it again',
  );
}

function eachEntry(db: Database, first: number, take: (source: ByteSource) => void): void {
  for (let txid = first; txid <= db.log.last; txid++) {
    const { source, close } = (db.log.get(txid) as LogEntry).open();
    try {
      take(source);
    } finally {
      close();
    }
  }
}

function writePages(fd: number, source: ByteSource): void {
  const reader = new LtxReader(source);
  const { pageSize, commit } = reader.header;
  const page = Buffer.allocUnsafeSlow(pageSize);
  for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
    writeWhole(fd, page, pageSize, (pgno - 1) * pageSize);
  }
  reader.finish();
  ftruncateSync(fd, commit * pageSize);
}

async function checkpointOffline(path: string): Promise<void> {
  const { default: Sqlite } = await import('better-sqlite3');
  bySqlite(path, () => {
    const db = byExactPath(path, (exact) => new Sqlite(exact));
    try {
      db.pragma('wal_checkpoint(TRUNCATE)');
    } finally {
      db.close();
    }
  });
}
