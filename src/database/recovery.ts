import { statSync } from 'node:fs';
import { closeSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { type DatabaseSums, fileSource, LtxReader, type Position, pageChecksum, samePosition } from '../ltx/index.js';
import type { Database } from './database.js';
import { endHotJournal, type MountPlace } from './hot-journal.js';
import { databaseFileFacts, hasHotJournal } from './page-images.js';
import { mustBeReadable, openToRead } from './readable-file.js';
import { redo, redoUnderWay } from './redo.js';
import type { DatabaseState } from './state-file.js';
import { WalFile } from './wal-file.js';
import { WalTracker } from './wal-tracker.js';
import { readWhole } from './whole-read.js';

/** What recovery found, for the node's log. */
export interface Recovered {
  readonly name: string;
  readonly outcome:
    | 'clean'
    | 'log replayed'
    | 'read whole'
    | 'redone from the log'
    | 'changed while down'
    | 'being replaced'
    | 'new'
    | 'gone'
    | 'not a database'
    | 'no database';
  /** A journal was played back, or the file has changes without one: the pages must be compared with their checksums before the mount answers. */
  readonly compare: boolean;
  /** Its journal is part of a transaction with a database elsewhere: whoever opens it first ends it. */
  readonly journalLeft?: boolean;
  /** Its WAL, if there is one. */
  readonly wal?: WalOnDisk | undefined;
}

/** The WAL as it lies on disk: its commits verify from the first frame on. */
export interface WalOnDisk {
  readonly salt1: number;
  readonly salt2: number;
  readonly frames: number;
  readonly pageSize: number;
}

/** Tries to read a WAL that its users begin afresh meanwhile. */
const WAL_TRIES = 10;

/**
 * Brings a primary's database, its WAL or journal, and its log together before the mount answers.
 * `live`: applications have it open (the node died, the mount did not), so its files must stay as they are.
 */
export async function recoverPrimary(db: Database, live: boolean, place: MountPlace): Promise<Recovered> {
  for (let n = 1; ; n++) {
    try {
      return await recoverOnce(db, live, place);
    } catch (error) {
      if (!(error instanceof WalBeganAfresh) || n === WAL_TRIES) throw error;
    }
  }
}

async function recoverOnce(db: Database, live: boolean, place: MountPlace): Promise<Recovered> {
  const { name } = db;
  mustBeReadable(db.path);
  // First: a file that was cut short in its first transaction need not be a database before it is taken back.
  const journal = live || isEmpty(db.path) ? 'none' : await endHotJournal(db.path, place);
  const playedBack = journal === 'ended';
  if (databaseFileFacts(db.path) === undefined) return withoutDatabase(db);
  const journalLeft = journal === 'left';
  const wal = scanWal(db.walPath);
  const unlogged = !live && db.hasUnlogged;
  const compare = !journalLeft && ((playedBack && (wal?.frames ?? 0) === 0) || unlogged);
  const trusted = playedBack && !compare ? undefined : compareTrust(db, wal, playedBack);
  if (trusted !== undefined) {
    const replayed = replayLog(db, trusted, wal);
    if (replayed !== undefined) {
      return { name, outcome: replayed > 0 ? 'log replayed' : 'clean', compare, journalLeft, wal };
    }
  }
  if ((live || journalLeft) && hasHotJournal(db.path)) {
    // In the middle of a transaction: the whole of it is read when the journal ends.
    db.distrust();
    return { name, outcome: 'read whole', compare: false, journalLeft, wal };
  }
  return { name, outcome: await readAndDecide(db, wal, live), compare: false, wal };
}

/**
 * A replica's database: its position is what was applied last; what the log has beyond is applied again by the node.
 * Files that match no position that it had get a checksum that the primary does not know, which it answers with a snapshot.
 * `live`: applications have it open, as for a primary.
 */
export async function recoverReplica(db: Database, live: boolean, place: MountPlace): Promise<Recovered> {
  const { name } = db;
  mustBeReadable(db.path);
  const replacing = db.found?.replacing === true;
  // The applier's open would play it back later, and the files would not be what was read here.
  const journal = live || replacing || isEmpty(db.path) ? 'none' : await endHotJournal(db.path, place);
  if (databaseFileFacts(db.path) === undefined) return withoutDatabase(db);
  if (replacing) {
    // Whatever its files are: what had to be kept of them is kept, and a snapshot comes.
    db.log.cut(db.position.txid);
    db.distrust(true);
    failAsUnknown(db, 'a snapshot was on its way into its place when the last process ended');
    return { name, outcome: 'being replaced', compare: false };
  }
  if (journal === 'left') throw cutShort('a transaction over a database elsewhere was cut short');
  const playedBack = journal === 'ended';
  const wal = scanWal(db.walPath);
  const trusted = playedBack && db.found?.clean === true ? undefined : compareTrust(db, wal, playedBack);
  if (trusted !== undefined) {
    const sums = db.loadSums(trusted.pageSize, trusted.pageCount);
    if (sums?.checksum() === trusted.checksum) {
      db.resume(sums);
      if (trusted.stray) failAsStray(db);
      return { name, outcome: 'clean', compare: false, wal };
    }
  }
  if (live && hasHotJournal(db.path)) {
    throw cutShort('a transaction was cut short, and applications have the database open');
  }
  const { sums, pageSize, pageCount } = await readFiles(db, wal);
  const checksum = sums.checksum();
  const known = knownPosition(db, checksum);
  const position = known ?? { txid: Math.max(db.position.txid, db.log.last), checksum };
  db.sums = sums;
  if (position.txid > db.log.last || position.txid < db.log.first - 1) db.log.cut(position.txid);
  // Only a position that was received, and is found again, is still the primary's.
  const origin = db.found !== undefined && samePosition(position, db.found) ? db.found.origin : 0n;
  const stray = known === undefined && position.txid > 0;
  db.advance({ position, pageSize, pageCount, timeMs: db.state.timeMs, pages: undefined, origin, stray });
  if (stray) failAsStray(db);
  return { name, outcome: 'read whole', compare: false, wal };
}

function failAsStray(db: Database): void {
  failAsUnknown(db, 'what it holds is of no position that it had, as after a power loss');
}

/** A replica's: what is there can be read, and may be old. */
function failAsUnknown(db: Database, text: string): void {
  db.fail(
    new Error(text),
    'REPLICA_UNKNOWN',
    'The primary is asked whether it has that; if not, a snapshot takes its place',
  );
}

function isEmpty(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0;
}

function cutShort(what: string): SluiceError {
  return new SluiceError('RECOVERY_FAILED', what, 'A snapshot from the primary takes its place');
}

function withoutDatabase(db: Database): Recovered {
  const { name } = db;
  const stat = statSync(db.path, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile() || stat.size === 0) {
    const had = db.live || db.log.last > db.state.txid;
    if (had) db.markDropped();
    return { name, outcome: had ? 'gone' : 'no database', compare: false };
  }
  if (!db.live) return { name, outcome: 'no database', compare: false };
  db.failAsDamaged();
  return { name, outcome: 'not a database', compare: false };
}

/** The state that may be believed, or undefined. */
function compareTrust(db: Database, wal: WalOnDisk | undefined, playedBack: boolean): DatabaseState | undefined {
  const { found } = db;
  if (found === undefined || found.untrusted || found.dropped || found.txid === 0) return undefined;
  // After a clean stop only a person changes the files (or a journal that was played back, whose pages are compared);
  // after a crash the boot id tells whether what was written is there.
  if (found.clean && !playedBack ? !db.filesAsLeft() : !db.sameBoot) return undefined;
  const sameWal = wal !== undefined && wal.salt1 === found.walSalt1 && wal.salt2 === found.walSalt2;
  if (sameWal && wal.frames < found.walFrames) return undefined;
  return found;
}

/** Takes the log's transactions behind the state into the table; how many, or undefined if it does not come out right. */
function replayLog(db: Database, state: DatabaseState, wal: WalOnDisk | undefined): number | undefined {
  const sums = db.loadSums(state.pageSize, state.pageCount);
  if (sums === undefined) return undefined;
  let position: Position = { txid: state.txid, checksum: state.checksum };
  let { walSalt1: salt1, walSalt2: salt2, walFrames: frames, pageCount, timeMs } = state;
  let replayed = 0;
  const page = Buffer.allocUnsafeSlow(state.pageSize);
  const sum = { high: 0, low: 0 };
  for (let txid = state.txid + 1; txid <= db.log.last; txid++) {
    const entry = db.log.get(txid);
    if (entry === undefined) return undefined;
    const { source, close } = entry.open();
    try {
      const reader = new LtxReader(source);
      const { header } = reader;
      if (header.pageSize !== state.pageSize) return undefined;
      for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
        pageChecksum(pgno, page, 0, state.pageSize, sum);
        sums.set(pgno, sum.high, sum.low);
      }
      reader.finish();
      // Only the lock page can be last without an image.
      if (sums.pageCount < header.commit) sums.set(header.commit, 0, 0);
      sums.truncate(header.commit);
      pageCount = header.commit;
      timeMs = header.timestampMs;
      position = { txid, checksum: header.postApply };
      if (header.wal !== undefined && header.wal.offset > 0) {
        ({ salt1, salt2 } = header.wal);
        frames = (header.wal.offset + header.wal.size - 32) / (24 + state.pageSize);
      }
      replayed++;
    } finally {
      close();
    }
  }
  if (sums.checksum() !== position.checksum) return undefined;
  const sameWal = wal !== undefined && wal.salt1 === salt1 && wal.salt2 === salt2;
  if (sameWal && frames > wal.frames) return undefined;
  const { pageSize } = state;
  db.adopt(sums, { position, pageSize, pageCount, timeMs, wal: { salt1, salt2, frames } }, replayed > 0);
  return replayed;
}

