/** Limits of the applier and its process, in one place. */

/** Most bytes of one write to a file of the mount: what one FUSE request can carry. */
export const PIECE_BYTES = 1 << 20;

/** Requests for one database, and LTX bytes in them, that the process holds; the others wait in the node. */
export const MAX_IN_FLIGHT = 64;
export const MAX_IN_FLIGHT_BYTES = 8 << 20;
/** The same for those that wait. Beyond it a call is refused with `APPLIER_FULL`. */
export const MAX_WAITING = 4096;
export const MAX_WAITING_BYTES = 64 << 20;
/** The largest LTX that may be given as bytes; a larger one is given as a file. */
export const MAX_LTX_BYTES = 64 << 20;

/** Pause before the process is started again: doubled with each death, back to the first after a life of `LONG_LIFE_MS`. */
export const FIRST_RESTART_MS = 50;
export const LAST_RESTART_MS = 5000;
export const LONG_LIFE_MS = 10_000;
/** From the start of the process until it is ready. */
export const START_TIMEOUT_MS = 15_000;
/** From asking it to end until it is killed, and from there until it is given up. */
export const STOP_TIMEOUT_MS = 5000;
export const KILL_TIMEOUT_MS = 5000;

/** Pauses between tries for a lock, doubled each time. */
export const FIRST_RETRY_MS = 1;
export const LAST_RETRY_MS = 50;
/** Between tries for the write lock that a replica waits for. */
export const HALT_RETRY_MS = 1;
/** How long a replica's transaction waits for the readers of a database in a rollback mode. */
export const READERS_LIMIT_MS = 5000;
/**
 * How long a try for EXCLUSIVE may keep new readers out while it waits for the present ones. The process stands still
 * meanwhile, so all databases together get one such hold in `HOLD_EVERY_MS`, and one database rarer and rarer.
 */
export const HOLD_MS = 20;
export const HOLD_EVERY_MS = 200;
export const FIRST_HOLD_PAUSE_MS = 100;
export const LAST_HOLD_PAUSE_MS = 5000;

/** Frames in the WAL at which a checkpoint is tried, and by which it must have grown for the next try. */
export const CHECKPOINT_FRAMES = 1000;
/** Pauses between tries for work that a reader holds up: a checkpoint, or the way out of WAL mode. */
export const FIRST_UPKEEP_MS = 250;
export const LAST_UPKEEP_MS = 30_000;
/**
 * How long a whole image with another page size waits for the applications that have the database open in WAL mode.
 * Then the node hears of it, shows it in its status, and sends the image again later.
 */
export const LEAVE_WAL_MS = 15_000;
