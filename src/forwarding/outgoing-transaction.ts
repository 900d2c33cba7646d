import { readSync } from 'node:fs';
import { join } from 'node:path';
import type { LtxLocation } from '../apply/index.js';
import type { Database, WorkerCommit } from '../database/index.js';
import { allPages, databaseFileFacts, grownPages, PageImages, WalFile } from '../database/index.js';
import { closeSync, openSync, rmSync, writeSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import {
  DatabaseSums,
  encodeLtx,
  LtxEncoder,
  type LtxHeader,
  lockPage,
  type Position,
  pageChecksum,
  SumsChange,
} from '../ltx/index.js';
import {
  frameCommitSize,
  framePageNumber,
  freeLeaves,
  parseDatabaseHeader,
  setChangeCounter,
  WAL_FORMAT,
  WAL_FRAME_HEADER_SIZE,
} from '../sqlite/index.js';

/** Pages up to which a transaction is made in memory, in one go. */
const SMALL_PAGES = 1024;
/** Pages between two turns of the event loop. */
const SLICE_PAGES = 128;

let files = 0;

/** How a WAL ends with a transaction: the checksum of its last frame tells it from all others. */
export interface WalEnd {
  readonly frames: number;
  readonly salt1: number;
  readonly salt2: number;
  readonly s0: number;
  readonly s1: number;
}

/** What an application is about to commit on a replica, as the primary gets it. */
export interface OutgoingTransaction {
  /** Where it leads. */
  readonly position: Position;
  readonly location: LtxLocation;
  /** What the wal-index says when it is committed; undefined in a rollback mode. */
  readonly walEnd: WalEnd | undefined;
  /** What the application makes of it is not all: the node adds the rest. */
  readonly isMore: boolean;
  /** It changes nothing that SQLite would ever read: it is what is left of one that was taken back. */
  readonly isLeftOver: boolean;
  /** Its file, if it is one, goes away. */
  remove(): void;
}

/** What a transaction leads on from. */
export type Origin = Pick<
  Database,
  'name' | 'path' | 'walPath' | 'position' | 'sums' | 'pageSize' | 'pageCount' | 'live'
> &
  Partial<Pick<Database, 'log'>>;

/** Reads a page's new image. */
interface Pages {
  /** Ascending, without the lock page. */
  readonly numbers: Uint32Array;
  readonly commit: number;
  readonly pageSize: number;
  readonly walEnd: WalEnd | undefined;
  readonly isMore: boolean;
  read(pgno: number, target: Buffer): void;
  close(): void;
}

/**
 * The transaction that leads on from the database's position, whose pages stand in its files, behind what readers look at.
 * Undefined if it changes nothing. `spool`: a folder for one that is large. Throws `FORWARD_*` for what cannot be forwarded.
 */
export async function outgoingTransaction(
  database: Origin,
  commit: WorkerCommit,
  spool: string,
): Promise<OutgoingTransaction | undefined> {
  const pages = commit.kind === 'wal' ? walPages(database, commit) : filePages(database, commit.pages);
  try {
    return await transactionOf(database, pages, spool);
  } finally {
    pages.close();
  }
}

async function transactionOf(database: Origin, pages: Pages, spool: string): Promise<OutgoingTransaction | undefined> {
  const { commit, pageSize, numbers, walEnd, isMore } = pages;
  const { position, pageCount } = database;
  // One that is new has a page size of its own.
  const sums = database.live ? database.sums : new DatabaseSums(pageSize);
  const change = new SumsChange(sums);
  const page = Buffer.allocUnsafe(pageSize);
  const sum = { high: 0, low: 0 };
  let kept = 0;
  for (let i = 0; i < numbers.length; i++) {
    const pgno = numbers[i]!;
    pages.read(pgno, page);
    pageChecksum(pgno, page, 0, pageSize, sum);
    if (change.set(pgno, sum.high, sum.low)) numbers[kept++] = pgno;
    if (i % SLICE_PAGES === SLICE_PAGES - 1) await nextTurn();
  }
  if (kept === 0 && commit === pageCount) return undefined;
  const changed = numbers.subarray(0, kept);
  const header: LtxHeader = {
    pageSize,
    commit,
    minTxid: position.txid + 1,
    maxTxid: position.txid + 1,
    timestampMs: Date.now(),
    preApply: position.txid === 0 ? 0n : position.checksum,
    postApply: change.checksum(commit),
    wal: undefined,
  };
  const after = { txid: header.maxTxid, checksum: header.postApply };
  const isLeftOver = database.live && walEnd === undefined && changesNothing(changed, pages);
  if (kept <= SMALL_PAGES) {
    const list = Array.from(changed, (pgno) => {
      const data = Buffer.allocUnsafe(pageSize);
      pages.read(pgno, data);
      return { pgno, data };
    });
    const bytes = encodeLtx(header, list);
    return { position: after, location: { kind: 'bytes', bytes }, walEnd, isMore, isLeftOver, remove: () => undefined };
  }
  return { ...(await spooled(header, changed, pages, spool)), position: after, walEnd, isMore, isLeftOver };
}

/** Whether all these pages are leaves of the free list, which a commit never writes alone. */
function changesNothing(changed: Uint32Array, { commit, pageSize, read }: Pages): boolean {
  if (changed.length === 0 || changed[0] === 1) return false;
  const leaves = freeLeaves((pgno) => {
    const page = Buffer.allocUnsafe(pageSize);
    read(pgno, page);
    return page;
  }, commit);
  return changed.every((pgno) => leaves.has(pgno));
}

async function spooled(
  header: LtxHeader,
  numbers: Uint32Array,
  pages: Pages,
  spool: string,
): Promise<Pick<OutgoingTransaction, 'location' | 'remove'>> {
  const path = join(spool, `forward-${process.pid}-${++files}`);
  const remove = () => rmSync(path, { force: true });
  const fd = openSync(path, 'w');
  let size = 0;
  try {
    const encoder = new LtxEncoder((chunk) => {
      for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at, chunk.length - at);
      size += chunk.length;
    }, header);
    const page = Buffer.allocUnsafe(pages.pageSize);
    for (let i = 0; i < numbers.length; i++) {
      pages.read(numbers[i]!, page);
      encoder.writePage(numbers[i]!, page);
      if (i % SLICE_PAGES === SLICE_PAGES - 1) await nextTurn();
    }
    encoder.finish();
  } catch (error) {
    remove();
    throw error;
  } finally {
    closeSync(fd);
  }
  return { location: { kind: 'file', path, offset: 0, size }, remove };
}

