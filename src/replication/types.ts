import type { DatabaseSet, ReplicaSink } from '../database/types.js';
import type { Position } from '../ltx/index.js';
import type { ClientLimits, ServerLimits } from './limits.js';
import type { Message } from './messages.js';

/** The part of a pino logger that replication uses. Nothing is logged per transaction. */
export interface ReplicationLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What the primary's side counts. Called on the hot path: take note and return. */
export interface ServerHooks {
  /** Bytes of LTX given to the socket of one replica, of a live transaction or of catch-up and snapshots. */
  sent?(bytes: number, kind: 'live' | 'log' | 'snapshot'): void;
  /** The replica has this transaction, applied and visible to its readers. */
  acknowledged?(nodeId: string, name: string, position: Position): void;
  /** What connected replicas are known to have of this database changed; see ReplicationServer.standings. */
  standing?(name: string): void;
  /** A replica connected or left. */
  followers?(count: number): void;
}

/** What a replica sends because its applications write. */
export type WriteMessage = Extract<Message, { type: 'halt' | 'release' | 'forward-chunk' | 'forward' }>;

/** A replica that is connected, for who takes its writes. */
export interface WritePeer {
  readonly nodeId: string;
  /** `performance.now()` of its last word. */
  readonly heardMs: number;
  send(message: Message): void;
  /** The transaction that leads to this position is its own: it is not sent the pages, and not told of it before `settle`. */
  expect(name: string, position: Position): void;
  /** What was expected is where it has to be (`isTaken`), or was not made, or was taken back. */
  settle(name: string, isTaken: boolean): void;
}

/** Takes what applications write on replicas. Calls must not throw. */
export interface WriteServer {
  /** False for what the replica may not send. */
  receive(peer: WritePeer, message: WriteMessage): boolean;
  /** It is gone, and whatever it held. */
  left(peer: WritePeer): void;
}

export interface ReplicationServerOptions {
  readonly databases: DatabaseSet;
  /** This node's id, at most 128 characters. */
  readonly nodeId: string;
  /** Asked of each replica. Without it only loopback addresses can be listened on. */
  readonly token?: string | undefined;
  /** The address that replicas tell their applications as the primary's (`.primary`); default: none. */
  readonly advertise?: string | undefined;
  /** The address of this node's HTTP proxy, for the proxies of replicas; default: none. */
  readonly proxy?: string | undefined;
  /** Between heartbeats; default 1,000. */
  readonly heartbeatMs?: number;
  readonly limits?: Partial<ServerLimits>;
  readonly log: ReplicationLog;
  readonly hooks?: ServerHooks;
  /** Whether somebody waits for what replicas have: they say so as soon as it is in their logs. */
  readonly wantsStored?: boolean;
  /** Left out: no replica may write. */
  readonly writes?: WriteServer;
}

/** What the replica's side counts. Called on the hot path: take note and return. */
export interface ClientHooks {
  /** LTX bytes that came. */
  received?(bytes: number): void;
  /** A transaction or snapshot is applied; `lagMs` since it was committed on the primary, by the primary's clock. */
  applied?(name: string, position: Position, lagMs: number): void;
  /** The connection was made (hellos exchanged) or lost. */
  connected?(connected: boolean): void;
  /** All databases that the primary named in this connection's hello are applied at that position. */
  caughtUp?(): void;
  /** The primary said what it has; see `word`. */
  heartbeat?(): void;
  /** The sink could not take something. */
  failed?(name: string, code: string): void;
}

/** What a primary answers to a replica's writes; what it took comes by the stream. */
export type WriteAnswer = Extract<Message, { type: 'halted' | 'halt-wanted' | 'halt-ended' | 'forward-refused' }>;

/** One connection to the primary. */
export interface WriteSender {
  send(message: WriteMessage): void;
  /** Bytes that wait in this process for the line. */
  queuedBytes(): number;
}

/** What a replica's applications write, on its way to the primary. Calls must not throw. */
export interface WriteClient {
  /** Hellos were exchanged. */
  connected(sender: WriteSender): void;
  disconnected(): void;
  receive(message: WriteAnswer): void;
  /** The primary has got what was sent up to then, of `monotonicMs()`. */
  heard(sentMs: number): void;
}

export interface ReplicationClientOptions {
  /** `ws://host:port` or `wss://…`, IPv6 as `ws://[::1]:port`; several are tried in turn. */
  readonly url: string | readonly string[];
  readonly sink: ReplicaSink;
  readonly nodeId: string;
  /** Shown to the primary's operator; default: the node id. */
  readonly name?: string;
  readonly token?: string | undefined;
  /** Between signs of life to the primary; default 1,000. */
  readonly heartbeatMs?: number;
  readonly limits?: Partial<ClientLimits>;
  readonly log: ReplicationLog;
  readonly hooks?: ClientHooks;
  /** Left out: applications do not write here. */
  readonly writes?: WriteClient;
  /** 0 <= x < 1, for the jitter; default Math.random. */
  readonly random?: () => number;
}

/** What is wrong with one database on this replica now. */
export interface DatabaseProblem {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  /** Unix milliseconds. */
  readonly sinceMs: number;
}
