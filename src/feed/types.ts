import type { StoreRoot } from '../backup/index.js';
import type { StoreSink } from '../database/types.js';
import type { Position } from '../ltx/index.js';
import type { FeedLimits } from './limits.js';

/** The part of a pino logger that is used. Nothing is logged per file. */
export interface FeedLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** What is counted. Take note and return. */
export interface FeedHooks {
  /** Bytes of a file came. */
  received?(): void;
  /** A file is applied; `lagMs` since its last transaction was committed, by the clocks of both machines. */
  applied?(name: string, position: Position, lagMs: number): void;
  /** The store can be read, or no more. */
  connected?(connected: boolean): void;
  failed?(name: string, code: string): void;
}

export interface StoreFeedOptions {
  /** Closed by `stop`. */
  readonly store: StoreRoot;
  readonly sink: StoreSink;
  /** Between two looks at each database's manifest. */
  readonly intervalMs: number;
  readonly log: FeedLog;
  readonly hooks?: FeedHooks;
  readonly limits?: Partial<FeedLimits>;
}

/** What is wrong with one database now. */
export interface FeedProblem {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  /** Unix milliseconds. */
  readonly sinceMs: number;
}