async function readAndDecide(db: Database, wal: WalOnDisk | undefined, live: boolean): Promise<Recovered['outcome']> {
  // What is new is left to capture, which also logs it.
  if (db.position.txid === 0 && db.log.last === 0) return 'new';
  const { redoFrom } = db.state;
  let walState = wal;
  // A start that was cut short in the middle left a file of no position.
  if (redoFrom > 0 && live) throw redoUnderWay(redoFrom);
  if (redoFrom > 0) walState = await redo(db, redoFrom, wal !== undefined && wal.frames > 0);
  let { sums, pageSize, pageCount } = await readFiles(db, walState);
  let outcome: Recovered['outcome'] = redoFrom > 0 ? 'redone from the log' : 'read whole';
  let position = knownPosition(db, sums.checksum());
  // The file may be another one, which is as the old one was once: what was removed must not come back.
  const isSameFile = !db.hasUnlogged;
  if (position !== undefined && position.txid < db.log.last && !live && isSameFile) {
    walState = await redo(db, position.txid + 1, walState !== undefined && walState.frames > 0);
    ({ sums, pageSize, pageCount } = await readFiles(db, walState));
    position = knownPosition(db, sums.checksum());
    outcome = 'redone from the log';
  }
  if (position === undefined || position.txid !== Math.max(db.log.last, position.txid)) {
    position = { txid: Math.max(db.log.last, db.position.txid) + 1, checksum: sums.checksum() };
    outcome = 'changed while down';
  }
  const step = { position, pageSize, pageCount, timeMs: Date.now() };
  const { salt1, salt2, frames } = walState ?? { salt1: 0, salt2: 0, frames: 0 };
  db.adopt(sums, { ...step, wal: { salt1, salt2, frames } }, true);
  return outcome;
}

