import { closeSync, fstatSync, openSync, statSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { errorCode, SluiceError } from '../errors.js';
import {
  byExactPath,
  type DatabaseHeader,
  HEADER_SIZE,
  parseDatabaseHeader,
  WAL_HEADER_SIZE,
} from '../sqlite/index.js';
import { readOrZeros } from './files.js';

/**
 * One database, open as any application would have it: a SQLite connection, which holds the locks, and beside it raw
 * descriptors on the same files, through which the pages are written.
 *
 * POSIX locks belong to the process and file, and closing *any* descriptor of the file drops them all. So a raw
 * descriptor on the database file or the -shm is closed only after the connection has let go of that file.
 */
export class DatabaseClient {
  /** What the connection does now, whatever page 1 says. */
  mode: 'wal' | 'rollback' = 'rollback';
  walFd = -1;
  shmFd = -1;
  private readonly inode: number;
  private readonly headerBytes = Buffer.alloc(HEADER_SIZE);
  /** The highest change counter that a connection in rollback mode may have seen. */
  private seenCounter = 0;
  private readonly beginWrite: Database.Statement;
  private readonly beginExclusive: Database.Statement;
  private readonly commit: Database.Statement;

  private constructor(
    readonly path: string,
    private readonly connection: Database.Database,
    readonly fd: number,
  ) {
    this.inode = fstatSync(fd).ino;
    this.beginWrite = connection.prepare('BEGIN IMMEDIATE');
    this.beginExclusive = connection.prepare('BEGIN EXCLUSIVE');
    this.commit = connection.prepare('COMMIT');
  }

  /**
   * Opens the file and reads it once, so that SQLite recovers what there is to recover and the wal-index exists.
   * Throws SQLite's errors (SQLITE_BUSY*: try again), or `APPLY_FAILED` for an empty file unless `mayBeEmpty`.
   */
  static open(path: string, mayBeEmpty = false): DatabaseClient {
    if (!mayBeEmpty && statSync(path).size === 0) {
      throw new SluiceError('APPLY_FAILED', `${path} is empty, so it is not a database (SQLITE_NOTADB)`);
    }
    const connection = byExactPath(path, (exact) => new Database(exact, { fileMustExist: true, timeout: 0 }));
    let fd = -1;
    try {
      fd = openSync(path, 'r+');
      const client = new DatabaseClient(path, connection, fd);
      connection.pragma('wal_autocheckpoint=0');
      client.refreshMode();
      client.noteSeen();
      return client;
    } catch (error) {
      connection.close();
      if (fd >= 0) closeSync(fd);
      throw error;
    }
  }

  /** Whether the path still names the file that is open. */
  isCurrent(): boolean {
    return statSync(this.path, { throwIfNoEntry: false })?.ino === this.inode;
  }

  /** Reads page 1 as SQLite does, and so follows a switch into or out of WAL mode. */
  refreshMode(): void {
    this.connection.pragma('schema_version');
    const isWal = this.isWal();
    this.mode = isWal ? 'wal' : 'rollback';
    if (isWal && this.shmFd < 0) {
      this.walFd = openSync(`${this.path}-wal`, 'r+');
      this.shmFd = openSync(`${this.path}-shm`, 'r+');
    } else if (!isWal) {
      this.closeWalFiles();
    }
  }

  /** Whether the connection found a WAL when it last took a lock. */
  isWal(): boolean {
    return this.connection.pragma('journal_mode', { simple: true }) === 'wal';
  }

  /** Of the database file itself; undefined if it is not one. */
  header(): DatabaseHeader | undefined {
    readOrZeros(this.fd, this.headerBytes, 0, HEADER_SIZE, 0);
    return parseDatabaseHeader(this.headerBytes);
  }

  /** Bytes; 0 for an empty file. From the database file itself. */
  pageSize(): number {
    return this.header()?.pageSize ?? 0;
  }

  /**
   * Whether every connection in rollback mode drops its page cache when it finds this page 1. It does if bytes 24..39 of
   * the file are others than it saw last, so a change counter higher than all that there were is new to each. Most
   * transactions bring one. But a primary with `locking_mode=EXCLUSIVE` raises it once per lock, and an image from
   * another history can have any.
   */
  isNewToReaders(pageOne: DatabaseHeader | undefined): boolean {
    return pageOne !== undefined && pageOne.changeCounter > this.seenCounter;
  }

  /** The file as it is now may be in the page cache of a connection in rollback mode. */
  noteSeen(): void {
    this.seenCounter = Math.max(this.seenCounter, this.header()?.changeCounter ?? 0);
  }

  fileSize(): number {
    return fstatSync(this.fd).size;
  }

  /** Takes the write lock of a WAL database; false if another has it now. */
  tryBegin(): boolean {
    return this.run(this.beginWrite);
  }

  /** Takes EXCLUSIVE, waiting for readers up to `holdMs` while new ones are kept out; false if they are still there. */
  tryBeginExclusive(holdMs: number): boolean {
    if (holdMs === 0) return this.run(this.beginExclusive);
    this.connection.pragma(`busy_timeout=${holdMs}`);
    try {
      return this.run(this.beginExclusive);
    } finally {
      this.connection.pragma('busy_timeout=0');
    }
  }

  /**
   * Gives the lock back. Always COMMIT: a ROLLBACK copies the wal-index header that was just written into the
   * connection, which would then believe that its page cache is up to date.
   */
  end(): void {
    this.commit.run();
  }

  get inTransaction(): boolean {
    return this.connection.inTransaction;
  }

  /**
   * Puts a WAL without frames beside the database, whose EXCLUSIVE lock the caller has: who looks next reads in WAL mode,
   * whatever page 1 says. Also a -shm, which applications that may not write cannot create.
   */
  createWal(): void {
    writeFileSync(`${this.path}-shm`, '');
    writeFileSync(`${this.path}-wal`, Buffer.alloc(WAL_HEADER_SIZE));
  }

  /**
   * Out of WAL mode, as `PRAGMA journal_mode=DELETE` does it: everything is checkpointed and the WAL removed. False if
   * any other connection has the database open. Changes page 1 only if its version bytes say WAL.
   */
  tryLeaveWal(): boolean {
    try {
      this.connection.pragma('journal_mode=DELETE');
    } catch (error) {
      if (isBusy(error)) return false;
      throw error;
    }
    this.refreshMode();
    return this.mode === 'rollback';
  }

  close(): void {
    this.connection.close();
    this.closeWalFiles();
    closeSync(this.fd);
  }

  private closeWalFiles(): void {
    if (this.walFd >= 0) closeSync(this.walFd);
    if (this.shmFd >= 0) closeSync(this.shmFd);
    this.walFd = -1;
    this.shmFd = -1;
  }

  private run(statement: Database.Statement): boolean {
    try {
      statement.run();
      return true;
    } catch (error) {
      if (isBusy(error)) return false;
      throw error;
    }
  }
}

/** SQLITE_BUSY and its kinds: someone holds a lock now. */
export function isBusy(error: unknown): boolean {
  return errorCode(error)?.startsWith('SQLITE_BUSY') === true;
}
