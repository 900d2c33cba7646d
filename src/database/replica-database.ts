import { fstatSync, statSync } from 'node:fs';
import type { Applier, LtxLocation } from '../apply/index.js';
import { closeSync, openSync } from '../disk/index.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import {
  type ByteSource,
  bytesSource,
  fileSource,
  type LtxHeader,
  LtxReader,
  type Position,
  samePosition,
  verifyLtx,
  ZERO_POSITION,
} from '../ltx/index.js';
import type { Database } from './database.js';
import { databaseFileFacts } from './page-images.js';
import { checkImage, checkTransaction, gap, wrongPages } from './replica-check.js';
import type { SetAsides } from './set-asides.js';
import type { LocalWrites } from './types.js';

/** The applier process comes back within this; longer and the stream is told to try later. */
const APPLIER_PATIENCE_MS = 20_000;
const APPLIER_RETRY_MS = 50;
const COPY_BYTES = 1024 * 1024;
/** So often its pages are looked at, if its WAL becomes another one meanwhile. */
const CHECK_TRIES = 10;

/** Called when what came is in the log, where it then stays until it is applied. */
export type OnLogged = (position: Position) => void;

/** A file that may lead on from the position. */
interface Input {
  readonly source: ByteSource;
  /** Where the applier finds it, unless `append` says. */
  readonly location: LtxLocation | undefined;
  /** Puts it in the log; left out for what is there. */
  readonly append: ((header: LtxHeader) => LtxLocation | undefined) | undefined;
  /** The run of the primary that it is from. */
  readonly origin: bigint;
  /** From a store: see checkTransaction. */
  readonly stored: boolean;
  readonly onLogged?: OnLogged | undefined;
}

/** One database of a replica: checks what comes, logs it, has it applied, and only then counts it. One call at a time. */
export class ReplicaDatabase {
  private tail: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  /** Its files could not be read or opened, so what they are is not known. */
  private unknown = false;
  private ended = false;
  /** What the log had, and why it was cut. */
  private wrong: { readonly txid: number; readonly error: unknown } | undefined;

  constructor(
    readonly database: Database,
    private readonly asides: SetAsides,
    private readonly applier: Applier,
    private readonly onApplied: (db: Database, pages: number, bytes: number) => void,
    private readonly writes?: LocalWrites,
  ) {}

  /** What its files are is not known: only a snapshot helps. */
  distrust(): void {
    this.unknown = true;
    if (!this.database.state.replacing) this.database.distrust();
  }

  /** False while what its files are is not known, or a snapshot takes their place. */
  get isKnown(): boolean {
    return !this.unknown && !this.database.state.replacing;
  }

  /** Whether there is a database. A power loss may have left its file with a state that has no position for it. */
  get isThere(): boolean {
    const { live, state, path } = this.database;
    return live || ((state.txid === 0 || state.replacing) && databaseFileFacts(path) !== undefined);
  }

  /** Nothing is being done with it. */
  get isIdle(): boolean {
    return this.waiting === 0;
  }

  /** Whether its files are known to be at its position, and no further. */
  private get isSettled(): boolean {
    return this.isKnown && this.database.log.last <= this.database.position.txid;
  }

  /** This run of the primary says that it is at `position`: if that is where this one is, its history is the primary's. */
  confirm(position: Position, run: bigint): void {
    const { database } = this;
    if (database.live && this.isSettled && samePosition(position, database.position)) database.confirm(run);
  }

  /** What is under way takes note of nothing any more: its files are about to be closed. */
  end(): void {
    this.ended = true;
  }

  /** A transaction in memory, from this run of the primary. */
  receive(ltx: Uint8Array, run: bigint, onLogged?: OnLogged): Promise<Position> {
    return this.inOrder(() => this.takeNext(this.inputOf(ltx, run, onLogged)));
  }

  /**
   * Logs what follows the end of the log and is not damaged, while what comes before is still being applied; in its turn it is
   * seen to lead to the primary's checksum and applied, whatever becomes of the connection by which it came. Undefined if all of
   * it has to wait for its turn. Throws `LTX_*`.
   */
  logAhead(ltx: Uint8Array, header: LtxHeader, run: bigint): Position | undefined {
    const { database } = this;
    const { minTxid, maxTxid, preApply, postApply, pageSize } = header;
    const { log, position: applied } = database;
    if (!this.isKnown || applied.txid === 0 || pageSize !== database.pageSize) return undefined;
    if (minTxid !== log.last + 1 || minTxid !== maxTxid) return undefined;
    // What is being done now may end elsewhere, unless it is what the log says.
    if (log.last === applied.txid ? !this.isIdle : this.isIdle) return undefined;
    const before = log.last === applied.txid ? applied.checksum : log.get(log.last)?.after.checksum;
    if (before !== preApply) return undefined;
    verifyLtx(bytesSource(ltx));
    log.append(minTxid, [ltx]);
    // Who is told of failures is `receive`, which tries it again.
    const position = { txid: maxTxid, checksum: postApply };
    void this.inOrder(() => this.takeLogged(ltx, position, run)).catch(() => undefined);
    return position;
  }

