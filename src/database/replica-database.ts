import { closeSync, copyFileSync, existsSync, fstatSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Applier, LtxLocation } from '../apply/index.js';
import { errorCode, SluiceError } from '../errors.js';
import {
  type ByteSource,
  bytesSource,
  DatabaseSums,
  fileSource,
  formatPosition,
  type LtxHeader,
  LtxReader,
  type Position,
  pageChecksum,
} from '../ltx/index.js';
import type { DataFolder } from './data-folder.js';
import type { Database } from './database.js';
import { nextTurn } from './wal-file.js';

/** Pages between two turns of the event loop. */
const SLICE_PAGES = 128;
/** The applier process comes back within this; longer and the stream is told to try later. */
const APPLIER_PATIENCE_MS = 20_000;
const APPLIER_RETRY_MS = 50;
const COPY_BYTES = 1024 * 1024;

interface Checked {
  readonly header: LtxHeader;
  readonly pages: readonly number[];
  /** The table as it is with the transaction. */
  readonly sums: DatabaseSums;
  /** Takes the change of the table back. */
  revert(): void;
}

/** One database of a replica: checks what comes, logs it, has it applied, and only then counts it. One call at a time. */
export class ReplicaDatabase {
  private tail: Promise<unknown> = Promise.resolve();

  constructor(
    readonly database: Database,
    private readonly folder: DataFolder,
    private readonly applier: Applier,
    private readonly onApplied: (db: Database, pages: number, bytes: number) => void,
  ) {}

  /** A transaction in memory. */
  receive(ltx: Uint8Array): Promise<Position> {
    return this.inOrder(() => this.take(bytesSource(ltx), { kind: 'bytes', bytes: ltx }, () => this.append(ltx)));
  }

  /** A transaction in a spool file. */
  receiveFile(path: string): Promise<Position> {
    return this.inOrder(() =>
      withFile(path, (source) => this.take(source, undefined, (header) => this.appendFile(header, source))),
    );
  }

  /** A whole image in a spool file, in the place of what is there. */
  replace(path: string, reason: 'new' | 'behind' | 'diverged'): Promise<Position> {
    return this.inOrder(async () => {
      const { database } = this;
      const image = await withFile(path, (source, size) => this.checkImage(source).then((read) => ({ ...read, size })));
      if (reason === 'diverged') this.setAside('diverged');
      database.distrust();
      await this.patiently(() =>
        this.applier.replace(database.name, { kind: 'file', path, offset: 0, size: image.size }),
      );
      const { header, sums } = image;
      const position = { txid: header.maxTxid, checksum: header.postApply };
      database.sums = sums;
      database.log.cut(position.txid);
      database.advance({
        position,
        pageSize: header.pageSize,
        pageCount: header.commit,
        timeMs: header.timestampMs,
        pages: undefined,
      });
      database.problem = undefined;
      this.onApplied(database, header.commit, image.size);
      return position;
    });
  }

  /** The primary has no such database (any more). Unless it is what `position` says, it is kept aside. */
  drop(position: Position | undefined): Promise<void> {
    return this.inOrder(async () => {
      const { database } = this;
      if (!database.live) return;
      const expected =
        position !== undefined &&
        position.txid === database.position.txid &&
        position.checksum === database.position.checksum;
      if (!expected) this.setAside(position === undefined ? 'unknown-to-primary' : 'dropped');
      await this.patiently(() => this.applier.drop(database.name));
      database.markDropped();
    });
  }

  /** At a start: opens it in the applier and applies again what the log has beyond the position. */
  resume(): Promise<void> {
    return this.inOrder(async () => {
      const { database, applier } = this;
      if (!database.live) return;
      await this.patiently(() => applier.open(database.name));
      while (database.log.last > database.position.txid) {
        const txid = database.position.txid + 1;
        const location = database.log.location(txid);
        const entry = database.log.get(txid);
        if (location === undefined || entry === undefined) {
          database.log.cut(database.position.txid);
          return;
        }
        const { source, close } = entry.open();
        try {
          await this.take(source, { kind: 'file', ...location }, undefined);
        } catch (error) {
          database.log.cut(database.position.txid);
          throw error;
        } finally {
          close();
        }
      }
    });
  }

