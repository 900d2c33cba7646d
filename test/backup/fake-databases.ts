import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type {
  DatabaseListener,
  DatabaseSet,
  LogEntry,
  ReplicatedDatabase,
  Snapshot,
  TransactionLog,
} from '../../src/database/types.js';
import {
  bytesSource,
  type ChecksumHalves,
  DatabaseSums,
  encodeLtx,
  type LtxPage,
  lockPage,
  type Position,
  pageChecksum,
  ZERO_POSITION,
} from '../../src/ltx/index.js';

const CHUNK_BYTES = 1024 * 1024;

/** A real SQLite file in rollback mode; each `write` becomes one transaction by comparing pages with what was there. */
export class FakeDatabase implements ReplicatedDatabase {
  position: Position = ZERO_POSITION;
  positionTimeMs = 0;
  readonly log = new FakeLog();
  pageSize = 0;
  pageCount = 0;
  /** The database file as it is at `position`. */
  image: Buffer = Buffer.alloc(0);
  snapshots = 0;
  /** Page 1 says that the database is in WAL mode. */
  saysWal = false;
  /** Thrown by the next snapshots, if set. */
  snapshotError: Error | undefined;
  private readonly sql: Database.Database;
  private sums: DatabaseSums;

  constructor(
    readonly name: string,
    folder: string,
    private readonly set: FakeDatabaseSet,
    pageSize = 4096,
    copyOf?: string,
  ) {
    this.path = join(folder, `${name.replaceAll('/', '_')}.source`);
    if (copyOf !== undefined) copyFileSync(copyOf, this.path);
    this.sums = new DatabaseSums(pageSize);
    this.sql = new Database(this.path);
    this.sql.pragma(`page_size=${pageSize}`);
    this.sql.pragma('synchronous=OFF');
  }

  readonly path: string;

  /** Runs SQL and logs what changed. */
  write(statements: string): void {
    this.sql.exec(statements);
    this.capture();
  }

  close(): void {
    this.sql.close();
  }

  /** The same database with the same history in another set: from here on they are two. */
  copyTo(set: FakeDatabaseSet): FakeDatabase {
    const copy = set.create(this.name, this.pageSize, this.path);
    copy.position = this.position;
    copy.positionTimeMs = this.positionTimeMs;
    copy.pageSize = this.pageSize;
    copy.pageCount = this.pageCount;
    copy.image = this.image;
    for (let txid = this.log.first; txid <= this.log.last; txid++) copy.log.push(this.log.get(txid)!);
    copy.log.first = this.log.first;
    copy.log.last = this.log.last;
    for (const { pgno, data } of pagesOf(this.image, this.pageSize)) copy.sumPage(pgno, data);
    return copy;
  }

  /** What an import does: the state changes, the log does not lead to it. */
  resetBy(statements: string): void {
    this.sql.exec(statements);
    const entry = this.nextEntry();
    this.log.cut(entry.txid);
    this.set.emit((listener) => listener.reset?.(this));
  }

  async snapshot(): Promise<Snapshot> {
    await this.set.beforeSnapshot(this.name);
    if (this.snapshotError !== undefined) throw this.snapshotError;
    this.snapshots++;
    const { position, pageSize, pageCount, positionTimeMs } = this;
    const header = { pageSize, commit: pageCount, minTxid: 1, maxTxid: position.txid, timestampMs: positionTimeMs };
    const bytes = encodeLtx({ ...header, preApply: 0n, postApply: position.checksum }, pagesOf(this.image, pageSize));
    return {
      position,
      pageSize,
      pageCount,
      timestampMs: positionTimeMs,
      async *chunks() {
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
      },
      close() {},
    };
  }

  private sumPage(pgno: number, data: Uint8Array): void {
    const sum: ChecksumHalves = { high: 0, low: 0 };
    pageChecksum(pgno, data, 0, data.length, sum);
    this.sums.set(pgno, sum.high, sum.low);
  }

  private capture(): void {
    const entry = this.nextEntry();
    this.log.push(entry);
    if (entry.txid === 1) this.set.emit((listener) => listener.opened?.(this));
    this.set.emit((listener) => listener.transaction?.(this, entry.bytes()));
  }