  private async takeLogged(ltx: Uint8Array, { txid, checksum }: Position, run: bigint): Promise<void> {
    // If it is not in the log any more, something else took the place of all that came before it.
    if (!this.isKnown || this.database.log.get(txid)?.after.checksum !== checksum) return;
    if (this.database.position.txid !== txid - 1) {
      await this.redo(txid, run);
      return;
    }
    const location = { kind: 'bytes', bytes: ltx } as const;
    const input = { source: bytesSource(ltx), location, append: undefined, origin: run, stored: false };
    await this.fromLog(txid, () => this.take(input));
  }

  /** See ReplicaDatabases. */
  checkPages(pages: Uint32Array | undefined): Promise<number> {
    return this.inOrder(async () => {
      const { database } = this;
      for (let n = 0; n < CHECK_TRIES; n++) {
        if (!database.live || !this.isKnown) return 0;
        // Under a primary in a rollback mode too its copy may have a WAL for a while.
        const wal = database.isWal() ? (await this.applier.look(database.name)).wal : undefined;
        const count = await wrongPages(database, pages, wal);
        if (count !== undefined && count > 0) this.distrust();
        if (count !== undefined) return count;
      }
      throw new SluiceError('REPLICA_BUSY', `${database.name}: its WAL begins anew all the time`);
    });
  }

  private inputOf(ltx: Uint8Array, run: bigint, onLogged: OnLogged | undefined): Input {
    return {
      source: bytesSource(ltx),
      location: { kind: 'bytes', bytes: ltx },
      append: () => this.append(ltx),
      origin: run,
      stored: false,
      onLogged,
    };
  }

  /** What an application here wrote, and the primary has taken. */
  receiveForwarded(position: Position, run: bigint, onLogged?: OnLogged): Promise<Position> {
    return this.inOrder(async () => {
      const { database } = this;
      const { last } = database.log;
      if (last === position.txid && database.log.get(last)?.after.checksum === position.checksum) {
        // It was logged, and perhaps not seen to be in the files.
        await this.redo();
        return database.position;
      }
      const location = this.writes?.pendingAt(database.name, position);
      if (location === undefined)
        throw gap(database.name, `forwarded transaction ${position.txid} is not here any more`);
      if (location.kind === 'bytes') return this.takeNext(this.inputOf(location.bytes, run, onLogged));
      return withFile(location.path, (source) =>
        this.takeNext({
          source,
          location: undefined,
          append: (header) => this.appendFile(header, source),
          origin: run,
          stored: false,
          onLogged,
        }),
      );
    });
  }

  /** A transaction in a spool file; with `stored` a file of a store, that may hold several. */
  receiveFile(path: string, run: bigint, stored: boolean): Promise<Position> {
    return this.inOrder(() =>
      withFile(path, (source) =>
        this.takeNext({
          source,
          location: undefined,
          append: (header) => this.appendFile(header, source),
          origin: run,
          stored,
        }),
      ),
    );
  }

  /** A whole image in a spool file, in the place of what is there. */
  replace(path: string, reason: 'new' | 'behind' | 'diverged', run: bigint, stored: boolean): Promise<Position> {
    return this.inOrder(async () => {
      const { database } = this;
      const image = await withFile(path, (source, size) =>
        checkImage(this.database.name, source, stored).then((read) => ({ ...read, size })),
      );
      // Of what waits for the primary's word; a database that was made here is what it brings.
      const claim = this.writes?.claim(database.name, { txid: image.header.maxTxid, checksum: image.checksum });
      await claim?.through();
      if (claim === undefined) await this.giveWay(reason !== 'diverged' && this.isFrom(run) ? undefined : reason);
      await this.patiently(() =>
        this.applier.replace(database.name, { kind: 'file', path, offset: 0, size: image.size }),
      );
      const { header, sums, checksum } = image;
      const position = { txid: header.maxTxid, checksum };
      database.sums = sums;
      database.log.cut(position.txid);
      database.advance({
        position,
        pageSize: header.pageSize,
        pageCount: header.commit,
        timeMs: header.timestampMs,
        pages: undefined,
        origin: run,
      });
      this.unknown = false;
      database.problem = undefined;
      this.onApplied(database, header.commit, image.size);
      this.writes?.moved(database.name);
      return position;
    });
  }

