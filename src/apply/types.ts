import type { Position } from '../ltx/index.js';
import type { WalIndexHeader } from '../sqlite/index.js';

/** Where a transaction's LTX bytes are: in memory, or a range of a file outside the mount. */
export type LtxLocation =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly size: number };

/** What readers of a database see. */
export interface Looked {
  /** The WAL as its wal-index has it; undefined in a rollback mode. */
  readonly wal: WalIndexHeader | undefined;
}

/** The node's hold on its applier process: a plain SQLite client of the mount that writes what replication brings. */
export interface Applier {
  /** Starts the process, and again after each death, with back-off. `onPid` is awaited before the process may touch the mount. */
  start(): Promise<void>;
  /** Opens the database as SQLite would and keeps it open, so that no application has to recover its wal-index. */
  open(name: string): Promise<void>;
  /**
   * Makes the pages of the LTX the content of the database, as one transaction that readers see whole or not at all.
   * For a WAL database by appending to its WAL; for a rollback database under SQLite's EXCLUSIVE lock. Creates the
   * file if it does not exist. Idempotent. Waits as long as readers hold a rollback database; other databases go on.
   * Rejects: `APPLIER_GONE` (process died: call again), `APPLY_FAILED` (with the errno or SQLite code in the message),
   * `LTX_*` (bad bytes: nothing was changed), `APPLIER_FULL` (too much is waiting). After a rejection, calls that were
   * made for the same database before it was known reject too, and are not applied.
   */
  apply(name: string, ltx: LtxLocation): Promise<void>;
  /**
   * The same for a whole image (min TXID 1): file-at-once when the database does not exist yet (temporary name, fsync,
   * rename), else in place, so that open readers go over to it. Page size and journal mode may differ from before.
   * Also rejects with `APPLY_BUSY`: applications keep a WAL database open that is to get another page size.
   */
  replace(name: string, ltx: LtxLocation): Promise<void>;
  /** Closes and removes the database with its -wal, -shm and -journal, and the folders that are empty then. */
  drop(name: string): Promise<void>;
  /** PRAGMA wal_checkpoint; resolves with the frames left in the WAL (0 when all are in the database). */
  checkpoint(name: string, mode: 'passive' | 'truncate'): Promise<number>;
  /** How the database is now, for who opens it. */
  look(name: string): Promise<Looked>;
  /** Closes all databases and ends the process. */
  stop(): Promise<void>;
  readonly pid: number | undefined;
}

/** The same process as who holds up a database's writers, and writes in their place. */
export interface Halter {
  /**
   * Takes the database's write lock as a writer does, and keeps it until `release`; false if others have it for all of
   * `limitMs`. Meanwhile only `commit` may write. The lock goes with the process: a restart has released it.
   */
  halt(name: string, limitMs: number): Promise<boolean>;
  /**
   * After `halt`: adds the LTX as one transaction, and makes it durable. The caller has seen to it that it follows what is
   * there. Rejects with `APPLY_FAILED` also where there is no halt.
   */
  commit(name: string, ltx: LtxLocation): Promise<void>;
  /**
   * Makes a database of the LTX, a whole image, where there is none; durable when it resolves. Rejects with `APPLY_EXISTS` if
   * there is something of that name, also if it came this moment.
   */
  create(name: string, ltx: LtxLocation): Promise<void>;
  /** Gives the lock of `halt` back; nothing if there is none. */
  release(name: string): Promise<void>;
  /** The same, and has it no longer open: applications may want it for themselves. */
  close(name: string): Promise<void>;
}

export interface ApplierOptions {
  /** The mount point. */
  readonly mount: string;
  /** Called with each new process's id before that process opens anything. */
  readonly onPid: (pid: number) => void | Promise<void>;
  /**
   * If given, checkpoints run on a thread of the process, so that a large one delays no other database. FUSE requests
   * carry a thread's id as their pid, so it is announced here, like the pid, before the thread opens anything. Left
   * out: checkpoints run on the process's one loop.
   */
  readonly onThread?: (tid: number) => void | Promise<void>;
  /** After a restart: everything that was open must be opened again by the node. */
  readonly onRestart?: () => void;
  readonly log: {
    debug(o: object, m: string): void;
    info(o: object, m: string): void;
    warn(o: object, m: string): void;
    error(o: object, m: string): void;
  };
}

export type { Position };
