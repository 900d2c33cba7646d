/** Limits of what follows a store, in one place. */
export interface FeedLimits {
  /** Between two looks for new databases: in a bucket each is a LIST or more for the whole of it, in a folder it costs little. */
  readonly bucketNamesMs: number;
  readonly folderNamesMs: number;
  /** The same while none was found. */
  readonly emptyMs: number;
  /** Between two listings of a database's files, where no manifest says which there are. */
  readonly listMs: number;
  /** Pause after a failure; it doubles with each further one. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** Databases that fetch files at a time. */
  readonly downloads: number;
  /** How long `stop` waits for what is being applied. */
  readonly drainMs: number;
}

export const FEED_LIMITS: FeedLimits = {
  bucketNamesMs: 10 * 60_000,
  folderNamesMs: 5_000,
  emptyMs: 10_000,
  listMs: 30_000,
  retryMinMs: 1_000,
  retryMaxMs: 30_000,
  downloads: 4,
  drainMs: 5_000,
};

/** As many as a node can hold; more are looked for, so that it is said of those that do not fit. */
export const MAX_NAMES = 100_000;

/** A store that was not read for so many intervals is not taken for read now. */
export const FRESH_INTERVALS = 3;

/** A listing without a manifest is behind us so often before it is believed: a bucket's listing may be late. */
export const STALE_LIMIT = 3;
