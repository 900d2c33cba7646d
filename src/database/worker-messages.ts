import type { WalIndexHeader } from '../sqlite/index.js';
import type { Comparison } from './tracked-database.js';

/** What the fuse worker and the main thread tell each other beside the shared memory: all of it is rare. */

export type FromWorker =
  /**
   * A file became a database, perhaps again after it was dropped; from now on, until it is, `slot` stands for it. With
   * `NO_SLOT`: this node cannot take it: it holds as many as it can, or the name is none that others could have.
   */
  | { readonly kind: 'found'; readonly slot: number; readonly name: string }
  /**
   * The database file changed, not through its WAL: a rollback transaction is about to commit, or one without a journal
   * has ended. `pages` were written, or all may have been if undefined. Main settles `sequence`
   * when the transaction is logged; until then the file stays as it is.
   */
  | {
      readonly kind: 'changed';
      readonly slot: number;
      readonly sequence: number;
      readonly pages: Uint32Array | undefined;
      /** There is an UnloggedMark, which goes when it is logged. */
      readonly marked: boolean;
    }
  /**
   * The database file is written without a journal or WAL that would tell where the transaction ends: that is to be
   * found by `settle`, unless a sync or the last close says it first.
   */
  | { readonly kind: 'unjournaled'; readonly slot: number }
  /** The answer to `settle`. `ended`: what was written is a transaction now, or there is nothing of that kind. */
  | { readonly kind: 'settled'; readonly slot: number; readonly ended: boolean }
  /** Commits behind `frames` of this WAL generation were never published and are being overwritten. */
  | {
      readonly kind: 'undo';
      readonly slot: number;
      readonly sequence: number;
      readonly generation: number;
      readonly frames: number;
    }
  /**
   * A WAL that is all logged goes away: main copies it for who reads it, and makes sure that the database file has what it
   * logged: of the last transaction, which its writer may have died too early to publish, or of all.
   */
  | {
      readonly kind: 'leaving';
      readonly slot: number;
      readonly sequence: number;
      readonly compare: Comparison;
    }
  /** The kernel writes the WAL by itself: main is to watch the file at `path`, or none any more. */
  | { readonly kind: 'watch-wal'; readonly slot: number; readonly path: string | undefined }
  /** The answer to `look`. */
  | { readonly kind: 'looked'; readonly slot: number; readonly looked: Looked }
  /** The answer to `catch-up`. `complete`: all could be looked at, and nobody is in the middle of what does not tell when it ends. */
  | { readonly kind: 'caught-up'; readonly ticket: number; readonly complete: boolean }
  /** The database file was removed, or has another name now. */
  | { readonly kind: 'dropped'; readonly slot: number; readonly sequence: number }
  /** A pin holds: the image is at this position, in the database file and `frames` of the WAL of `generation`. */
  | {
      readonly kind: 'pinned';
      readonly slot: number;
      readonly pin: number;
      readonly flags: SharedArrayBuffer;
      readonly frames: number;
      readonly txid: number;
      readonly checksum: bigint;
      readonly pageSize: number;
      readonly pageCount: number;
    }
  | { readonly kind: 'pin-failed'; readonly slot: number; readonly pin: number; readonly reason: string }
  /** On a replica where applications write: one waits for the write lock of this database. */
  | { readonly kind: 'lock-wanted'; readonly name: string }
  /** It has given the lock back, by the grant `serial`. `committed`: a transaction that was taken is in the files. */
  | { readonly kind: 'lock-released'; readonly name: string; readonly serial: number; readonly committed: boolean }
  /** Its transaction is about to commit, and waits for `commit-answer`. */
  | { readonly kind: 'commit'; readonly name: string; readonly serial: number; readonly commit: WorkerCommit }
  /** A transaction that was taken is in the files; in WAL mode its readers may not know of it yet. */
  | { readonly kind: 'commit-made'; readonly name: string }
  /** A rollback journal was played back. `pages`: those that were written since it began; undefined: it is not known which. */
  | { readonly kind: 'played-back'; readonly name: string; readonly pages: Uint32Array | undefined }
  /** The answer to `grant-return`. `ended`: there is no grant any more, and nobody has the lock by it. */
  | { readonly kind: 'grant-returned'; readonly name: string; readonly serial: number; readonly ended: boolean }
  /** The same lock by hand, of the lock file: one asks for it. */
  | { readonly kind: 'hand-wanted'; readonly name: string }
  /** One has it. `inherited`: an earlier process gave it. */
  | { readonly kind: 'hand-taken'; readonly name: string; readonly inherited: boolean }
  /** Nobody has it, or waits for it, any more. */
  | { readonly kind: 'hand-released'; readonly name: string }
  /** Rare, worth a line. */
  | { readonly kind: 'log'; readonly message: string }
  /** The worker has loaded its databases and begins to serve. */
  | { readonly kind: 'serving' }
  /** The loop ended: unmounted, or it failed. */
  | { readonly kind: 'ended'; readonly error: string | undefined };

