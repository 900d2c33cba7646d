import Database from 'better-sqlite3';
import { byExactPath } from '../sqlite/index.js';
import { isBusy } from './client.js';

/**
 * How far a checkpoint goes, as in PRAGMA wal_checkpoint: `passive` copies what it can, `truncate` then empties the WAL.
 * `restart` makes the next transaction begin at the WAL's start, and the file is never empty: where page 1 does not say
 * WAL, an empty file makes new connections read in rollback mode, without the locks that checkpoints respect.
 */
export type CheckpointMode = 'passive' | 'restart' | 'truncate';

/** Pages that a connection may cache, and that are written with it, so that some must go to the WAL. */
const CACHE_PAGES = 8;
const SPILLED_PAGES = 64;

/** Checkpoints with a connection of its own. Who is in the way ends it early; throws SQLite's other errors. */
export function checkpoint(path: string, mode: CheckpointMode): void {
  const connection = byExactPath(path, (exact) => new Database(exact, { fileMustExist: true, timeout: 0 }));
  try {
    connection.pragma('wal_autocheckpoint=0');
    connection.pragma('wal_checkpoint(PASSIVE)');
    // The bulk is done without the write lock; this is the short part that needs it.
    if (mode === 'truncate') connection.pragma('wal_checkpoint(TRUNCATE)');
    if (mode === 'restart') restart(connection);
  } catch (error) {
    if (!isBusy(error)) throw error;
  } finally {
    connection.close();
  }
}

/**
 * SQLite goes back to a WAL's start when it writes a frame and all frames are in the database and no reader needs them.
 * Here the frames are those of a transaction that outgrows its page cache and is rolled back: nothing is committed.
 */
function restart(connection: Database.Database): void {
  const pageSize = Number(connection.pragma('page_size', { simple: true }));
  connection.pragma(`cache_size=${CACHE_PAGES}`);
  connection.exec('BEGIN IMMEDIATE');
  try {
    connection.exec('CREATE TABLE sluice_restarts_wal(x)');
    connection.prepare('INSERT INTO sluice_restarts_wal VALUES (zeroblob(?))').run(SPILLED_PAGES * pageSize);
  } finally {
    if (connection.inTransaction) connection.exec('ROLLBACK');
  }
}