/** Frames behind the last commit, the last bytes of which are not in the file yet. */
function walPages(database: Origin, commit: Extract<WorkerCommit, { kind: 'wal' }>): Pages {
  const { from, to, salt1, salt2 } = commit;
  const wal = WalFile.open(database.walPath);
  if (wal === undefined || wal.header.salt1 !== salt1 || wal.header.salt2 !== salt2) {
    wal?.close();
    throw new SluiceError('FORWARD_FAILED', `${database.name}: its WAL is another one by now`);
  }
  const { pageSize } = wal.header;
  const close = () => wal.close();
  try {
    if (pageSize !== database.pageSize) {
      throw new SluiceError('FORWARD_PAGE_SIZE', `${database.name}: another page size cannot be made on a replica`);
    }
    const head = Buffer.alloc(WAL_FRAME_HEADER_SIZE);
    const newest = new Map<number, number>();
    for (let frame = from; frame < to; frame++) {
      readOver(wal, commit, head, wal.offsetOf(frame));
      newest.set(framePageNumber(head, 0), frame);
    }
    const size = frameCommitSize(head, 0);
    const walEnd = { frames: to, salt1, salt2, s0: head.readUInt32BE(16), s1: head.readUInt32BE(20) };
    const lock = lockPage(pageSize);
    const older = new OlderPages(database, wal, from);
    const written = (pgno: number, target: Buffer) => {
      const frame = newest.get(pgno);
      if (frame === undefined || pgno === lock) older.read(pgno, target);
      else readOver(wal, commit, target, wal.offsetOf(frame) + WAL_FRAME_HEADER_SIZE);
    };
    const counter = missingCounter(database, older, written, pageSize);
    const numbers = grownPages(database, counter === undefined ? newest.keys() : [...newest.keys(), 1], size);
    return {
      numbers,
      commit: size,
      pageSize,
      walEnd,
      isMore: counter !== undefined,
      read: (pgno, target) => {
        written(pgno, target);
        if (pgno === 1 && counter !== undefined) setChangeCounter(target, counter);
      },
      close: () => {
        older.close();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * What the change counter must be where SQLite has not raised it, as it believes to be in WAL mode. A replica's copy may have a
 * WAL for a while where the primary is in a rollback mode (see `applyToRollback`), and there readers go by the counter.
 */
function missingCounter(
  database: Origin,
  older: OlderPages,
  written: (pgno: number, target: Buffer) => void,
  pageSize: number,
): number | undefined {
  // In WAL mode, as nearly always: the rest would have to read all of the WAL.
  if (!database.live || databaseFileFacts(database.path)?.header.writeVersion === WAL_FORMAT) return undefined;
  const page = Buffer.allocUnsafe(pageSize);
  written(1, page);
  const after = parseDatabaseHeader(page);
  if (after === undefined || after.writeVersion === WAL_FORMAT) return undefined;
  older.read(1, page);
  const before = parseDatabaseHeader(page);
  if (before === undefined || after.changeCounter !== before.changeCounter) return undefined;
  return (before.changeCounter + 1) >>> 0;
}

/** Pages that SQLite added and freed in one transaction, and never wrote: as they were before, if they were. */
class OlderPages {
  private images: PageImages | undefined;
  private wal: Map<number, number> | undefined;

  constructor(
    private readonly database: Origin,
    private readonly file: WalFile,
    private readonly frames: number,
  ) {}

  read(pgno: number, target: Buffer): void {
    this.images ??= new PageImages(this.database.path, this.file.header.pageSize, {
      file: this.file,
      newest: this.newest(),
    });
    this.images.read(pgno, target, 0);
  }

  close(): void {
    this.images?.close();
  }

  private newest(): Map<number, number> {
    if (this.wal !== undefined) return this.wal;
    this.wal = new Map();
    for (let frame = 0; frame < this.frames; frame++) this.wal.set(this.file.frameHeader(frame).pageNumber, frame);
    return this.wal;
  }
}

/** Reads the WAL as it will be. */
function readOver(
  wal: WalFile,
  { position, bytes }: { readonly position: number; readonly bytes: Uint8Array },
  target: Buffer,
  at: number,
): void {
  const end = at + target.length;
  const read = readSync(wal.fd, target, 0, target.length, at);
  const from = Math.max(at, position);
  const to = Math.min(end, position + bytes.length);
  if (from < to) target.set(bytes.subarray(from - position, to - position), from - at);
  const known = from < to && from <= at + read ? Math.max(at + read, to) : at + read;
  if (known < end) throw new SluiceError('FORWARD_FAILED', 'the WAL ends within the transaction');
}

/** A rollback transaction's pages, in the database file. */
function filePages(database: Origin, pages: Uint32Array | undefined): Pages {
  const facts = databaseFileFacts(database.path);
  if (facts === undefined) throw new SluiceError('FORWARD_FAILED', `${database.name}: it is no database`);
  const { pageSize } = facts.header;
  if (database.live && pageSize !== database.pageSize) {
    throw new SluiceError('FORWARD_PAGE_SIZE', `${database.name}: another page size cannot be made on a replica`);
  }
  const { pageCount } = facts;
  const numbers = database.live
    ? grownPages(database, pages ?? every(pageCount), pageCount)
    : allPages(pageCount, lockPage(pageSize));
  const images = new PageImages(database.path, pageSize);
  return {
    numbers,
    commit: pageCount,
    pageSize,
    walEnd: undefined,
    isMore: false,
    read: (pgno, target) => images.read(pgno, target, 0),
    close: () => images.close(),
  };
}

function* every(pages: number): Iterable<number> {
  for (let pgno = 1; pgno <= pages; pgno++) yield pgno;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
