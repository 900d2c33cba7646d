import { describeError, SluiceError } from '../errors.js';
import { type Position, ZERO_POSITION } from '../ltx/index.js';
import type { UpstreamStatus } from '../status.js';
import { backoffMs } from './backoff.js';
import { PrimaryClock } from './content-age.js';
import { isDatabaseName } from './fields.js';
import { CLIENT_LIMITS, type ClientLimits, MAX_DATABASES } from './limits.js';
import { type Message, PROTOCOL_VERSION } from './messages.js';
import { Pause } from './pause.js';
import { PrimaryWord } from './primary-word.js';
import { ReplicaDatabase, type ReplicaDatabaseContext } from './replica-database.js';
import { badMessage } from './shape.js';
import type { DatabaseProblem, ReplicationClientOptions } from './types.js';
import { Upstream, type UpstreamError } from './upstream.js';

const DEFAULT_HEARTBEAT_MS = 1000;

/** A connection that lasted this many times the longest wait was a good one: waits begin at the shortest again. */
const GOOD_CONNECTION = 2;

/** Without a word from the primary for so many heartbeats, what it has is not known any more. */
const FRESH_HEARTBEATS = 3;

/** The replica's side: follows a primary and gives what comes to the sink. */
export class ReplicationClient {
  /** Resolves when, for the first time, all databases that the primary named in its hello were applied at that position. */
  readonly caughtUp: Promise<void>;
  /** What the primary said last, also of an earlier connection. */
  readonly word = new PrimaryWord();
  private resolveCaughtUp: () => void = () => {};
  private readonly limits: ClientLimits;
  private readonly heartbeatMs: number;
  private readonly urls: readonly string[];
  private readonly databases = new Map<string, ReplicaDatabase>();
  private readonly context: ReplicaDatabaseContext;
  private clock = new PrimaryClock();
  private readonly pause = new Pause();
  private upstream: Upstream | undefined;
  /** Positions told in the hello of this connection. */
  private held: ReadonlyMap<string, Position> = new Map();
  /** The TXIDs to reach to be caught up; undefined before the primary's hello and after it is. */
  private targets: Map<string, number> | undefined;
  private queuedBytes = 0;
  private attempts = 0;
  private connectedAtMs: number | undefined;
  private lastHeartbeatMs: number | null = null;
  private lastError: string | null = null;
  private lastRefusal: string | null = null;
  private advertised: string | null = null;
  private wantsStored = false;
  private stopped = true;
  private loop: Promise<void> | undefined;

  constructor(private readonly options: ReplicationClientOptions) {
    this.limits = { ...CLIENT_LIMITS, ...options.limits };
    this.heartbeatMs = options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
    this.urls = typeof options.url === 'string' ? [options.url] : options.url;
    if (this.urls.length === 0) throw new SluiceError('REPLICATION_URL', 'no primary to follow', 'Set lease.primary');
    for (const url of this.urls) checkUrl(url);
    this.caughtUp = new Promise((done) => {
      this.resolveCaughtUp = done;
    });
    this.context = {
      sink: options.sink,
      limits: this.limits,
      random: options.random ?? Math.random,
      send: (message) => this.upstream?.send(message),
      wantsStored: () => this.wantsStored,
      queued: (bytes) => this.onQueued(bytes),
      applied: (database, timeMs) => this.onApplied(database, timeMs),
      reached: (database) => this.onReached(database),
      dropped: (database) => this.onDropped(database),
      failed: (name, error) => this.onFailed(name, error),
      now: Date.now,
    };
  }

