import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { DatabaseListener, ReplicatedDatabase } from '../database/types.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { decodeHeader, type Position } from '../ltx/index.js';
import type { ReplicaStatus } from '../status.js';
import { isAuthorized, requireToken } from './auth.js';
import { isDatabaseName } from './fields.js';
import type { Follower } from './follower.js';
import { FollowerConnection } from './follower-connection.js';
import type { FollowerContext } from './follower-stream.js';
import { CHUNK_BYTES, MAX_MESSAGE_BYTES, SERVER_LIMITS, type ServerLimits } from './limits.js';
import { type DatabasePosition, encodeMessage, encodeTransaction } from './messages.js';
import type { ReplicationServerOptions } from './types.js';

const DEFAULT_HEARTBEAT_MS = 1000;

/** How long a socket may take to close politely. */
const CLOSE_MS = 1000;

/** The primary's side: every replica that connects gets every database. */
export class ReplicationServer {
  private readonly limits: ServerLimits;
  private readonly heartbeatMs: number;
  private readonly wss: WebSocketServer;
  private readonly connections = new Set<FollowerConnection>();
  /** Connections past their hello. */
  private readonly following = new Set<Follower>();
  /** Databases that moved since the last heartbeat. */
  private readonly moved = new Set<string>();
  private readonly context: FollowerContext;
  /** See `hello-reply`. */
  readonly run = randomBytes(8).readBigUInt64BE() | 1n;
  private readonly unsubscribe: () => void;
  private readonly timer: NodeJS.Timeout;
  private server: Server | undefined;
  private closing: Promise<void> | undefined;

