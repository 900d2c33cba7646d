import type { LtxLocation } from '../apply/index.js';
import type { ByteSource, LtxHeader, Position, Txid } from '../ltx/index.js';

/**
 * What replication and backup see of one database of this node: where it stands, its recent transactions, and a
 * consistent image of all of it. Everything here is on the main thread.
 */
export interface ReplicatedDatabase {
  /** Path under the mount, `/`-separated, e.g. `app.db` or `tenants/7.db`. */
  readonly name: string;
  /** Last transaction that is in the log. ZERO_POSITION before the first. */
  readonly position: Position;
  /** When that transaction was logged, Unix milliseconds. */
  readonly positionTimeMs: number;
  readonly log: TransactionLog;
  /** Bytes; 0 before the first transaction. */
  readonly pageSize: number;
  /** Pages after the last transaction. */
  readonly pageCount: number;
  /**
   * A consistent image of the whole database at a position not older than the one it has now, as one LTX file
   * (min TXID 1), made while applications go on writing. Bounded memory. One at a time per consumer.
   * Rejects if the database is dropped or damaged meanwhile.
   */
  snapshot(): Promise<Snapshot>;
}

/** A consistent image being read. */
export interface Snapshot {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly timestampMs: number;
  /**
   * The LTX bytes, in order, in pieces of at most 1 MiB; each piece is the consumer's to keep. Errors reject.
   */
  chunks(): AsyncGenerator<Uint8Array, void, undefined>;
  /** Ends it early, or after the last chunk; frees what it holds. Safe to call twice. */
  close(): void;
}

/** The transactions of one database that this node still has, one LTX each, in TXID order and without a gap. */
export interface TransactionLog {
  /** Oldest TXID that can be read; `last + 1` if none can. */
  readonly first: Txid;
  /** Newest; 0 if there was none yet. Always the database's position. */
  readonly last: Txid;
  /** Bytes on disk. */
  readonly bytes: number;
  /** The transaction, or undefined if it is older than `first` or newer than `last`. Synchronous. */
  get(txid: Txid): LogEntry | undefined;
}

export interface LogEntry {
  readonly txid: Txid;
  /** Bytes of the LTX file. */
  readonly size: number;
  /** Database checksum before and after (Sluice's own, from the LTX header). */
  readonly before: Position;
  readonly after: Position;
  /** The whole LTX file in memory. Only for entries that are small enough for the caller. Throws if it was pruned meanwhile. */
  bytes(): Uint8Array;
  /** The same as a source to read piece by piece; stays readable until `close`, also if the log is pruned. */
  open(): { readonly source: ByteSource; close(): void };
}

/**
 * The databases of a node, and what happens to them. Listeners are called on the main thread, in order, after the
 * fact; a listener must not throw and should only take note.
 */
export interface DatabaseSet {
  all(): Iterable<ReplicatedDatabase>;
  get(name: string): ReplicatedDatabase | undefined;
  /** Returns a function that ends the subscription. */
  subscribe(listener: DatabaseListener): () => void;
}

export interface DatabaseListener {
  /** A database appeared (its first transaction is in). */
  opened?(db: ReplicatedDatabase): void;
  /**
   * A transaction was logged. `ltx` is the whole file where it is small (<= 256 KiB), else undefined: read the log.
   * The bytes are shared: never write to them.
   */
  transaction?(db: ReplicatedDatabase, ltx: Uint8Array | undefined): void;
  /**
   * The log was cut: the database went to its position by something that is not in the log (an imported file, a new
   * page size). Who is behind needs a snapshot.
   */
  reset?(db: ReplicatedDatabase): void;
  /** The application deleted it; `position` was its last. */
  dropped?(name: string, position: Position): void;
}

