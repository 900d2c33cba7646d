/**
 * The jobs of the sync threads, on a SharedArrayBuffer of Int32: written by the worker, taken by whichever thread is
 * free. Layout in words:
 *
 *   0 submitted (wraps)  1 taken (wraps)  2 the fuse device  4.. slots of SLOT_WORDS
 *
 * A slot has one descriptor; a request with several takes as many, which are synced side by side, and the first of them
 * leads: 0 state (0 free, 1 taken or waiting)  1 flags  2 descriptor  3 word where the leading slot begins; in that one
 * 4, 5 unique  6 slots that are not done  7 first errno
 */
export const SYNC_SLOTS = 32;
export const SLOT_WORDS = 8;
export const SYNC_WORDS = 4 + SYNC_SLOTS * SLOT_WORDS;

export const SUBMITTED = 0;
export const TAKEN = 1;
export const DEVICE = 2;

export const SLOT_STATE = 0;
export const SLOT_FLAGS = 1;
export const SLOT_FD = 2;
export const SLOT_LEAD = 3;
export const SLOT_UNIQUE_LOW = 4;
export const SLOT_UNIQUE_HIGH = 5;
export const SLOT_LEFT = 6;
export const SLOT_ERRNO = 7;

/** Flags of a slot. */
export const DATA_ONLY = 1;
/** For tests: take longer. */
export const SLOW = 4;
/** No job: the thread that takes it ends. */
export const END = 8;

/** First word of the slot for a submission number. */
export const slotAt = (number: number): number => 4 + (number & (SYNC_SLOTS - 1)) * SLOT_WORDS;
