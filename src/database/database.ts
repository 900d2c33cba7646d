import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../errors.js';
import { DatabaseSums, type Position, ZERO_POSITION } from '../ltx/index.js';
import type { DataFolder } from './data-folder.js';
import { syncFile } from './durable-file.js';
import { databaseFileFacts } from './page-images.js';
import { PageSet } from './page-set.js';
import type { SharedState } from './shared.js';
import { type DatabaseState, INITIAL_STATE, StateFile } from './state-file.js';
import { SumsFile } from './sums-file.js';
import { SegmentedLog } from './transaction-log.js';
import type { ReplicatedDatabase, Snapshot } from './types.js';
import type { UnloggedMarks } from './unlogged-marks.js';

/** What a step forward changes in the state. */
export interface Advance {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly timeMs: number;
  /** Pages whose checksums changed, ascending; undefined: all. */
  readonly pages: ArrayLike<number> | undefined;
  readonly wal?: { readonly salt1: number; readonly salt2: number; readonly frames: number } | undefined;
  /** On a replica: the primary's run that this came from. Left out: 0n. */
  readonly origin?: bigint;
  /** On a replica: the position is none that came by the stream. */
  readonly stray?: boolean;
}

/** Until a database is known to have another. */
const DEFAULT_PAGE_SIZE = 4096;
/** Steps that are in the log but not in the state's file, at most: what a start after a crash replays. */
const LATE_STEPS = 256;
/** And for how long. */
const LATE_MS = 100;

/** One database of this node: its position, page checksums, log, and their files. Main thread. */
export class Database implements ReplicatedDatabase {
  readonly log: SegmentedLog;
  readonly path: string;
  readonly walPath: string;
  sums: DatabaseSums;
  state: DatabaseState;
  /** The state as the last process left it, before anything else. */
  readonly found: DatabaseState | undefined;
  readonly sameBoot: boolean;
  /** What is wrong with it now; its trouble is its own. */
  problem: { readonly error: SluiceError; readonly sinceMs: number } | undefined;
  private readonly stateFile: StateFile;
  private readonly sumsFile: SumsFile;
  private readonly marks: UnloggedMarks;
  private sumsOnDisk = true;
  /** Pages whose checksums are not in the file yet. */
  private readonly changed = new PageSet();
  private allChanged = false;
  /** Steps since the state was written. */
  private lateSteps = 0;
  private lateTimer: NodeJS.Timeout | undefined;

  constructor(
    readonly name: string,
    readonly slot: number,
    folder: DataFolder,
    private readonly shared: SharedState,
    private readonly makeSnapshot: (db: Database) => Promise<Snapshot>,
  ) {
    const meta = folder.metaOf(name);
    this.path = join(folder.files, name);
    this.walPath = `${this.path}-wal`;
    this.marks = folder.marks;
    this.stateFile = new StateFile(join(meta, 'state'));
    this.sumsFile = new SumsFile(join(meta, 'sums'));
    this.found = this.stateFile.found;
    this.sameBoot = this.stateFile.sameBoot;
    this.state = this.found ?? INITIAL_STATE;
    this.sums = new DatabaseSums(this.state.pageSize || DEFAULT_PAGE_SIZE);
    this.log = openLog(meta, this.state, this.sameBoot);
  }

  get position(): Position {
    const { txid, checksum } = this.state;
    return txid === 0 ? ZERO_POSITION : { txid, checksum };
  }

  get positionTimeMs(): number {
    return this.state.timeMs;
  }

  get pageSize(): number {
    return this.state.pageSize;
  }

  get pageCount(): number {
    return this.state.pageCount;
  }

  /** Whether there is a database now: it has a transaction and was not dropped. */
  get live(): boolean {
    return this.state.txid > 0 && !this.state.dropped;
  }

  /** Whether what it holds is not known page by page: before its first transaction, or after something went wrong. */
  get needsWholeRead(): boolean {
    return !this.live || this.state.untrusted;
  }

  /** Whether its file has changes that are in no journal, no WAL and no log. */
  get hasUnlogged(): boolean {
    return this.marks.has(this.name);
  }

  /** They are logged now. `durably`: only once the state that says so is durable. */
  clearUnlogged(durably: boolean): void {
    if (!this.hasUnlogged) return;
    if (durably) {
      this.writeLate();
      this.stateFile.sync();
    }
    this.marks.clear(this.name);
  }

  /** Whether its next opener uses a WAL: what the file says. */
  isWal(): boolean {
    return databaseFileFacts(this.path)?.header.readVersion === 2;
  }