  private inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.tail.then(work);
    this.tail = result.catch(() => {});
    return result;
  }

  private async take(
    source: ByteSource,
    location: LtxLocation | undefined,
    append: ((header: LtxHeader) => LtxLocation | undefined) | undefined,
  ): Promise<Position> {
    const { database } = this;
    const checked = await this.check(source);
    const { header } = checked;
    const position = { txid: header.maxTxid, checksum: header.postApply };
    try {
      const logged = append?.(header);
      await this.patiently(() => this.applier.apply(database.name, logged ?? location!));
    } catch (error) {
      checked.revert();
      database.log.cut(database.position.txid);
      database.fail(error, 'REPLICA_FAILED', 'It is tried again; check the disk if this goes on');
      throw database.problem!.error;
    }
    database.sums = checked.sums;
    database.advance({
      position,
      pageSize: header.pageSize,
      pageCount: header.commit,
      timeMs: header.timestampMs,
      pages: header.commit < database.pageCount ? undefined : checked.pages,
    });
    database.problem = undefined;
    this.onApplied(database, checked.pages.length, source.size);
    return position;
  }

  private append(ltx: Uint8Array): undefined {
    const { database } = this;
    database.log.append(database.position.txid + 1, ltx);
    return undefined;
  }

  private appendFile(header: LtxHeader, source: ByteSource): LtxLocation {
    const large = this.database.log.appendLarge(header.maxTxid);
    const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, source.size));
    for (let at = 0; at < source.size; ) {
      const read = source.read(piece, 0, piece.length, at);
      if (read === 0) throw new Error('the spool file is cut');
      large.write(piece.subarray(0, read));
      at += read;
    }
    return { kind: 'file', ...large.finish() };
  }

  /** Reads the transaction through: it must follow the position, be sound, and lead to the checksum that it promises. */
  private async check(source: ByteSource): Promise<Checked> {
    const { database } = this;
    const reader = new LtxReader(source);
    const { header } = reader;
    this.mustFollow(header);
    const shrinks = header.commit < database.pageCount;
    const before = database.sums;
    const fresh = database.position.txid === 0;
    const sums = fresh ? new DatabaseSums(header.pageSize) : shrinks ? before.copy() : before;
    const pages: number[] = [];
    const old: number[] = [];
    const countBefore = sums.pageCount;
    const revert = () => {
      if (sums !== before) return;
      for (let i = 0; i < pages.length; i++)
        if (pages[i]! <= countBefore) sums.set(pages[i]!, old[2 * i]!, old[2 * i + 1]!);
      sums.truncate(countBefore);
    };
    const page = Buffer.allocUnsafeSlow(header.pageSize);
    const sum = { high: 0, low: 0 };
    try {
      for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
        pageChecksum(pgno, page, 0, header.pageSize, sum);
        pages.push(pgno);
        old.push(sums.getHigh(pgno), sums.getLow(pgno));
        sums.set(pgno, sum.high, sum.low);
        if (pages.length % SLICE_PAGES === 0) await nextTurn();
      }
      reader.finish();
      if (sums.pageCount < header.commit) sums.set(header.commit, 0, 0);
      sums.truncate(header.commit);
      if (header.postApply !== 0n && sums.checksum() !== header.postApply) {
        throw new SluiceError(
          'REPLICA_DIVERGED',
          `${database.name}: transaction ${header.maxTxid} does not lead to the checksum that the primary has`,
          'A snapshot takes its place',
        );
      }
    } catch (error) {
      revert();
      throw error;
    }
    return { header, pages, sums, revert };
  }

  private mustFollow(header: LtxHeader): void {
    const { position, name, pageSize, state } = this.database;
    if (state.untrusted && position.txid > 0) throw gap(name, 'its own state is not known');
    if (header.minTxid !== position.txid + 1) {
      throw gap(name, `transaction ${header.minTxid} does not follow ${position.txid}`);
    }
    if (position.txid > 0 && header.preApply !== position.checksum) {
      throw gap(name, `transaction ${header.minTxid} belongs to another history`);
    }
    if (position.txid > 0 && header.pageSize !== pageSize) throw gap(name, 'the page size is another one');
  }

  private async checkImage(source: ByteSource): Promise<{ header: LtxHeader; sums: DatabaseSums }> {
    const reader = new LtxReader(source);
    const { header } = reader;
    const { name } = this.database;
    if (header.minTxid !== 1) throw new SluiceError('LTX_HEADER', `${name}: what should be a snapshot is not one`);
    const sums = new DatabaseSums(header.pageSize);
    const page = Buffer.allocUnsafeSlow(header.pageSize);
    const sum = { high: 0, low: 0 };
    let count = 0;
    for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
      pageChecksum(pgno, page, 0, header.pageSize, sum);
      sums.set(pgno, sum.high, sum.low);
      if (++count % SLICE_PAGES === 0) await nextTurn();
    }
    reader.finish();
    if (sums.pageCount < header.commit) sums.set(header.commit, 0, 0);
    if (header.postApply === 0n || sums.checksum() === header.postApply) return { header, sums };
    throw new SluiceError('REPLICA_DIVERGED', `${name}: the snapshot does not have the checksum that it promises`);
  }

  /** Copies the files as they are into a dated folder. The applier is idle for this database. */
  private setAside(reason: string): void {
    const { database, folder } = this;
    if (!database.live) return;
    const target = join(folder.newSetAside(reason), database.name);
    mkdirSync(dirname(target), { recursive: true });
    // The WAL first: what a checkpoint moves meanwhile is then in both.
    if (existsSync(database.walPath)) copyFileSync(database.walPath, `${target}-wal`);
    copyFileSync(database.path, target);
    writeFileSync(
      `${target}.txt`,
      `${basename(target)} at position ${formatPosition(database.position)}, set aside: ${reason}\n`,
    );
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

async function withFile<T>(path: string, work: (source: ByteSource, size: number) => Promise<T>): Promise<T> {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    return await work(fileSource(fd, 0, size), size);
  } finally {
    closeSync(fd);
  }
}

function gap(name: string, text: string): SluiceError {
  return new SluiceError('REPLICA_GAP', `${name}: ${text}`, 'A snapshot takes its place');
}