/** The position that this checksum belongs to: the newest one in the log, or the state's. */
function knownPosition(db: Database, checksum: bigint): Position | undefined {
  const { found } = db;
  const isFound = found !== undefined && !found.dropped && !found.stray && found.checksum === checksum;
  if (isFound && found.txid > db.log.last) return { txid: found.txid, checksum };
  for (let txid = db.log.last; txid >= db.log.first; txid--) {
    const header = db.log.header(txid);
    if (header?.postApply === checksum) return { txid, checksum };
    if (txid === db.log.first && header?.preApply === checksum && txid > 1) return { txid: txid - 1, checksum };
  }
  return isFound ? { txid: found.txid, checksum } : undefined;
}

/** Where the kernel writes WALs by itself, applications go on while the node is away. Nothing was concluded from the old one. */
class WalBeganAfresh extends Error {
  constructor() {
    super('the WAL began afresh while it was read');
  }
}

/** Reads a database with its WAL, which applications may go on reading, and nobody writes. Its journal has been played back. */
export async function readDatabaseFile(
  path: string,
): Promise<{ readonly sums: DatabaseSums; readonly pageSize: number; readonly pageCount: number }> {
  const walPath = `${path}-wal`;
  for (let n = 1; ; n++) {
    try {
      return await readFiles({ path, walPath }, scanWal(walPath));
    } catch (error) {
      if (!(error instanceof WalBeganAfresh) || n === WAL_TRIES) throw error;
    }
  }
}

async function readFiles(
  db: { readonly path: string; readonly walPath: string },
  wal: WalOnDisk | undefined,
): Promise<{ sums: DatabaseSums; pageSize: number; pageCount: number }> {
  const facts = databaseFileFacts(db.path)!;
  const file = wal === undefined || wal.frames === 0 ? undefined : WalFile.open(db.walPath);
  if (file === undefined) {
    const { pageSize } = facts.header;
    const { pageCount } = facts;
    return { sums: await readWhole(db.path, pageSize, pageCount), pageSize, pageCount };
  }
  try {
    const { pageSize, salt1, salt2 } = file.header;
    if (salt1 !== wal!.salt1 || salt2 !== wal!.salt2) throw new WalBeganAfresh();
    const pageCount = file.frameHeader(wal!.frames - 1).commitSize;
    const newest = await file.newestFrames(0, wal!.frames);
    const sums = await readWhole(db.path, pageSize, pageCount, { file, newest });
    if (!file.isCurrent) throw new WalBeganAfresh();
    return { sums, pageSize, pageCount };
  } catch (error) {
    throw file.isCurrent ? error : new WalBeganAfresh();
  } finally {
    file.close();
  }
}

function scanWal(path: string): WalOnDisk | undefined {
  const fd = openToRead(path);
  if (fd === undefined) return undefined;
  try {
    const source = fileSource(fd, 0, Number.MAX_SAFE_INTEGER);
    const tracker = new WalTracker((target, length, position) => source.read(target, 0, length, position));
    tracker.load();
    const { header } = tracker;
    if (header === undefined) return undefined;
    return {
      salt1: header.salt1,
      salt2: header.salt2,
      frames: tracker.committedFrames,
      pageSize: header.pageSize,
    };
  } finally {
    closeSync(fd);
  }
}