/** What a replica does with what a stream brings. One per node; each database moves on its own. */
export interface ReplicaSink {
  /** Positions of all databases that this replica has. */
  positions(): ReadonlyMap<string, Position>;
  /**
   * After each hello, before anything that comes by its connection: `run` tells one process of one primary from all
   * others (0n: it does not say), `positions` is where its databases are. While a run lasts its history only grows.
   */
  follows(run: bigint, positions: ReadonlyMap<string, Position>): void;
  /**
   * Checks one transaction against the database's position and page checksums, logs it, applies it, and resolves with
   * the new position when readers of the mount can see it. Calls for one database are queued, in order.
   * Rejects with a SluiceError: `REPLICA_GAP` (does not follow the position: ask for a snapshot), `LTX_*` (bad bytes:
   * nothing was applied), `REPLICA_DIVERGED` (checksum after it differs from the one promised), `REPLICA_FAILED`
   * (this database cannot take it now, e.g. disk full: try later). `onLogged`: it is in the log, where it stays until it is applied.
   */
  receive(name: string, ltx: Uint8Array, onLogged?: (position: Position) => void): Promise<Position>;
  /**
   * Logs a transaction at once that follows what is in the log, while what comes before it is still being applied, and applies
   * it after that. `receive` is to be called with it all the same. Undefined if it has to wait for its turn.
   */
  logAhead?(name: string, ltx: Uint8Array, header: LtxHeader): Position | undefined;
  /** A transaction too large for one message: written piece by piece, applied at finish as by `receive`. */
  receiveLarge(name: string): LargeReceiver;
  /**
   * The primary has the transaction that applications here wrote and that leads to `position`. Resolves when readers of the
   * mount can see it. Rejects as `receive` does; `REPLICA_GAP` also if it is not known here (any more). Left out where
   * nobody writes.
   */
  receiveForwarded?(name: string, position: Position, onLogged?: (position: Position) => void): Promise<Position>;
  /**
   * Takes a snapshot piece by piece and puts it in the place of the database at `finish`. What was there before is set
   * aside in a dated folder first, unless it came from this run of the primary, so that it has it too, and has not
   * diverged. Readers of the mount see the old state or the new one.
   */
  receiveSnapshot(name: string, reason: 'new' | 'behind' | 'diverged'): LargeReceiver;
  /** The primary dropped it. Resolves when it is gone here. If its position is not `position` it is set aside. */
  drop(name: string, position: Position): Promise<void>;
  /** After each hello: databases that the primary does not have are set aside. */
  retain(names: ReadonlySet<string>): Promise<void>;
}

/** The primary has a transaction that an application of this node is about to commit. */
export interface Claim {
  /**
   * Lets the application go on. Resolves when its transaction is over, with whether readers see it; if not, it is to be
   * applied.
   */
  through(): Promise<boolean>;
}

/** What applications of a replica write. Calls do not throw. */
export interface LocalWrites {
  /** The transaction that leads there, if it is one that waits here for the primary. */
  pendingAt(name: string, position: Position): LtxLocation | undefined;
  /**
   * Something came of the primary, and leads there: what waits here is taken by that, or refused. To be told at once, whatever
   * else waits: what applications wait for may be in the way of everything.
   */
  arrived(name: string, position: Position): void;
  /** What leads there is about to be logged and applied: undefined if it is not what was taken here. */
  claim(name: string, position: Position): Claim | undefined;
  /** What the primary has is about to be written into the files, or that has ended. */
  applying(name: string, isApplying: boolean): void;
  /** The database is at another position. */
  moved(name: string): void;
}

/** Where one database of a replica stands. */
export interface Standing {
  readonly position: Position;
  /** False: what its files are is not known, and only a snapshot helps. */
  readonly isKnown: boolean;
  /** What a crash left in its files is of no position that it came to. */
  readonly isStray: boolean;
  /** The run that its position is from; 0n: not known. */
  readonly origin: bigint;
}

/**
 * What a replica does with the files of a store. As ReplicaSink, but each database has a run of its own: `run` tells one
 * writer of its backup, in one time of writing, from all others; 0n: it is not known.
 */
export interface StoreSink {
  positions(): ReadonlyMap<string, Position>;
  /** Undefined: there is no such database. */
  standing(name: string): Standing | undefined;
  /** The run has this position in its history. */
  confirm(name: string, position: Position, run: bigint): void;
  /**
   * A file that begins at or before the next transaction, and may hold several. Where it names no database checksum, that
   * of the pages is taken. Rejects as `receive` does.
   */
  receiveStored(name: string, run: bigint): LargeReceiver;
  /** As `receiveSnapshot`; where the file names no checksum, that of the pages is taken. */
  receiveStoredSnapshot(name: string, reason: 'new' | 'behind' | 'diverged', run: bigint): LargeReceiver;
}

export interface LargeReceiver {
  /** Resolves when the next piece may come (back-pressure). */
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<Position>;
  abort(): Promise<void>;
}

/** Where the LTX file of one transaction is. */
export interface LoggedTransaction {
  readonly txid: Txid;
  /** Of the log's segment. */
  readonly path: string;
  readonly offset: number;
  readonly size: number;
}