  /** The primary has no such database (any more). Unless it is what `position` says, it is kept aside. */
  drop(position: Position | undefined): Promise<void> {
    return this.inOrder(async () => {
      const { database } = this;
      if (!this.isThere) return;
      this.writes?.claim(database.name, ZERO_POSITION);
      const expected = position !== undefined && this.isSettled && samePosition(position, database.position);
      if (!expected) await this.giveWay(position === undefined ? 'unknown-to-primary' : 'dropped');
      await this.patiently(() => this.applier.drop(database.name));
      database.markDropped();
    });
  }

  /**
   * Once an applier runs: opens it there and applies what the log has beyond the position. Rejects if that does not go
   * now; it is tried again with the next transaction.
   */
  resume(): Promise<void> {
    return this.inOrder(async () => {
      const { database, applier } = this;
      if (!database.live) return;
      try {
        await this.patiently(() => applier.open(database.name));
      } catch (error) {
        if (this.isNoDatabase(error)) this.distrust();
        throw error;
      }
      if (!this.isKnown) return;
      await this.redo();
      if (database.problem?.error.code === 'REPLICA_FAILED') database.problem = undefined;
    });
  }

  /** Applies what was logged when the process died, and may be in the files or not. */
  private async redo(upTo = this.database.log.last, origin = 0n): Promise<void> {
    const { database } = this;
    while (Math.min(database.log.last, upTo) > database.position.txid) {
      // One that holds several is there by the last of them, and nothing before it.
      const txid = Math.max(database.position.txid + 1, database.log.first);
      await this.fromLog(txid, () => this.redoOne(txid, origin));
    }
  }

  /** If what the log has does not lead on, nothing can follow it but all that the primary has now. */
  private async fromLog(txid: number, take: () => Promise<unknown>): Promise<void> {
    const { database } = this;
    try {
      await take();
    } catch (error) {
      if (errorCode(error) === 'REPLICA_FAILED') throw error;
      database.log.cut(database.position.txid);
      this.distrust();
      this.wrong = { txid, error };
      throw error;
    }
  }

  private async redoOne(txid: number, origin: bigint): Promise<void> {
    const { log, name } = this.database;
    const location = log.location(txid);
    const entry = log.get(txid);
    if (location === undefined || entry === undefined) throw gap(name, `transaction ${txid} is not in the log`);
    const { source, close } = entry.open();
    try {
      const input = { source, append: undefined, origin, stored: true };
      await this.take({ ...input, location: { kind: 'file', ...location } });
    } finally {
      close();
    }
  }

  /** Whether the applier could not open it because of what the file is, which only a snapshot changes. */
  private isNoDatabase(error: unknown): boolean {
    if (errorCode(error) === 'APPLIER_GONE') return false;
    return databaseFileFacts(this.database.path) === undefined || isUnsound(error);
  }

  private inOrder<T>(work: () => Promise<T>): Promise<T> {
    this.waiting++;
    const result = this.tail.then(work).finally(() => {
      this.waiting--;
    });
    this.tail = result.catch(() => {});
    return result;
  }

  /** What comes by the stream follows what is in the log, and may be its end. */
  private async takeNext(input: Input): Promise<Position> {
    const { database } = this;
    const { log } = database;
    const { wrong } = this;
    this.wrong = undefined;
    if (log.last === 0) return this.take(input);
    const { maxTxid, postApply } = new LtxReader(input.source).header;
    // What became of it when it was its turn.
    if (!this.isKnown && wrong?.txid === maxTxid) throw wrong.error;
    if (!this.isKnown) return this.take(input);
    const reached = { txid: maxTxid, checksum: postApply };
    // Logged ahead, or by an earlier process.
    const isLogged = log.get(maxTxid)?.after.checksum === postApply;
    if (isLogged && maxTxid <= database.position.txid) return reached;
    if (log.last > database.position.txid) await (isLogged ? this.redo(maxTxid, input.origin) : this.redo());
    return samePosition(reached, database.position) ? reached : this.take(input);
  }

