import { closeSync, later, openSync, readSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { DatabaseSums, LtxEncoder, lockPage, type Position, pageChecksum } from '../ltx/index.js';
import { readFilePage } from './page-images.js';
import type { PinFlags } from './pin-flags.js';
import { removeIfThere } from './transaction-log.js';
import type { Snapshot } from './types.js';
import { nextTurn, WalFile } from './wal-file.js';
import { SAVED_PAGE_HEADER_SIZE } from './worker-pin.js';

/** Pages between two turns of the event loop. */
const SLICE_PAGES = 64;

export interface PinFacts {
  readonly name: string;
  readonly databasePath: string;
  readonly walPath: string;
  /** Where the worker saves old pages; the WAL's copy is `<savedPath>-wal`. */
  readonly savedPath: string;
  readonly flags: PinFlags;
  /** Frames of the WAL that belong to the image. */
  readonly frames: number;
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly timestampMs: number;
  readonly nodeId: bigint;
  /** Told when its pages do not have the checksum of the position. */
  readonly onMismatch: () => void;
}

/** A consistent image of a database that goes on changing: what was overwritten since is read from where it was saved. */
export class PinnedSnapshot implements Snapshot {
  private readonly databaseFd: number;
  private wal: WalFile | undefined;
  private walIsCopy = false;
  private newest = new Map<number, number>();
  private savedFd = -1;
  /** Where each saved page stands in its file, as far as that was read. */
  private readonly saved = new Map<number, number>();
  private savedRecords = 0;
  private readonly savedHead = Buffer.alloc(SAVED_PAGE_HEADER_SIZE);
  private closed = false;
  private broken: string | undefined;

  constructor(
    private readonly facts: PinFacts,
    private readonly release: () => void,
  ) {
    this.databaseFd = openSync(facts.databasePath, 'r');
  }

  get position(): Position {
    return this.facts.position;
  }

  get pageSize(): number {
    return this.facts.pageSize;
  }

  get pageCount(): number {
    return this.facts.pageCount;
  }

  get timestampMs(): number {
    return this.facts.timestampMs;
  }

  /** The database is gone: the image cannot be finished. */
  break(reason: string): void {
    this.broken ??= reason;
  }

  /**
   * Copies the WAL, which is about to go: here, and not on the worker, where every application would wait for it. It must
   * not go before that: libuv copies a file that becomes shorter meanwhile for ever.
   */
  async keepWal(): Promise<void> {
    const { flags, frames, walPath, savedPath } = this.facts;
    if (frames === 0 || flags.walCopied || this.closed) return;
    try {
      await later.copyFile(walPath, `${savedPath}-wal`);
      flags.setWalCopied();
    } catch {
      flags.setFailed();
    }
    if (this.closed) removeIfThere(`${savedPath}-wal`);
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const { facts } = this;
    const { pageSize, pageCount, position } = facts;
    if (facts.frames > 0) await this.openWal();
    const ready: Uint8Array[] = [];
    const encoder = new LtxEncoder((bytes) => ready.push(Uint8Array.prototype.slice.call(bytes)), {
      pageSize,
      commit: pageCount,
      minTxid: 1,
      maxTxid: position.txid,
      timestampMs: facts.timestampMs,
      preApply: 0n,
      postApply: position.checksum,
      nodeId: facts.nodeId,
    });
    const lock = lockPage(pageSize);
    const page = Buffer.allocUnsafeSlow(pageSize);
    const sum = { high: 0, low: 0 };
    let high = 0;
    let low = 0;
    for (let pgno = 1; pgno <= pageCount; pgno++) {
      if (pgno % SLICE_PAGES === 0) {
        await nextTurn();
        this.check();
        facts.flags.cursor = pgno;
        while (ready.length > 0) yield ready.shift()!;
      }
      if (pgno === lock) continue;
      this.readPage(pgno, page);
      pageChecksum(pgno, page, 0, pageSize, sum);
      high ^= sum.high;
      low ^= sum.low;
      encoder.writePage(pgno, page);
    }
    this.check();
    const sums = new DatabaseSums(pageSize);
    sums.set(1, high >>> 0, low >>> 0);
    if (sums.checksum() !== position.checksum) {
      facts.onMismatch();
      throw new SluiceError(
        'SNAPSHOT_CHECKSUM',
        `${facts.name}: the pages read do not have the checksum of transaction ${position.txid}`,
        'The database is read whole, and it is tried again; if this goes on, check the disk, and compare with PRAGMA integrity_check',
      );
    }
    encoder.finish();
    while (ready.length > 0) yield ready.shift()!;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.databaseFd);
    this.wal?.close();
    if (this.savedFd >= 0) closeSync(this.savedFd);
    this.release();
    removeIfThere(this.facts.savedPath);
    removeIfThere(`${this.facts.savedPath}-wal`);
  }

  private check(): void {
    if (this.closed) throw new SluiceError('SNAPSHOT_CLOSED', `${this.facts.name}: the snapshot was closed`);
    if (this.facts.flags.failed) this.break('no room to keep pages that were overwritten meanwhile');
    if (this.broken !== undefined) {
      throw new SluiceError(
        'SNAPSHOT_FAILED',
        `${this.facts.name}: snapshot given up: ${this.broken}`,
        'It is tried again',
      );
    }
  }

  private readPage(pgno: number, target: Buffer): void {
    const frame = this.newest.get(pgno);
    if (frame !== undefined) {
      this.readFrame(frame, target);
      return;
    }
    readFilePage(this.databaseFd, this.facts.pageSize, pgno, target, 0);
    // The order matters: the worker sets the bit before it lets the page be overwritten.
    if (this.facts.flags.isSaved(pgno)) this.readSaved(pgno, target);
  }

  private readFrame(frame: number, target: Buffer): void {
    if (!this.walIsCopy) {
      try {
        this.wal!.readPage(target, 0, frame);
      } catch (error) {
        if (!this.facts.flags.walCopied) throw error;
      }
      if (!this.facts.flags.walCopied) return;
      this.useCopy();
    }
    this.wal!.readPage(target, 0, frame);
  }

  private async openWal(): Promise<void> {
    this.wal = WalFile.open(this.facts.walPath);
    if (!this.facts.flags.walCopied) {
      this.checkWal('its WAL');
      try {
        this.newest = await this.wal!.newestFrames(0, this.facts.frames);
      } catch (error) {
        if (!this.facts.flags.walCopied) throw error;
      }
    }
    if (!this.facts.flags.walCopied) return;
    this.useCopy();
    this.newest = await this.wal!.newestFrames(0, this.facts.frames);
  }

  private useCopy(): void {
    this.wal?.close();
    this.wal = WalFile.open(`${this.facts.savedPath}-wal`);
    this.walIsCopy = true;
    this.checkWal("its WAL's copy");
  }

  /** Another database may have been copied over this one. */
  private checkWal(what: string): void {
    if (this.wal === undefined) this.break(`${what} cannot be read`);
    else if (this.wal.header.pageSize !== this.facts.pageSize) this.break(`${what} is of another page size`);
    this.check();
  }

  private readSaved(pgno: number, target: Buffer): void {
    const recordSize = SAVED_PAGE_HEADER_SIZE + this.facts.pageSize;
    if (this.savedFd < 0) this.savedFd = openSync(this.facts.savedPath, 'r');
    while (!this.saved.has(pgno)) {
      const at = this.savedRecords * recordSize;
      if (readSync(this.savedFd, this.savedHead, 0, SAVED_PAGE_HEADER_SIZE, at) < SAVED_PAGE_HEADER_SIZE) {
        this.break(`page ${pgno} was not kept`);
        this.check();
      }
      const number = this.savedHead.readUInt32BE(0);
      if (!this.saved.has(number)) this.saved.set(number, at + SAVED_PAGE_HEADER_SIZE);
      this.savedRecords++;
    }
    readSync(this.savedFd, target, 0, this.facts.pageSize, this.saved.get(pgno)!);
  }
}
