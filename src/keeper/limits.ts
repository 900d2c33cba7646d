/** How long reading the config file may take. */
export const CONFIG_LIMIT_MS = 30_000;
/** How long a node may take to give up its databases and send the rest of its backup. */
export const DRAIN_LIMIT_MS = 30_000;
/** How long applications may keep the mount busy at a stop before it is taken from them. */
export const BUSY_LIMIT_MS = 10_000;
/** Pause between two tries to unmount a busy mount. */
export const BUSY_RETRY_MS = 200;
/** How long the node may take to save its state after the unmount. */
export const FINISH_LIMIT_MS = 10_000;
/** How long the program of a node may take to be loaded. */
export const LOAD_LIMIT_MS = 30_000;
/** How long a node may take to hand over to its successor before it is killed. */
export const HAND_OVER_LIMIT_MS = 30_000;
/** How long a killed process may take to disappear. */
export const KILL_LIMIT_MS = 5_000;
/** How long the last messages of a dead process may take. */
export const CHANNEL_LIMIT_MS = 500;
/** How long an application gets to end when its node cannot be brought back. */
export const COMMAND_LIMIT_MS = 10_000;
/** How long the search for the processes that keep a mount busy may take. */
export const HOLDERS_LIMIT_MS = 3_000;
/** Processes named in a message. */
export const MAX_HOLDERS = 10;

/** After so many deaths of the node within the window, its keeper gives up. */
export const MAX_DEATHS = 10;
export const DEATH_WINDOW_MS = 60_000;
export const MIN_BACKOFF_MS = 100;
export const MAX_BACKOFF_MS = 5_000;

/** How much longer than its own limit for requests under way an HTTP proxy may take to end. */
export const PROXY_GRACE_MS = 2_000;

/** npm and some shells pass a Ctrl-C on that the terminal has sent already: what follows so soon is the same one. */
export const SAME_SIGNAL_MS = 500;