  snapshot(): Promise<Snapshot> {
    return this.makeSnapshot(this);
  }

  /** The page checksums as the last process left them, if the file has all of them. */
  loadSums(pageSize: number, pageCount: number): DatabaseSums | undefined {
    return this.sumsFile.load(pageSize, pageCount);
  }

  /**
   * Goes to a new position whose transaction is in the log already (or cut off from it). `later`: page checksums and
   * state are written together with those of the next steps; a crash before that finds the transactions in the log.
   */
  advance(step: Advance, later = false): void {
    const { pages, wal } = step;
    if (pages === undefined) this.allChanged = true;
    else for (let i = 0; i < pages.length; i++) this.changed.add(pages[i]!);
    this.state = {
      txid: step.position.txid,
      checksum: step.position.checksum,
      pageSize: step.pageSize,
      pageCount: step.pageCount,
      walSalt1: wal?.salt1 ?? 0,
      walSalt2: wal?.salt2 ?? 0,
      walFrames: wal?.frames ?? 0,
      timeMs: step.timeMs,
      clean: false,
      untrusted: !this.sumsOnDisk,
      dropped: false,
      redoFrom: 0,
      replacing: false,
      stray: step.stray ?? false,
      origin: step.origin ?? 0n,
      fileSize: 0,
      fileTimeMs: 0,
      walSize: 0,
      walTimeMs: 0,
    };
    this.shared.setLogDirty(this.slot);
    if (later && ++this.lateSteps < LATE_STEPS) this.persistLater();
    else this.persist();
  }

  /** Writes page checksums and state. */
  private persist(): void {
    this.lateSteps = 0;
    if (this.allChanged || this.changed.size > 0) {
      this.writeSums();
      this.changed.clear();
      this.allChanged = false;
      if (!this.sumsOnDisk) this.state = { ...this.state, untrusted: true };
    }
    this.stateFile.write(this.state);
    this.publish();
  }

  private persistLater(): void {
    this.publish();
    this.lateTimer ??= setTimeout(() => {
      this.lateTimer = undefined;
      this.writeLate();
    }, LATE_MS);
  }

  /** Writes what steps left to be written with later ones. */
  writeLate(): void {
    if (this.lateSteps > 0) this.persist();
  }

  /** Makes the log durable if it has something new; on another thread, without anybody waiting. */
  syncLog(): void {
    if (this.log.fd >= 0 && this.shared.takeLogDirty(this.slot)) this.log.syncSoon();
  }

  /** Takes up a position that recovery found to be right. `rebuilt`: the table was made anew, not read from its file. */
  adopt(sums: DatabaseSums, step: Omit<Advance, 'pages'>, rebuilt: boolean): void {
    this.sums = sums;
    if (this.log.last !== step.position.txid) this.log.cut(step.position.txid);
    this.advance({ ...step, pages: rebuilt ? undefined : [] });
  }

  /** Goes on with the state as it was found, and with its page checksums. */
  resume(sums: DatabaseSums): void {
    this.sums = sums;
    // After a snapshot the log is empty, and knows no TXID of its own. (What it has beyond the state is applied again.)
    if (this.log.last < this.state.txid) this.log.cut(this.state.txid);
    this.state = { ...this.state, clean: false };
    this.persist();
  }

  /** The log ends: nothing in it leads to the position. */
  forgetLog(): void {
    this.log.cut(this.state.txid);
    this.publish();
  }

  /** Notes how far the WAL was looked at when that led to no transaction. */
  noteWal(salt1: number, salt2: number, frames: number): void {
    this.state = { ...this.state, walSalt1: salt1, walSalt2: salt2, walFrames: frames };
    this.persist();
  }

  /**
   * Before something that changes the files in more than one step: a crash in it makes them be read whole. `replacing`:
   * a snapshot is what comes, and nothing of what is there has to be kept.
   */
  distrust(replacing = false): void {
    this.state = { ...this.state, untrusted: true, clean: false, replacing };
    this.persist();
    this.stateFile.sync();
  }

  /** Before the log's transactions from `txid` on are written into the file, which a crash may cut short. */
  beginRedo(txid: number): void {
    this.log.sync();
    this.state = { ...this.state, redoFrom: txid };
    this.distrust();
  }

  /** The position is in the history of this run of the primary. */
  confirm(origin: bigint): void {
    if (this.state.origin === origin) return;
    this.state = { ...this.state, origin, stray: false };
    if (this.problem?.error.code === 'REPLICA_UNKNOWN') this.problem = undefined;
    this.persist();
  }

