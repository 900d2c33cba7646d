import type {
  DatabaseListener,
  DatabaseSet,
  LargeReceiver,
  LogEntry,
  ReplicaSink,
  ReplicatedDatabase,
  Snapshot,
  TransactionLog,
} from '../../src/database/types.js';
import { SluiceError } from '../../src/errors.js';
import {
  bytesSource,
  CHECKSUM_FLAG,
  encodeLtx,
  joinChecksum,
  LtxEncoder,
  type LtxHeader,
  type Position,
  pageChecksum,
  samePosition,
  verifyLtx,
  ZERO_POSITION,
} from '../../src/ltx/index.js';
import type { ReplicationLog } from '../../src/replication/index.js';

const PAGE_SIZE = 4096;

export const silentLog: ReplicationLog = { debug() {}, info() {}, warn() {}, error() {} };

function pageOf(pgno: number, seed: number): Uint8Array {
  const page = Buffer.alloc(PAGE_SIZE);
  // Not compressible, and cheap to make.
  for (let at = 0, x = (pgno * 2654435761 + seed * 40503 + 1) >>> 0; at < PAGE_SIZE; at += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    page.writeUInt32LE(x, at);
  }
  return page;
}

/** A database of the primary, in memory, with real LTX bytes. */
export class FakeDatabase implements ReplicatedDatabase {
  position: Position = ZERO_POSITION;
  positionTimeMs = 0;
  readonly pageSize = PAGE_SIZE;
  pageCount = 0;
  readonly entries = new Map<number, Uint8Array>();
  first = 1;
  snapshots = 0;
  openSnapshots = 0;
  openEntries = 0;
  /** Thrown by `snapshot` while set. */
  snapshotError: SluiceError | undefined;

  /** Checksum of the database after each transaction, and of each of its pages now, and what each page was made of. */
  private readonly checksums: bigint[] = [0n];
  private readonly pageSums: bigint[] = [];
  private readonly pageSeeds: number[] = [];
  private readonly seed: number;

  constructor(
    readonly name: string,
    readonly branch = 'main',
  ) {
    this.seed = Buffer.from(name + branch).reduce((sum, byte) => (sum * 31 + byte) % 1_000_003, 7);
  }

  private writePage(pgno: number, txid: number): { pgno: number; data: Uint8Array } {
    this.pageSeeds[pgno] = this.seed + txid;
    const data = pageOf(pgno, this.pageSeeds[pgno]);
    const sum = { high: 0, low: 0 };
    pageChecksum(pgno, data, 0, data.length, sum);
    this.pageSums[pgno] = joinChecksum(sum.high, sum.low);
    return { pgno, data };
  }

  /** Appends a transaction of `pages` pages and returns its bytes. */
  commit(pages = 1): Uint8Array {
    const txid = this.position.txid + 1;
    this.pageCount = Math.max(this.pageCount, pages);
    const count = txid === 1 ? this.pageCount : pages;
    const written = Array.from({ length: count }, (_, i) => this.writePage(i + 1, txid));
    const checksum = this.pageSums.reduce((sum, page) => sum ^ page, 0n) | CHECKSUM_FLAG;
    this.checksums[txid] = checksum;
    const after = { txid, checksum };
    const header = this.header(txid, txid, this.position.checksum, checksum);
    const ltx = encodeLtx(header, written);
    this.entries.set(txid, Uint8Array.from(ltx));
    this.position = after;
    this.positionTimeMs = header.timestampMs;
    return this.entries.get(txid)!;
  }

  header(minTxid: number, maxTxid: number, preApply: bigint, postApply: bigint): LtxHeader {
    return {
      pageSize: PAGE_SIZE,
      commit: this.pageCount,
      minTxid,
      maxTxid,
      timestampMs: Date.now(),
      preApply,
      postApply,
    };
  }

  /** Forgets transactions below `first`. */
  prune(first: number): void {
    for (; this.first < first; this.first++) this.entries.delete(this.first);
  }

  get log(): TransactionLog {
    const bytes = Array.from(this.entries.values(), (ltx) => ltx.length).reduce((a, b) => a + b, 0);
    return { first: this.first, last: this.position.txid, bytes, get: (txid) => this.entry(txid) };
  }

  private entry(txid: number): LogEntry | undefined {
    const ltx = this.entries.get(txid);
    if (ltx === undefined) return undefined;
    const at = (n: number): Position => ({ txid: n, checksum: this.checksums[n]! });
    return {
      txid,
      size: ltx.length,
      before: at(txid - 1),
      after: at(txid),
      bytes: () => {
        if (!this.entries.has(txid)) throw new SluiceError('LOG_PRUNED', `${this.name}: ${txid} was pruned`);
        return ltx;
      },
      open: () => {
        this.openEntries++;
        return { source: bytesSource(ltx), close: () => this.openEntries-- };
      },
    };
  }

  async snapshot(): Promise<Snapshot> {
    await Promise.resolve();
    if (this.snapshotError !== undefined) throw this.snapshotError;
    this.snapshots++;
    this.openSnapshots++;
    const { position, pageCount, name } = this;
    const seeds = [...this.pageSeeds];
    const header = this.header(1, position.txid, 0n, position.checksum);
    let open = true;
    return {
      position,
      pageSize: PAGE_SIZE,
      pageCount,
      timestampMs: header.timestampMs,
      async *chunks() {
        const pieces: Uint8Array[] = [];
        const encoder = new LtxEncoder((piece) => pieces.push(Uint8Array.from(piece)), header);
        for (let pgno = 1; pgno <= pageCount; pgno++) {
          encoder.writePage(pgno, pageOf(pgno, seeds[pgno]!));
          while (pieces.length > 0) {
            if (!open) throw new Error(`${name}: read after close`);
            yield pieces.shift()!;
            await new Promise((done) => setImmediate(done));
          }
        }
        encoder.finish();
        yield* pieces;
      },
      close: () => {
        if (open) this.openSnapshots--;
        open = false;
      },
    };
  }
}

