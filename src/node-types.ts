import type { Config } from './config/index.js';
import type { Metrics } from './http/index.js';
import type { Logger } from './log.js';
import type { BackupRequest, BackupRun, NodeState, NodeStatus } from './status.js';

/** What `startNode` is given. */
export interface StartNodeOptions {
  readonly config: Config;
  /** The inherited descriptor of /dev/fuse. It stays open when the node ends. */
  readonly deviceFd: number;
  /** True when another node served this mount before: its requests are asked for again. */
  readonly takeover: boolean;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called once, when requests to the mount are answered. */
  onAnswering(): void;
  /** Called once, when applications may start: mounted and, on a replica, caught up. */
  onReady(): void;
}

/** A node that serves its mount. */
export interface RunningNode {
  state(): NodeState;
  /** The state, and what lies in the data folder. */
  status(): Promise<NodeStatus>;
  /** Stores all that is not stored yet. Throws `BACKUP_NONE`, `BACKUP_REPLICA`. */
  backUp(request: BackupRequest): Promise<readonly BackupRun[]>;
  /** Stops accepting, flushes the backup, closes the applier: nothing of ours is open on the mount afterwards. */
  drain(): Promise<void>;
  /** After the unmount: saves the state of a clean stop. */
  finish(): Promise<void>;
  /**
   * Ends without a loss and without an unmount: another process goes on with the mount. `paused` is called when requests
   * are answered no more. Instead of `drain` and `finish`.
   */
  handOver(paused: () => void): Promise<void>;
  /** Never resolves; rejects with the error that makes the node unable to go on. */
  readonly failed: Promise<never>;
}

export type StartNode = (options: StartNodeOptions) => Promise<RunningNode>;
