/** Databases in one bookmark; who touched more reads at the primary. */
export const MAX_BOOKMARKED = 32;
/** Characters of a bookmark: browsers keep cookies of up to 4,096 bytes, with their names and attributes. */
export const MAX_BOOKMARK_CHARS = 3600;
/** Bookmarks that were read a moment ago, and how long that is: one client's reads follow each other, and a signature takes its time. */
export const MAX_READ_BOOKMARKS = 1000;
export const READ_BOOKMARK_MS = 1_000;
/** How far the clocks of two nodes may be apart, and a mark under way. */
export const MARK_AGE_MS = 60_000;
/** Lineages that are known to be over. */
export const MAX_PAST_LINEAGES = 64;
/** Seconds after which a client may ask again. */
export const RETRY_AFTER_S = 1;
/** Between two tries to reach a primary. */
export const RECONNECT_MS = 100;
/** How often requests under way are looked at for having gone on for too long. */
export const SWEEP_MS = 250;
/** From the connection to the end of a request's head. */
export const HEAD_LIMIT_MS = 15_000;
export const MAX_HEADER_BYTES = 32 * 1024;
/** An application that says nothing to `Expect: 100-continue` gets the body after so long. */
export const CONTINUE_LIMIT_MS = 1_000;
/** How long what is left of a request's body is read after its answer, so that the client gets to read that. */
export const LINGER_MS = 5_000;
/** How long a connection to the application is kept without a request: shorter than any server's own limit. */
export const TARGET_IDLE_MS = 1_000;
/** The same to the primary's proxy, which keeps it for its own `idleTimeout`; of ours this is the greatest part. */
export const PRIMARY_IDLE_MS = 30_000;
export const TCP_KEEPALIVE_MS = 30_000;

/** Between two messages of a node to its proxy. */
export const COALESCE_MS = 3;
/** How often all is looked through for what nobody told of. */
export const TICK_MS = 1_000;
/** Names in one line. */
export const BATCH_NAMES = 500;
/** Of one line, in either direction. */
export const MAX_LINE_BYTES = 4 * 1024 * 1024;
/** A proxy that reads so slowly is disconnected. */
export const MAX_LINK_BUFFER_BYTES = 64 * 1024 * 1024;
export const MAX_LINKS = 16;
export const MAX_SETTLES = 10_000;
/** A proxy looks for its node so often. */
export const LINK_RETRY_MS = 50;
export const LINK_RETRY_MAX_MS = 1_000;
/** Room for an address in `sockaddr_un`, without the NUL at its end. */
export const MAX_SOCKET_PATH_BYTES = 107;
/** How often counters go to the node. */
export const COUNTERS_MS = 1_000;