/** The databases of a primary; `commit` and the others tell the listeners as the real one does. */
export class FakeDatabaseSet implements DatabaseSet {
  readonly databases = new Map<string, FakeDatabase>();
  readonly listeners = new Set<DatabaseListener>();

  all(): Iterable<FakeDatabase> {
    return this.databases.values();
  }

  get(name: string): FakeDatabase | undefined {
    return this.databases.get(name);
  }

  subscribe(listener: DatabaseListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Commits, `times` transactions of `pages` pages; the database is made if there is none. */
  commit(name: string, times = 1, pages = 1, branch = 'main'): FakeDatabase {
    let database = this.databases.get(name);
    for (let i = 0; i < times; i++) {
      const isNew = database === undefined;
      database ??= new FakeDatabase(name, branch);
      this.databases.set(name, database);
      const ltx = database.commit(pages);
      for (const listener of this.listeners) {
        if (isNew) listener.opened?.(database);
        listener.transaction?.(database, ltx.length <= 256 * 1024 ? ltx : undefined);
      }
    }
    return database!;
  }

  drop(name: string): void {
    const database = this.databases.get(name);
    this.databases.delete(name);
    for (const listener of this.listeners) listener.dropped?.(name, database!.position);
  }

  /** Goes on at the next position without a log, as after an import. */
  reset(name: string): void {
    const database = this.databases.get(name)!;
    database.commit();
    database.prune(database.position.txid + 1);
    for (const listener of this.listeners) listener.reset?.(database);
  }
}

/** A database as the replica has it. */
export interface FakeCopy {
  position: Position;
  /** How it got there: `t7` by transaction 7, `large t8`, `snapshot new 9`. */
  readonly history: string[];
}

/** A replica's sink in memory: checks all bytes and positions as the real one does. */
export class FakeSink implements ReplicaSink {
  readonly copies = new Map<string, FakeCopy>();
  readonly asides: string[] = [];
  readonly retained: string[][] = [];
  /** Called before each receive, write, finish or drop; may wait or throw. */
  before: (name: string, what: string) => Promise<void> | void = () => {};
  received = 0;
  aborted = 0;

  positions(): ReadonlyMap<string, Position> {
    return new Map(Array.from(this.copies, ([name, { position }]) => [name, position]));
  }

  positionOf(name: string): Position {
    return this.copies.get(name)?.position ?? ZERO_POSITION;
  }

  historyOf(name: string): readonly string[] {
    return this.copies.get(name)?.history ?? [];
  }

  private moveTo(name: string, position: Position, how: string): Position {
    const copy = this.copies.get(name) ?? { position, history: [] };
    copy.position = position;
    copy.history.push(how);
    this.copies.set(name, copy);
    this.received++;
    return position;
  }

  private apply(name: string, ltx: Uint8Array, label: string): Position {
    const { header } = verifyLtx(bytesSource(ltx));
    const here = this.positionOf(name);
    if (header.minTxid !== here.txid + 1 || header.preApply !== here.checksum) {
      throw new SluiceError('REPLICA_GAP', `${name}: ${header.minTxid} does not follow ${here.txid}`);
    }
    const position = { txid: header.maxTxid, checksum: header.postApply };
    return this.moveTo(name, position, `${label}${header.maxTxid}`);
  }

  follows(): void {}

  async receive(name: string, ltx: Uint8Array): Promise<Position> {
    await this.before(name, 'receive');
    return this.apply(name, ltx, 't');
  }

  private large(name: string, finish: (ltx: Uint8Array) => Position): LargeReceiver {
    const pieces: Uint8Array[] = [];
    return {
      write: async (chunk) => {
        await this.before(name, 'write');
        pieces.push(chunk);
      },
      finish: async () => {
        await this.before(name, 'finish');
        return finish(Buffer.concat(pieces));
      },
      abort: async () => {
        this.aborted++;
      },
    };
  }

  receiveLarge(name: string): LargeReceiver {
    return this.large(name, (ltx) => this.apply(name, ltx, 'large t'));
  }

  receiveSnapshot(name: string, reason: 'new' | 'behind' | 'diverged'): LargeReceiver {
    return this.large(name, (ltx) => {
      const { header } = verifyLtx(bytesSource(ltx));
      if (header.minTxid !== 1) throw new SluiceError('LTX_HEADER', 'not a snapshot');
      if (reason === 'diverged') this.asides.push(name);
      const position = { txid: header.maxTxid, checksum: header.postApply };
      return this.moveTo(name, position, `snapshot ${reason} ${header.maxTxid}`);
    });
  }

  async drop(name: string, position: Position): Promise<void> {
    await this.before(name, 'drop');
    if (this.copies.has(name) && !samePosition(this.positionOf(name), position)) this.asides.push(name);
    this.copies.delete(name);
  }

  async retain(names: ReadonlySet<string>): Promise<void> {
    this.retained.push([...names]);
    for (const name of this.copies.keys()) {
      if (names.has(name)) continue;
      this.asides.push(name);
      this.copies.delete(name);
    }
  }
}

/** Waits until `condition` holds; fails with `what` after `limitMs`. */
export async function eventually(condition: () => boolean, what: string, limitMs = 10_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`did not happen in ${limitMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 2));
  }
}
