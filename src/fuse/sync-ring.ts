/**
 * The jobs of the sync threads, on a SharedArrayBuffer of Int32: written by the worker, taken by whichever thread is
 * free. Layout in words:
 *
 *   0 submitted (wraps)  1 taken (wraps)  2 the fuse device  4.. slots of SLOT_WORDS
 *
 * A slot: 0 state (0 free, 1 taken or waiting)  1, 2 unique  3 flags  4 descriptors  5.. the descriptors
 */
export const SYNC_SLOTS = 32;
export const SLOT_WORDS = 16;
export const SLOT_FDS = SLOT_WORDS - 5;
export const SYNC_WORDS = 4 + SYNC_SLOTS * SLOT_WORDS;

export const SUBMITTED = 0;
export const TAKEN = 1;
export const DEVICE = 2;

export const SLOT_STATE = 0;
export const SLOT_UNIQUE_LOW = 1;
export const SLOT_UNIQUE_HIGH = 2;
export const SLOT_FLAGS = 3;
export const SLOT_COUNT = 4;
export const SLOT_FIRST = 5;

/** Flags of a job. */
export const DATA_ONLY = 1;
/** For tests: take longer. */
export const SLOW = 4;
/** No job: the thread that takes it ends. */
export const END = 8;

/** First word of the slot for a submission number. */
export const slotAt = (number: number): number => 4 + (number & (SYNC_SLOTS - 1)) * SLOT_WORDS;