  private async take({ source, location, append, origin, stored, onLogged }: Input): Promise<Position> {
    const { database } = this;
    const checked = await checkTransaction(database, this.isKnown, source, stored);
    const { header } = checked;
    const position = { txid: header.maxTxid, checksum: checked.checksum };
    const claim = this.writes?.claim(database.name, position);
    const isNew = database.position.txid === 0;
    if (isNew && claim === undefined && this.fileSize() > 0) await this.giveWay('unknown');
    try {
      const logged = append?.(header);
      if (append !== undefined) onLogged?.(position);
      if (claim === undefined || !(await claim.through())) await this.apply(logged ?? location!);
    } catch (error) {
      // Where somebody was told that it is here, it stays, to be applied when that goes again.
      const isTold = onLogged !== undefined && database.log.get(position.txid)?.after.checksum === position.checksum;
      if (append !== undefined && !isTold) database.log.cut(database.position.txid);
      // SQLite cannot open what came before, so nothing can follow it but all that the primary has now.
      if (database.position.txid > 0 && isUnsound(error)) this.distrust();
      database.fail(error, 'REPLICA_FAILED', 'It is tried again; check the disk if this goes on');
      throw database.problem!.error;
    }
    database.sums = checked.takeSums();
    database.advance({
      position,
      pageSize: header.pageSize,
      pageCount: header.commit,
      timeMs: header.timestampMs,
      pages: header.commit < database.pageCount ? undefined : checked.pages,
      origin,
    });
    // It was there to be applied again after a crash. As a transaction of its own nobody may take it.
    if (header.minTxid !== header.maxTxid) database.forgetLog();
    database.problem = undefined;
    this.onApplied(database, checked.pages.length, source.size);
    // So that no application has to recover it.
    if (isNew && claim !== undefined) await this.applier.open(database.name).catch(() => undefined);
    this.writes?.moved(database.name);
    return position;
  }

  private async apply(location: LtxLocation): Promise<void> {
    const { applier, writes, database } = this;
    writes?.applying(database.name, true);
    try {
      await this.patiently(() => applier.apply(database.name, location));
    } finally {
      writes?.applying(database.name, false);
    }
  }

  private append(ltx: Uint8Array): undefined {
    const { database } = this;
    database.log.append(database.position.txid + 1, [ltx]);
    return undefined;
  }

  private appendFile(header: LtxHeader, source: ByteSource): LtxLocation {
    const { log } = this.database;
    if (header.minTxid !== header.maxTxid) log.cut(header.maxTxid - 1);
    const large = log.appendLarge(header.maxTxid);
    const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, source.size));
    for (let at = 0; at < source.size; ) {
      const read = source.read(piece, 0, piece.length, at);
      if (read === 0) throw new Error('the spool file is cut');
      large.write(piece.subarray(0, read));
      at += read;
    }
    return { kind: 'file', ...large.finish() };
  }

  private fileSize(): number {
    return statSync(this.database.path, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Whether its position came from this run of the primary, and nothing else since: then it is in that one's history. */
  private isFrom(run: bigint): boolean {
    const { live, state } = this.database;
    return live && this.isSettled && run !== 0n && state.origin === run;
  }

  /**
   * Before something else takes the place of its files: sets them aside, once, and notes that nothing in them has to be
   * kept any more, whatever becomes of the attempt. `reason`: undefined for what the primary has itself.
   */
  private async giveWay(reason: string | undefined): Promise<void> {
    const { database } = this;
    if (database.state.replacing) return;
    if (reason !== undefined && this.fileSize() > 0) await this.asides.keep(database, reason);
    if (this.ended) throw new SluiceError('STOPPING', `${database.name}: the node stops`);
    database.distrust(true);
  }

  private async patiently(work: () => Promise<void>): Promise<void> {
    const deadlineMs = Date.now() + APPLIER_PATIENCE_MS;
    for (;;) {
      try {
        await work();
        return;
      } catch (error) {
        if (errorCode(error) !== 'APPLIER_GONE' || Date.now() > deadlineMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, APPLIER_RETRY_MS));
      }
    }
  }
}

/** SQLite takes the file for malformed, or for no database, as the applier says. */
function isUnsound(error: unknown): boolean {
  return /SQLITE_(NOTADB|CORRUPT)/.test(describeError(error));
}

async function withFile<T>(path: string, work: (source: ByteSource, size: number) => Promise<T>): Promise<T> {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    return await work(fileSource(fd, 0, size), size);
  } finally {
    closeSync(fd);
  }
}