  /** Connects, and again after each loss, until `stop`. */
  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.loop = this.run();
  }

  /** What the sink has of a database is not what its position says. */
  askForSnapshot(name: string): void {
    this.databases.get(name)?.distrusted();
  }

  /** Disconnects and waits (at most `drainMs`) for what the sink is doing. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.pause.end();
    this.upstream?.close();
    await this.loop;
    const settled = Promise.all(Array.from(this.databases.values(), (database) => database.settled()));
    const limit = new Pause();
    await Promise.race([settled, limit.start(this.limits.drainMs)]);
    limit.end();
  }

  /** One connection after the other. */
  private async run(): Promise<void> {
    for (let turn = 0; !this.stopped; turn++) {
      const url = this.urls[turn % this.urls.length]!;
      const refused = await this.follow(url);
      if (this.stopped) return;
      // Each primary of the list gets its try before the wait grows.
      const attempt = Math.floor(this.attempts++ / this.urls.length);
      const { reconnectMinMs, reconnectMaxMs, refusedMs } = this.limits;
      const delayMs = refused
        ? backoffMs(0, refusedMs, refusedMs, this.context.random)
        : backoffMs(attempt, reconnectMinMs, reconnectMaxMs, this.context.random);
      await this.pause.start(delayMs);
    }
  }

  /** Resolves when the connection is over; true if the primary will not have us until a person changes something. */
  private async follow(url: string): Promise<boolean> {
    const { token, nodeId, name = nodeId } = this.options;
    const { connectMs, silenceMs } = this.limits;
    const upstream = new Upstream({ url, token, connectMs, silenceMs, heartbeatMs: this.heartbeatMs });
    this.upstream = upstream;
    upstream.onOpen = () => {
      this.held = new Map([...this.options.sink.positions()].filter(([database]) => isDatabaseName(database)));
      for (const database of this.databases.values()) database.helloSaid();
      upstream.send({ type: 'hello', version: PROTOCOL_VERSION, nodeId, name, positions: this.held });
    };
    upstream.onMessage = (message, sizeBytes) => this.onMessage(message, sizeBytes);
    upstream.onAnswered = () => this.options.writes?.heard(upstream.answeredMs);
    const error = await upstream.closed;
    this.upstream = undefined;
    this.disconnected(url, error);
    return error?.refused ?? false;
  }

  private disconnected(url: string, error: UpstreamError | undefined): void {
    const wasConnected = this.connectedAtMs !== undefined;
    if (wasConnected) {
      const lastedMs = this.context.now() - this.connectedAtMs!;
      if (lastedMs > GOOD_CONNECTION * this.limits.reconnectMaxMs) this.attempts = 0;
      this.connectedAtMs = undefined;
      for (const [name, database] of this.databases) {
        database.disconnected();
        if (database.idle && database.position.txid === 0) this.databases.delete(name);
      }
      this.options.hooks?.connected?.(false);
      this.options.writes?.disconnected();
    }
    this.targets = undefined;
    if (this.stopped) return;
    const message = error?.message ?? 'the primary closed the connection';
    // The same failure again and again is told once.
    if (wasConnected || message !== this.lastError) this.options.log.warn({ url }, `not following: ${message}`);
    this.lastError = message;
    this.lastRefusal = error?.refused === true ? (error.code ?? null) : null;
  }

  private onMessage(message: Message, sizeBytes: number): void {
    if (message.type === 'hello-reply') {
      if (this.connectedAtMs !== undefined) throw badMessage('a second hello-reply');
      this.onHello(message);
      return;
    }
    if (this.connectedAtMs === undefined) throw badMessage(`${message.type} before hello-reply`);
    if (message.type === 'heartbeat') {
      this.onHeartbeat(message);
      return;
    }
    switch (message.type) {
      case 'halted':
      case 'halt-wanted':
      case 'halt-ended':
      case 'forward-refused':
        this.options.writes?.receive(message);
        return;
      default:
    }
    if (!('name' in message)) throw badMessage(`${message.type} is not for a replica`);
    if (message.type === 'transaction' || message.type === 'large-chunk') this.options.hooks?.received?.(sizeBytes);
    if (message.type === 'drop') this.word.dropped(message.name);
    this.database(message.name).receive(message);
  }

  private database(name: string): ReplicaDatabase {
    let database = this.databases.get(name);
    if (database !== undefined) return database;
    if (this.databases.size >= MAX_DATABASES) throw badMessage(`more than ${MAX_DATABASES} databases`);
    database = new ReplicaDatabase(name, this.context);
    this.databases.set(name, database);
    return database;
  }

  private onHello(hello: Extract<Message, { type: 'hello-reply' }>): void {
    this.connectedAtMs = this.context.now();
    this.lastError = null;
    this.lastRefusal = null;
    this.advertised = hello.advertise;
    this.wantsStored = hello.wantsStored;
    this.clock = new PrimaryClock();
    this.heardClock(hello.sentMs);
    this.word.hello(hello.run, hello.proxy, hello.positions);
    const told = new Map(hello.positions.map((entry) => [entry.name, entry]));
    this.options.sink.follows(hello.run, new Map(hello.positions.map(({ name, position }) => [name, position])));
    const gate = this.retain(new Set(told.keys()));
    for (const name of new Set([...told.keys(), ...this.held.keys(), ...this.databases.keys()])) {
      const held = this.held.get(name) ?? ZERO_POSITION;
      // A database that the primary does not have waits until it is set aside: the primary may make a new one of its name.
      this.database(name).connected(held, told.get(name), told.has(name) ? undefined : gate);
    }
    this.targets = new Map();
    for (const { name, position } of hello.positions) {
      const held = this.held.get(name);
      if (held?.txid !== position.txid || held.checksum !== position.checksum) this.targets.set(name, position.txid);
    }
    this.options.log.info({ url: this.upstream?.url, primary: hello.nodeId, databases: told.size }, 'following');
    this.options.hooks?.connected?.(true);
    const { upstream } = this;
    this.options.writes?.connected({
      send: (message) => upstream?.send(message),
      queuedBytes: () => upstream?.queuedBytes ?? 0,
    });
    this.checkCaughtUp();
  }

  private async retain(names: ReadonlySet<string>): Promise<void> {
    try {
      await this.options.sink.retain(names);
      for (const [name, database] of this.databases) {
        if (!names.has(name) && database.idle && database.position.txid === 0) this.databases.delete(name);
      }
    } catch (error) {
      const text = `databases that the primary does not have could not be set aside: ${describeError(error)}`;
      this.options.log.error({}, text);
    }
  }

  private onHeartbeat(message: Extract<Message, { type: 'heartbeat' }>): void {
    this.heardClock(message.sentMs);
    for (const entry of message.positions) this.databases.get(entry.name)?.heard(entry);
    this.word.heartbeat(message.positions, this.upstream?.answeredMs ?? 0);
    this.options.hooks?.heartbeat?.();
    this.upstream?.send({ type: 'heartbeat-reply', sentMs: message.sentMs });
  }

  private heardClock(sentMs: number): void {
    const now = this.context.now();
    this.clock.heard(sentMs, now);
    this.lastHeartbeatMs = now;
  }

  private onQueued(bytes: number): void {
    this.queuedBytes += bytes;
    this.upstream?.setPaused(this.queuedBytes > this.limits.queueBytes);
  }

  private onApplied(database: ReplicaDatabase, timeMs: number | undefined): void {
    const lagMs = timeMs === undefined ? 0 : Math.max(0, this.clock.at(this.context.now()) - timeMs);
    this.options.hooks?.applied?.(database.name, database.position, lagMs);
    this.onReached(database);
  }

  private onReached(database: ReplicaDatabase): void {
    if (this.targets === undefined) return;
    const target = this.targets.get(database.name);
    if (target === undefined || database.position.txid < target) return;
    this.targets.delete(database.name);
    this.checkCaughtUp();
  }

  private onDropped(database: ReplicaDatabase): void {
    // Its queue still has to tell the primary; the next database of this name may already wait behind.
    setImmediate(() => {
      if (database.idle && database.position.txid === 0) this.databases.delete(database.name);
    });
    if (this.targets?.delete(database.name) === true) this.checkCaughtUp();
  }

  private checkCaughtUp(): void {
    if (this.targets?.size !== 0) return;
    this.targets = undefined;
    this.resolveCaughtUp();
    this.options.hooks?.caughtUp?.();
  }

  private onFailed(name: string, error: SluiceError): void {
    this.options.hooks?.failed?.(name, error.code);
    this.options.log.warn({ database: name, code: error.code }, `cannot follow: ${describeError(error)}`);
  }

  status(): UpstreamStatus {
    const { lastHeartbeatMs } = this;
    return {
      url: this.upstream?.url ?? this.urls[0]!,
      connected: this.connectedAtMs !== undefined,
      lastHeartbeatAt: lastHeartbeatMs === null ? null : new Date(lastHeartbeatMs).toISOString(),
      lagMs: this.lagMs(),
      lastError: this.lastError,
    };
  }

  /** The code with which the primary refused until a person changes something, e.g. `NODE_ID_TWICE`; else null. */
  refusal(): string | null {
    return this.lastRefusal;
  }

  /** The primary's advertised address; null until it said one. */
  primary(): string | null {
    return this.advertised;
  }

  /**
   * How old the content is: of one database, or of the one furthest behind. 0 when it has all that the primary had at
   * its last word; grows while the primary is not heard. Null before the first hello, or for an unknown database.
   */
  lagMs(name?: string): number | null {
    if (this.lastHeartbeatMs === null) return null;
    const now = this.context.now();
    const silentMs = now - this.lastHeartbeatMs;
    const isFresh = this.connectedAtMs !== undefined && silentMs <= FRESH_HEARTBEATS * this.heartbeatMs;
    let lagMs = isFresh ? 0 : silentMs;
    const primaryNow = this.clock.at(now);
    if (name !== undefined) {
      const database = this.databases.get(name);
      return database === undefined ? null : Math.max(lagMs, database.lagMs(primaryNow));
    }
    for (const database of this.databases.values()) lagMs = Math.max(lagMs, database.lagMs(primaryNow));
    return lagMs;
  }

  /** Databases that cannot follow now, and why. */
  problems(): DatabaseProblem[] {
    const problems: DatabaseProblem[] = [];
    for (const { problem } of this.databases.values()) if (problem !== null) problems.push(problem);
    return problems;
  }
}

function checkUrl(url: string): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && (parsed.protocol === 'ws:' || parsed.protocol === 'wss:') && parsed.hash === '') return;
  throw new SluiceError(
    'REPLICATION_URL',
    `not the address of a primary: ${url}`,
    'Write it as ws://host:port or wss://host:port',
  );
}
