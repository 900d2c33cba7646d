import { setTimeout as sleep } from 'node:timers/promises';
import { Slots } from '../backup/index.js';
import { describeError, type SluiceError } from '../errors.js';
import type { UpstreamStatus } from '../status.js';
import { DatabaseFeed, type DatabaseFeedContext } from './database-feed.js';
import { FEED_LIMITS, type FeedLimits, FRESH_INTERVALS, MAX_NAMES } from './limits.js';
import type { FeedProblem, StoreFeedOptions } from './types.js';

/** Follows a store, and never asks the primary: finds its databases, and brings each to where its backup is. */
export class StoreFeed {
  /** Resolves when all databases that the store had at first were where their backups were. */
  readonly caughtUp: Promise<void>;
  private resolveCaughtUp: () => void = () => undefined;
  private readonly limits: FeedLimits;
  private readonly context: DatabaseFeedContext;
  private readonly feeds = new Map<string, DatabaseFeed>();
  private readonly runs = new Set<Promise<void>>();
  private readonly abort = new AbortController();
  private loop: Promise<void> | undefined;
  private heardMs: number | undefined;
  private hasNames = false;
  private lastError: string | null = null;
  private isConnected = false;

  constructor(private readonly options: StoreFeedOptions) {
    this.limits = { ...FEED_LIMITS, ...options.limits };
    this.caughtUp = new Promise((resolve) => {
      this.resolveCaughtUp = resolve;
    });
    this.context = {
      sink: options.sink,
      intervalMs: options.intervalMs,
      limits: this.limits,
      downloads: new Slots(this.limits.downloads),
      signal: this.abort.signal,
      heard: () => this.heard(),
      received: () => options.hooks?.received?.(),
      applied: (name, position, lagMs) => options.hooks?.applied?.(name, position, lagMs),
      arrived: () => undefined,
      failed: (name, error, isNew) => this.failed(name, error, isNew),
    };
  }

  start(): void {
    this.loop ??= this.run();
  }

  /** Waits, but not for ever, for what the sink is doing. */
  async stop(): Promise<void> {
    this.abort.abort();
    const timeout = new AbortController();
    const late = sleep(this.limits.drainMs, undefined, { signal: timeout.signal }).catch(() => undefined);
    await Promise.race([Promise.all([this.loop, ...this.runs]), late]);
    timeout.abort();
    this.options.store.close();
  }

  status(): UpstreamStatus {
    const { heardMs } = this;
    return {
      url: this.options.store.url,
      connected: this.isConnected,
      lastHeartbeatAt: heardMs === undefined ? null : new Date(heardMs).toISOString(),
      lagMs: this.lagMs(),
      lastError: this.lastError,
    };
  }

  /** Of one database, or of the one furthest behind; null if it is not known. */
  lagMs(name?: string): number | null {
    const nowMs = Date.now();
    if (name !== undefined) return this.feeds.get(name)?.lagMs(nowMs) ?? null;
    if (!this.hasNames) return null;
    let lagMs = 0;
    for (const feed of this.feeds.values()) {
      const own = feed.lagMs(nowMs);
      if (own === null) return null;
      lagMs = Math.max(lagMs, own);
    }
    return lagMs;
  }

  /** No store says where its primary is. */
  primary(): null {
    return null;
  }

  refusal(): null {
    return null;
  }

  /** Databases that cannot follow now, and why. While the store as a whole cannot be read, that is told instead. */
  problems(): FeedProblem[] {
    const problems: FeedProblem[] = [];
    for (const { problem } of this.feeds.values()) {
      if (problem !== undefined && (this.isConnected || !isStoreError(problem.code))) problems.push(problem);
    }
    if (this.hasNames) problems.push(...this.strangers());
    return problems;
  }

  /** Databases that are here and not in the store stay as they are. */
  private *strangers(): Generator<FeedProblem> {
    for (const name of this.options.sink.positions().keys()) {
      if (this.feeds.has(name)) continue;
      yield {
        name,
        code: 'NOT_IN_STORE',
        message: `${name} is here, but the store has no backup of it: it stays as it is`,
        hint: 'Remove it from the data folder of the stopped node if it is not wanted',
        sinceMs: this.heardMs ?? Date.now(),
      };
    }
  }

  /** Looks for databases, now and then. */
  private async run(): Promise<void> {
    const { limits, abort } = this;
    for (let failures = 0; !abort.signal.aborted; ) {
      let waitMs = this.options.store.url.startsWith('file:') ? limits.folderNamesMs : limits.bucketNamesMs;
      try {
        await this.findDatabases();
        failures = 0;
        if (this.feeds.size === 0) waitMs = limits.emptyMs;
      } catch (error) {
        this.lost(error);
        waitMs = Math.min(limits.retryMaxMs, limits.retryMinMs * 2 ** Math.min(failures++, 30));
      }
      await sleep(waitMs, undefined, { signal: abort.signal }).catch(() => undefined);
    }
  }

  private async findDatabases(): Promise<void> {
    const known = new Set(this.feeds.keys());
    const names = await this.options.store.databaseNames(MAX_NAMES, known);
    this.heard();
    if (this.abort.signal.aborted) return;
    for (const name of names) if (!known.has(name)) this.add(name);
    if (this.hasNames) return;
    this.hasNames = true;
    const { url } = this.options.store;
    this.options.log.info({ store: url, databases: names.length }, 'following the store');
    void Promise.all(Array.from(this.feeds.values(), (feed) => feed.reached)).then(() => this.resolveCaughtUp());
  }

  private add(name: string): void {
    const feed = new DatabaseFeed(name, this.options.store.database(name), this.context);
    this.feeds.set(name, feed);
    const run = feed.run().finally(() => this.runs.delete(run));
    this.runs.add(run);
  }

  private heard(): void {
    this.heardMs = Date.now();
    this.lastError = null;
    this.tell(true);
  }

  private failed(name: string, error: SluiceError, isNew: boolean): void {
    this.options.hooks?.failed?.(name, error.code);
    if (isNew) this.options.log.warn({ database: name, code: error.code }, `cannot follow: ${describeError(error)}`);
    if (isStoreError(error.code)) this.lost(error);
  }

  /** Each database may fail by itself: lost is a store that answers none of them for a while. */
  private lost(error: unknown): void {
    const everyMs = this.feeds.size === 0 ? 0 : this.options.intervalMs;
    if (this.heardMs !== undefined && Date.now() - this.heardMs <= FRESH_INTERVALS * everyMs) return;
    const text = describeError(error);
    // The same again and again is told once.
    if (this.feeds.size === 0 && text !== this.lastError) {
      this.options.log.warn({ store: this.options.store.url }, `not following: ${text}`);
    }
    this.lastError = text;
    this.tell(false);
  }

  private tell(connected: boolean): void {
    if (connected === this.isConnected) return;
    this.isConnected = connected;
    this.options.hooks?.connected?.(connected);
  }
}

/** The store does not answer, or not well; as opposed to what it answers. */
function isStoreError(code: string): boolean {
  return code.startsWith('STORE_') && code !== 'STORE_BEHIND' && code !== 'STORE_MANIFEST';
}
