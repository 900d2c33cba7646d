/** Limits of forwarded writes, in one place. Milliseconds, unless the name says otherwise. */

/** The primary's, for the halts of one database. */
export interface HaltLimits {
  /** How long a replica may keep the write lock for one transaction after another. */
  readonly turnMs: number;
  /** How long it may keep it at all; then it is taken back, in the middle of a transaction too. */
  readonly holdMs: number;
  /** The same, for a lock by hand. */
  readonly holdByHandMs: number;
  /** Without a word from the replica, it is taken back. */
  readonly silenceMs: number;
  /** Between two turns, for the primary's own writers. */
  readonly restMs: number;
  /** The same, once in `turnMs` of one turn after the other: nearly as long as SQLite pauses between two tries. */
  readonly longRestMs: number;
  /** How long a replica waits for the primary's writers before it is told that the database is busy. */
  readonly lockMs: number;
}

export const HALT_LIMITS: HaltLimits = Object.freeze({
  turnMs: 2000,
  holdMs: 30_000,
  holdByHandMs: 600_000,
  silenceMs: 5000,
  restMs: 5,
  longRestMs: 75,
  lockMs: 5000,
});

/** The replica's. */
export interface WriteLimits {
  /** How long an application waits for the primary before it is told that the database is busy. */
  readonly waitMs: number;
  /** How long the write lock is kept for the next transaction, if nobody else wants it. */
  readonly keepMs: number;
  /** How long a commit waits for the primary's answer; past it, its outcome is unknown. */
  readonly commitMs: number;
}

export const WRITE_LIMITS: WriteLimits = Object.freeze({ waitMs: 5000, keepMs: 10, commitMs: 30_000 });

/**
 * After a wait in vain the next ones are short, if they follow soon: SQLite tries again many times in a busy time-out, of which
 * it counts its own pauses only.
 */
export const LATE_WAIT_MS = 20;
export const LATE_MS = 1000;

/** Who was told to try again gets the lock that it came for, if it comes back in so long. */
export const RETRY_KEEP_MS = 150;

/** A lock by hand that was given and not taken is given back after so long. Who asks again and again does so more often. */
export const HAND_KEEP_MS = 2000;
/** Until it is asked for again, when the primary could not give it. */
export const HAND_RETRY_MS = 200;

/** Between looks at whether readers see a commit that is in the WAL. */
export const FIRST_LOOK_MS = 1;
export const LAST_LOOK_MS = 100;

/** Replicas that wait for one database, and databases that are waited for. */
export const MAX_TURNS = 256;
export const MAX_DATABASES = 1024;

/** Processes of a primary that write for replicas to databases whose commits wait for other machines. */
export const MAX_OWN_HALTERS = 4;

/** A transaction that is forwarded, as an LTX file; and of it what is gathered in memory. */
export const MAX_FORWARD_BYTES = 2 ** 30;
export const MEMORY_FORWARD_BYTES = 8 * 2 ** 20;
/** So much of it waits in memory for the line; and how often that is looked at. */
export const FORWARD_QUEUE_BYTES = 4 * 2 ** 20;
export const FORWARD_PAUSE_MS = 2;
/** One message's part of it. */
export const FORWARD_PIECE_BYTES = 256 * 1024;