  /** The application deleted the file. The position stays, so that TXIDs go on if the name comes back. */
  markDropped(): void {
    const { last } = this.log;
    // After a crash the log may be ahead of the state.
    const { txid, checksum } =
      last > this.state.txid ? { txid: last, checksum: this.log.header(last)!.postApply } : this.state;
    this.log.cut(txid);
    this.changed.clear();
    this.allChanged = false;
    this.sums = new DatabaseSums(this.sums.pageSize);
    this.state = {
      ...this.state,
      txid,
      checksum,
      dropped: true,
      replacing: false,
      stray: false,
      pageCount: 0,
      walFrames: 0,
      untrusted: true,
    };
    this.persist();
  }

  /** At a clean stop: makes all of it durable and notes the files as they are. */
  saveClean(): void {
    const durable = this.syncFiles();
    const file = fileFacts(this.path);
    const wal = fileFacts(this.walPath);
    if (this.sumsOnDisk) this.sumsFile.sync();
    this.log.sync();
    this.state = {
      ...this.state,
      clean: durable && !this.state.untrusted,
      fileSize: file.size,
      fileTimeMs: file.timeMs,
      walSize: wal.size,
      walTimeMs: wal.timeMs,
    };
    this.persist();
    this.stateFile.sync();
  }

  /** Whether the files are as they were at the clean stop. */
  filesAsLeft(): boolean {
    const state = this.found;
    if (state === undefined) return false;
    const file = fileFacts(this.path);
    const wal = fileFacts(this.walPath);
    if (file.size !== state.fileSize || file.timeMs !== state.fileTimeMs) return false;
    return wal.size === state.walSize && wal.timeMs === state.walTimeMs;
  }

  fail(error: unknown, code: string, hint: string): void {
    const text = error instanceof Error ? error.message : String(error);
    this.problem = {
      error: new SluiceError(code, `${this.name}: ${text}`, hint, { cause: error }),
      sinceMs: this.problem?.sinceMs ?? Date.now(),
    };
  }

  /** The file is there and is no SQLite database: its history stays, here and at the replicas. */
  failAsDamaged(): void {
    this.fail(
      new Error('the file is not a SQLite database (any more)'),
      'DATABASE_DAMAGED',
      'Its history is kept: restore it from a backup (sluice restore), or remove it under the mount',
    );
  }

  close(): void {
    clearTimeout(this.lateTimer);
    this.writeLate();
    this.log.close();
    this.stateFile.close();
    this.sumsFile.close();
  }

  /**
   * What the state will say of the files must be on the disk: a WAL is not, where nobody checkpointed it. False if that
   * does not go; then the next start reads them.
   */
  private syncFiles(): boolean {
    try {
      for (const path of [this.path, this.walPath]) if (existsSync(path)) syncFile(path);
      return true;
    } catch {
      return false;
    }
  }

  private writeSums(): void {
    try {
      if (this.allChanged || !this.sumsOnDisk) this.sumsFile.writeAll(this.sums);
      else this.sumsFile.write(this.sums, this.changed.toArray());
      this.sumsOnDisk = true;
    } catch {
      // A full disk: the next start reads the database instead. The next transaction tries again.
      this.sumsOnDisk = false;
    }
  }

  private publish(): void {
    const { txid, checksum, pageCount } = this.state;
    this.shared.setPosition(this.slot, txid, checksum, pageCount, this.state);
    this.shared.setLogFd(this.slot, this.log.fd);
  }
}

/** What an unclean end leaves is verified; what the state says is dropped is not in it any more. */
function openLog(meta: string, { clean, dropped, txid }: DatabaseState, sameBoot: boolean): SegmentedLog {
  let log = new SegmentedLog(meta, clean ? 'none' : sameBoot ? 'last' : 'all');
  if (clean && log.last > txid) {
    // The state is that of an earlier end.
    log.close();
    log = new SegmentedLog(meta, 'all');
  }
  // A file of several transactions is in a replica's log until it is applied, and not as a transaction of its own.
  if (dropped || isOfSeveral(log)) log.forgetUpTo(txid);
  return log;
}

function isOfSeveral(log: SegmentedLog): boolean {
  const header = log.header(log.first);
  return header !== undefined && header.minTxid !== header.maxTxid;
}

function fileFacts(path: string): { readonly size: number; readonly timeMs: number } {
  const stat = statSync(path, { throwIfNoEntry: false });
  return { size: stat?.size ?? 0, timeMs: stat?.mtimeMs ?? 0 };
}
