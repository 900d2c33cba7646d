const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes of one piece of anything large, and the largest LTX that goes as one message. */
export const CHUNK_BYTES = 256 * KIB;

/** Bytes of the largest message either side accepts; a hello with 65,536 names of 100 bytes fits. */
export const MAX_MESSAGE_BYTES = 8 * MIB;

/** Databases in one hello. */
export const MAX_DATABASES = 65_536;

/** Bytes of a database's path under the mount, and of one part of it. */
export const MAX_NAME_BYTES = 1024;
export const MAX_NAME_PART_BYTES = 255;

/** Characters of a node id, of a node's name or address, and of an error text. */
export const MAX_ID_LENGTH = 128;
export const MAX_ADDRESS_LENGTH = 1024;
export const MAX_TEXT_LENGTH = 2048;

/** What each message counts in the windows beyond its LTX bytes, so that many small ones are bounded too. */
export const MESSAGE_COST_BYTES = 128;

/** The primary's limits, each for one replica unless it says otherwise. Bytes and milliseconds. */
export interface ServerLimits {
  /** Sent and not acknowledged, of one database and of all. They bound what the replica holds in memory. */
  readonly databaseWindowBytes: number;
  readonly connectionWindowBytes: number;
  /** Queued in this process for the socket: up to `bulk` for snapshots and catch-up, up to `live` for new transactions. */
  readonly bulkBufferBytes: number;
  readonly liveBufferBytes: number;
  /** Snapshots being read at once for one replica, and for all of them. */
  readonly followerSnapshots: number;
  readonly snapshots: number;
  /** Replicas connected at once. */
  readonly followers: number;
  /** From the connection to its hello. */
  readonly helloMs: number;
  /** Without a byte from the other side, it is taken for dead. */
  readonly silenceMs: number;
  /** How long an older connection of the same node id may take to show that it lives. */
  readonly twinMs: number;
  /** Without an acknowledgement, a database is shown as stuck; a snapshot that is being sent is given up. */
  readonly stuckMs: number;
  readonly snapshotStallMs: number;
  /** How long `close` waits for acknowledgements. */
  readonly drainMs: number;
}

export const SERVER_LIMITS: ServerLimits = Object.freeze({
  databaseWindowBytes: 8 * MIB,
  connectionWindowBytes: 32 * MIB,
  bulkBufferBytes: 512 * KIB,
  liveBufferBytes: 4 * MIB,
  followerSnapshots: 2,
  snapshots: 8,
  followers: 256,
  helloMs: 10_000,
  silenceMs: 15_000,
  twinMs: 2_000,
  stuckMs: 10_000,
  snapshotStallMs: 60_000,
  drainMs: 5_000,
});

/** The replica's limits. Bytes and milliseconds. */
export interface ClientLimits {
  /** Received and not yet taken by the sink, of all databases; beyond it the socket is not read. */
  readonly queueBytes: number;
  /** From the start of a connection to the primary's hello. */
  readonly connectMs: number;
  /** Without a byte from the primary, the connection is taken for dead. */
  readonly silenceMs: number;
  /** Between tries to connect: the first and the longest; `refused` after a refusal that only a person can change. */
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  readonly refusedMs: number;
  /** Between tries of one database that failed: the first and the longest. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How long `stop` waits for what the sink is doing. */
  readonly drainMs: number;
}

export const CLIENT_LIMITS: ClientLimits = Object.freeze({
  queueBytes: 64 * MIB,
  connectMs: 10_000,
  silenceMs: 15_000,
  reconnectMinMs: 50,
  reconnectMaxMs: 5_000,
  refusedMs: 30_000,
  retryMinMs: 100,
  retryMaxMs: 30_000,
  drainMs: 5_000,
});