/** What an application is about to commit on a replica. */
export type WorkerCommit =
  /** Frames behind the first `from` of the WAL with these salts, up to `to`; `bytes` of them, at `position`, are not in the file yet. */
  | {
      readonly kind: 'wal';
      readonly from: number;
      readonly to: number;
      readonly salt1: number;
      readonly salt2: number;
      readonly position: number;
      readonly bytes: Uint8Array;
    }
  /** These pages of the database file, ascending; any if undefined. */
  | { readonly kind: 'rollback'; readonly pages: Uint32Array | undefined };

/** What the worker saw when it looked at a WAL that the kernel writes by itself. */
export interface Looked {
  /** Frames that were committed since the last look. */
  readonly frames: number;
  /** Something that may soon be a commit stands there. */
  readonly more: boolean;
  /** Frames that the wal-index says are committed, if it was asked and nothing else was taken for committed. */
  readonly published: number | undefined;
}

export type ToWorker =
  | { readonly kind: 'pin'; readonly slot: number; readonly pin: number; readonly path: string }
  /** What was written without a journal is to be taken for a transaction, if nobody is in the middle of one. */
  | { readonly kind: 'settle'; readonly slot: number }
  /** The WAL, which the kernel writes by itself, was written. */
  | { readonly kind: 'look'; readonly slot: number }
  /** Main is to be told of all that is committed now, in one database if it names one. */
  | { readonly kind: 'catch-up'; readonly ticket: number; readonly slot: number | undefined }
  | { readonly kind: 'unpin'; readonly slot: number; readonly pin: number }
  /** On a replica main gives the slots; undefined: it has none any more. */
  | { readonly kind: 'slot'; readonly slot: number | undefined; readonly name: string }
  /**
   * On a replica: the lock may be had by the next who asks, without asking main, before `untilMs` of `monotonicMs()`. `wal`: as
   * readers see it; undefined in a rollback mode.
   */
  | {
      readonly kind: 'grant';
      readonly name: string;
      readonly serial: number;
      readonly wal: WalIndexHeader | undefined;
      readonly untilMs: number;
    }
  /** Who waits for the lock is told that the database is busy. */
  | { readonly kind: 'lock-refused'; readonly name: string }
  /** The grant is to end: for who has the lock by it, when it is given back. */
  | { readonly kind: 'grant-return'; readonly name: string; readonly serial: number }
  /**
   * On a replica: the next who asks for the lock file may have it (`given`), or is told that it cannot be had (`refused`); or
   * it was given, and is to be asked for again if nobody has taken it (`returned`), which `hand-released` says.
   */
  | { readonly kind: 'hand'; readonly name: string; readonly what: 'given' | 'refused' | 'returned' }
  /** `taken`: the primary has it. */
  | { readonly kind: 'commit-answer'; readonly name: string; readonly taken: boolean }
  /** What `.primary` says; undefined: the file does not exist. */
  | { readonly kind: 'primary'; readonly address: string | undefined };
