import { join } from 'node:path';
import Database from 'better-sqlite3';
import { mkdirSync, readFileSync, writeFileSync } from '../disk/index.js';
import { errorCode, SluiceError } from '../errors.js';

/** A node that is just ending may hold the folder for so long. */
const LOCK_WAIT_MS = 1_000;

/** The data folder is this process's until `release`, or until the process ends in whatever way. */
export interface DataLock {
  release(): void;
}

/**
 * Makes the data folder if it is missing and locks it: `lock.db` is held by SQLite's own exclusive lock, which the
 * kernel frees when the process dies. `node.pid` says by whom. SluiceErrors: `DATA_IN_USE`, `DATA_FOLDER`.
 */
export function lockDataFolder(data: string): DataLock {
  let db: Database.Database | undefined;
  try {
    mkdirSync(data, { recursive: true });
    db = new Database(join(data, 'lock.db'), { timeout: LOCK_WAIT_MS });
    db.pragma('journal_mode = memory');
    // The transaction is never ended, and nothing is ever written: the file stays empty.
    db.exec('BEGIN EXCLUSIVE');
    writeFileSync(join(data, 'node.pid'), `${process.pid}\n`);
    const held = db;
    return { release: () => held.close() };
  } catch (cause) {
    db?.close();
    if (errorCode(cause) === 'SQLITE_BUSY') {
      throw new SluiceError(
        'DATA_IN_USE',
        `data folder in use by another node (pid ${readPid(data)}): ${data}`,
        'Stop that node, or give this one its own data folder',
        { cause },
      );
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError(
      'DATA_FOLDER',
      `cannot use data folder ${data}: ${reason}`,
      'Check the path and its permissions',
      {
        cause,
      },
    );
  }
}

function readPid(data: string): string {
  try {
    return readFileSync(join(data, 'node.pid'), 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
