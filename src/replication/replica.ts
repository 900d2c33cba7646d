import type { UpstreamStatus } from '../status.js';
import type { DatabaseProblem, ReplicationClientOptions } from './types.js';

/** The replica's side: follows a primary and gives what comes to the sink. */
export class ReplicationClient {
  /** Resolves when, for the first time, all databases that the primary named in its hello were applied at that position. */
  readonly caughtUp: Promise<void> = Promise.resolve();

  constructor(private readonly options: ReplicationClientOptions) {}

  /** Connects, and again after each loss, until `stop`. */
  start(): void {}

  /** Disconnects and waits (at most `drainMs`) for what the sink is doing. */
  async stop(): Promise<void> {
    this.options.log.debug({}, 'stopped');
  }

  status(): UpstreamStatus {
    return { url: '', connected: false, lastHeartbeatAt: null, lagMs: null, lastError: null };
  }

  /** The primary's advertised address; null until it said one. */
  primary(): string | null {
    return null;
  }

  /** How old the content is: of one database, or of the one furthest behind. Null if not known yet. */
  lagMs(_name?: string): number | null {
    return null;
  }

  /** Databases that cannot follow now, and why. */
  problems(): DatabaseProblem[] {
    return [];
  }
}