  constructor(private readonly options: ReplicationServerOptions) {
    this.limits = { ...SERVER_LIMITS, ...options.limits };
    this.heartbeatMs = options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
    this.wss = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
    });
    this.context = {
      databases: options.databases,
      limits: this.limits,
      log: options.log,
      hooks: options.hooks ?? {},
      writes: options.writes,
      slots: { used: 0 },
      slotFreed: () => {
        for (const follower of this.following) follower.slotFreed();
      },
      now: Date.now,
    };
    this.unsubscribe = options.databases.subscribe(this.listener());
    this.timer = setInterval(() => this.beat(), this.heartbeatMs);
    this.timer.unref();
  }

  /** Rejects with `TOKEN_REQUIRED` or `LISTEN_FAILED`. Port 0 takes a free one. `host` is a name or an address. */
  async listen(host: string, port: number): Promise<{ host: string; port: number }> {
    const address = isIP(host) === 0 ? await resolve(host) : host;
    requireToken(address, this.options.token);
    const server = createServer((_request, response) => {
      response.writeHead(426, { 'content-type': 'text/plain' }).end('This is a replication port: WebSocket only.\n');
    });
    server.maxConnections = this.limits.followers * 2;
    server.on('upgrade', (request, socket, head) => this.handleUpgrade(request, socket, head));
    await new Promise<void>((done, fail) => {
      server.once('error', (error) => fail(listenError(host, port, error)));
      server.listen(port, address, done);
    });
    server.on('error', (error) => this.options.log.error({ err: error }, 'replication server'));
    this.server = server;
    const bound = server.address() as AddressInfo;
    return { host: bound.address, port: bound.port };
  }

  /** For a socket of somebody else's HTTP server ('upgrade' event). The token is checked here. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refusal = this.refusal(request);
    if (refusal !== undefined) {
      socket.once('error', () => socket.destroy());
      socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      this.options.log.warn({ address: request.socket.remoteAddress }, `replica refused: ${refusal}`);
      return;
    }
    request.socket.setNoDelay(true);
    this.wss.handleUpgrade(request, socket, head, (ws) => {
      const connection = new FollowerConnection(ws, request.socket as Socket, {
        context: this.context,
        nodeId: this.options.nodeId,
        run: this.run,
        advertise: this.options.advertise ?? null,
        proxy: this.options.proxy ?? null,
        wantsStored: this.options.wantsStored === true,
        heartbeatMs: this.heartbeatMs,
        positions: () => this.positions(),
        others: (nodeId) =>
          [...this.connections].filter((other) => other !== connection && other.follower?.nodeId === nodeId),
        accepted: (follower) => this.accepted(connection, follower),
        closed: () => this.left(connection),
      });
      this.connections.add(connection);
    });
  }

  /** The HTTP status with which an upgrade is refused; undefined if it is not. */
  private refusal(request: IncomingMessage): string | undefined {
    if (this.closing !== undefined) return '503 Service Unavailable';
    // A page in a browser may open a WebSocket to any host that the browser can reach, and says so with this header.
    if (request.headers.origin !== undefined) return '403 Forbidden';
    if (!isAuthorized(request.headers.authorization, this.options.token)) return '401 Unauthorized';
    if (this.connections.size >= this.limits.followers) return '503 Service Unavailable';
    return undefined;
  }

  /** Of two that came at once the later one stays. */
  private accepted(connection: FollowerConnection, follower: Follower): void {
    for (const other of this.connections) {
      if (other !== connection && other.follower?.nodeId === follower.nodeId) other.terminate();
    }
    this.following.add(follower);
    this.context.hooks.followers?.(this.following.size);
    // It was made before it counted.
    for (const { name } of this.options.databases.all()) this.context.hooks.standing?.(name);
  }

  private left(connection: FollowerConnection): void {
    this.connections.delete(connection);
    if (connection.follower === undefined || !this.following.delete(connection.follower)) return;
    this.context.hooks.followers?.(this.following.size);
  }

  private listener(): DatabaseListener {
    return {
      opened: (database) => this.each((follower) => follower.open(database)),
      transaction: (database, ltx) => this.logged(database, ltx),
      reset: (database) => {
        this.moved.add(database.name);
        this.each((follower) => follower.reset(database));
      },
      dropped: (name, position) => {
        this.moved.delete(name);
        this.each((follower) => follower.drop(name, position));
      },
    };
  }

  private each(what: (follower: Follower) => void): void {
    for (const follower of this.following) what(follower);
  }

  private logged(database: ReplicatedDatabase, ltx: Uint8Array | undefined): void {
    this.moved.add(database.name);
    if (this.following.size === 0) return;
    const position = ltx !== undefined && ltx.length <= CHUNK_BYTES ? positionOf(database, ltx) : undefined;
    if (ltx === undefined || position === undefined) {
      for (const follower of this.following) follower.push(database, database.position, 0, undefined);
      return;
    }
    let message: Buffer | undefined;
    const envelope = () => (message ??= encodeTransaction(database.name, ltx));
    for (const follower of this.following) follower.push(database, position, ltx.length, envelope);
  }

  private positions(): DatabasePosition[] {
    const positions: DatabasePosition[] = [];
    for (const database of this.options.databases.all()) {
      if (database.position.txid > 0 && isDatabaseName(database.name)) positions.push(databasePosition(database));
    }
    return positions;
  }

  /** Tells all replicas this node's clock and what moved. */
  private beat(): void {
    const positions: DatabasePosition[] = [];
    for (const name of this.moved) {
      const database = this.options.databases.get(name);
      if (database !== undefined && isDatabaseName(name)) positions.push(databasePosition(database));
    }
    this.moved.clear();
    for (const connection of this.connections) connection.checkAlive();
    if (this.following.size === 0) return;
    const message = encodeMessage({ type: 'heartbeat', sentMs: Date.now(), positions });
    for (const follower of this.following) {
      follower.tick();
      follower.controlBytes(message);
    }
  }

  /** Where connected replicas certainly stand with a database, each on a machine of its own; without the one of the id `except`. */
  standings(name: string, except?: string): Position[] {
    const standings: Position[] = [];
    for (const follower of this.following) {
      const standing = follower.nodeId === except ? undefined : follower.standing(name);
      if (standing !== undefined) standings.push(standing);
    }
    return standings;
  }

  /** Who is connected, for `sluice status`. */
  followers(): ReplicaStatus[] {
    return Array.from(this.following, (follower) => follower.status());
  }

  /** Takes no more replicas, waits (at most `drainMs`) until those connected have acknowledged everything, closes. */
  close(): Promise<void> {
    this.closing ??= this.drainAndClose();
    return this.closing;
  }

  private async drainAndClose(): Promise<void> {
    this.server?.close();
    await until(() => this.isSettled(), this.limits.drainMs);
    this.unsubscribe();
    clearInterval(this.timer);
    for (const connection of this.connections) connection.close(1001, 'the primary is stopping');
    await until(() => this.connections.size === 0, CLOSE_MS);
    for (const connection of this.connections) connection.terminate();
    this.server?.closeAllConnections();
  }

  private isSettled(): boolean {
    for (const follower of this.following) if (!follower.settled) return false;
    return true;
  }
}

function databasePosition({ name, position, positionTimeMs }: ReplicatedDatabase): DatabasePosition {
  return { name, position, timeMs: Math.max(0, Math.round(positionTimeMs)) };
}

/**
 * Where the database was after this transaction; it may already be further when several are told of at once. Undefined
 * if the bytes do not say, and what the log has will be sent.
 */
function positionOf(database: ReplicatedDatabase, ltx: Uint8Array): Position | undefined {
  try {
    const { maxTxid, postApply } = decodeHeader(ltx);
    return maxTxid === database.position.txid ? database.position : { txid: maxTxid, checksum: postApply };
  } catch {
    return undefined;
  }
}

async function resolve(host: string): Promise<string> {
  try {
    return (await lookup(host)).address;
  } catch (error) {
    throw listenError(host, undefined, error);
  }
}

function listenError(host: string, port: number | undefined, error: unknown): SluiceError {
  const place = port === undefined ? host : `${host}:${port}`;
  const code = errorCode(error);
  const hint =
    code === 'EADDRINUSE'
      ? 'Another program uses this port: choose another in replication.listen'
      : 'Check replication.listen';
  return new SluiceError('LISTEN_FAILED', `cannot listen for replicas on ${place}: ${describeError(error)}`, hint, {
    cause: error,
  });
}

/** Waits until `condition` holds, at most `limitMs`. */
async function until(condition: () => boolean, limitMs: number): Promise<void> {
  const end = Date.now() + limitMs;
  while (!condition() && Date.now() < end) await new Promise((done) => setTimeout(done, 10));
}
