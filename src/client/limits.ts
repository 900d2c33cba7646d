/** Limits of the client, in one place. Milliseconds. */

/** How long is waited at most if nothing else is said. */
export const DEFAULT_TIMEOUT_MS = 30_000;

/** Between two looks, growing. The node keeps a lock that it has got for some times the last one. */
export const FIRST_PAUSE_MS = 2;
export const LAST_PAUSE_MS = 100;