  /** Moves on to what the file holds now. */
  private nextEntry(): LogEntry {
    const image = readFileSync(this.path);
    if (this.saysWal) image.fill(2, 18, 20);
    const pageSize = image.readUInt16BE(16) === 1 ? 65536 : image.readUInt16BE(16);
    const first = this.position.txid === 0 || pageSize !== this.pageSize;
    if (first) this.sums = new DatabaseSums(pageSize);
    const old = first ? Buffer.alloc(0) : this.image;
    const pages = pagesOf(image, pageSize).filter(({ pgno, data }) => {
      const start = (pgno - 1) * pageSize;
      return start >= old.length || !old.subarray(start, start + pageSize).equals(data);
    });
    for (const { pgno, data } of pages) this.sumPage(pgno, data);
    const before = this.position;
    this.pageCount = image.length / pageSize;
    this.sums.truncate(this.pageCount);
    this.pageSize = pageSize;
    this.image = image;
    this.position = { txid: before.txid + 1, checksum: this.sums.checksum() };
    this.positionTimeMs = 1_700_000_000_000 + this.position.txid * 1000;
    const bytes = encodeLtx(
      {
        pageSize,
        commit: this.pageCount,
        minTxid: this.position.txid,
        maxTxid: this.position.txid,
        timestampMs: this.positionTimeMs,
        preApply: before.checksum,
        postApply: this.position.checksum,
      },
      pages,
    );
    return fakeEntry(bytes, before, this.position);
  }
}

function pagesOf(image: Buffer, pageSize: number): LtxPage[] {
  const pages: LtxPage[] = [];
  for (let pgno = 1; pgno * pageSize <= image.length; pgno++) {
    if (pgno === lockPage(pageSize)) continue;
    pages.push({ pgno, data: image.subarray((pgno - 1) * pageSize, pgno * pageSize) });
  }
  return pages;
}

function fakeEntry(bytes: Uint8Array, before: Position, after: Position): LogEntry {
  return {
    txid: after.txid,
    size: bytes.length,
    before,
    after,
    bytes: () => bytes,
    open: () => ({ source: bytesSource(bytes), close() {} }),
  };
}

export class FakeLog implements TransactionLog {
  first = 1;
  last = 0;
  bytes = 0;
  /** What comes of an entry when it is read. */
  wrap: (entry: LogEntry) => LogEntry = (entry) => entry;
  private readonly entries = new Map<number, LogEntry>();

  get(txid: number): LogEntry | undefined {
    const entry = this.entries.get(txid);
    return entry && this.wrap(entry);
  }

  push(entry: LogEntry): void {
    this.entries.set(entry.txid, entry);
    this.last = entry.txid;
    this.bytes += entry.size;
  }

  /** The log ends: `txid` is the position, no entry leads to it. */
  cut(txid: number): void {
    this.entries.clear();
    this.first = txid + 1;
    this.last = txid;
  }

  /** Drops what is older than `first`. */
  prune(first: number): void {
    for (let txid = this.first; txid < first; txid++) this.entries.delete(txid);
    this.first = first;
  }
}

export class FakeDatabaseSet implements DatabaseSet {
  private readonly databases = new Map<string, FakeDatabase>();
  private readonly listeners = new Set<DatabaseListener>();
  /** What a snapshot waits for. */
  beforeSnapshot: (name: string) => Promise<void> = () => Promise.resolve();

  constructor(private readonly folder: string) {}

  create(name: string, pageSize?: number, copyOf?: string): FakeDatabase {
    const db = new FakeDatabase(name, this.folder, this, pageSize, copyOf);
    this.databases.set(name, db);
    return db;
  }

  drop(name: string): void {
    const db = this.databases.get(name);
    if (db === undefined) return;
    this.databases.delete(name);
    this.emit((listener) => listener.dropped?.(name, db.position));
  }

  /** Databases without a transaction are not there yet. */
  all(): Iterable<FakeDatabase> {
    return [...this.databases.values()].filter((db) => db.position.txid > 0);
  }

  get(name: string): FakeDatabase | undefined {
    return this.databases.get(name);
  }

  subscribe(listener: DatabaseListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  emit(call: (listener: DatabaseListener) => void): void {
    for (const listener of this.listeners) call(listener);
  }

  close(): void {
    for (const db of this.databases.values()) db.close();
  }
}
