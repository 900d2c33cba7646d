import { fstatSync } from 'node:fs';
import { closeSync, fdatasyncSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { fileSource, verifyLtx } from '../ltx/index.js';

/** Before each LTX: u32 magic, u32 size of the LTX, u64 TXID; big-endian. */
export const RECORD_HEADER_SIZE = 16;
const RECORD_MAGIC = 0x534c4731; // "SLG1"
/** An LTX may not be larger, since its size is a u32. */
export const MAX_LTX_SIZE = 0xffff_ffff;
/** How long a descriptor outlives its last use. */
const CLOSE_AFTER_MS = 2000;
const SCAN_SIZE = 1024 * 1024;
/** Records up to so many bytes are put together here: they are gone when `append` returns. */
const scratch = Buffer.allocUnsafeSlow(256 * 1024);

/** Which records are read whole when a segment is opened: after a crash of the process, or of the machine. */
export type Verify = 'none' | 'last' | 'all';

/** One file of a log: LTX files one behind the other, with consecutive TXIDs. */
export class LogSegment {
  private readonly descriptor: number;
  private readonly offsets: number[] = [];
  private readonly sizes: number[] = [];
  size = 0;
  private references = 1;
  private readonly header = Buffer.alloc(RECORD_HEADER_SIZE);

  private constructor(
    readonly path: string,
    readonly firstTxid: number,
    readonly createdMs: number,
    flags: 'r' | 'r+' | 'w+',
  ) {
    this.descriptor = openSync(path, flags);
  }

  /** Throws `LOG_PRUNED` once the file is closed: the number may be another file's by then. */
  get fd(): number {
    this.mustBeOpen();
    return this.descriptor;
  }

  static create(path: string, firstTxid: number): LogSegment {
    return new LogSegment(path, firstTxid, Date.now(), 'w+');
  }

  /** Opens one and finds its records. What follows the last whole one is cut off, and what `verify` finds torn. */
  static open(path: string, firstTxid: number, verify: Verify): LogSegment {
    const segment = new LogSegment(path, firstTxid, 0, 'r+');
    segment.scan();
    if (verify === 'last') while (segment.count > 0 && !segment.isSound(segment.lastTxid)) segment.dropLast();
    if (verify === 'all') segment.keepSound();
    if (fstatSync(segment.fd).size > segment.size) ftruncateSync(segment.fd, segment.size);
    return Object.assign(segment, { createdMs: fstatSync(segment.fd).mtimeMs });
  }

  /** Finds the records of one that somebody else may be writing, and changes nothing. */
  static view(path: string, firstTxid: number): LogSegment {
    const segment = new LogSegment(path, firstTxid, 0, 'r');
    segment.scan();
    return segment;
  }

  get count(): number {
    return this.offsets.length;
  }

  get lastTxid(): number {
    return this.firstTxid + this.count - 1;
  }

  offsetOf(txid: number): number {
    return this.offsets[txid - this.firstTxid]!;
  }

  sizeOf(txid: number): number {
    return this.sizes[txid - this.firstTxid]!;
  }

  /** All of them or, if it throws, none. */
  append(files: readonly Uint8Array[]): void {
    let size = 0;
    for (const ltx of files) size += RECORD_HEADER_SIZE + ltx.length;
    const records = size <= scratch.length ? scratch : Buffer.allocUnsafeSlow(size);
    let at = 0;
    for (const [i, ltx] of files.entries()) {
      this.putHeader(records, at, this.count + i, ltx.length);
      records.set(ltx, at + RECORD_HEADER_SIZE);
      at += RECORD_HEADER_SIZE + ltx.length;
    }
    writeWhole(this.fd, records, size, this.size);
    for (const ltx of files) this.took(this.size + RECORD_HEADER_SIZE, ltx.length);
  }

  /** Where the bytes of the next LTX go; nothing counts until `finishLarge`. */
  get largeOffset(): number {
    return this.size + RECORD_HEADER_SIZE;
  }

  finishLarge(size: number): void {
    this.putHeader(this.header, 0, this.count, size);
    writeWhole(this.fd, this.header, RECORD_HEADER_SIZE, this.size);
    this.took(this.largeOffset, size);
  }

  sync(): void {
    fdatasyncSync(this.fd);
  }

  /** A reader keeps the file readable after `remove`. */
  retain(): void {
    this.mustBeOpen();
    this.references++;
  }

  release(): void {
    if (--this.references > 0) return;
    // The worker may just have read the number from the shared memory, to have it synced.
    setTimeout(() => closeSync(this.descriptor), CLOSE_AFTER_MS).unref();
  }

  remove(): void {
    unlinkSync(this.path);
    this.release();
  }

  private mustBeOpen(): void {
    if (this.references > 0) return;
    throw new SluiceError('LOG_PRUNED', `the log's segment ${this.path} is gone`, 'Who needs it takes a snapshot');
  }

  private took(offset: number, size: number): void {
    this.offsets.push(offset);
    this.sizes.push(size);
    this.size = offset + size;
  }

  /** Of the record `index` of this segment, to `target` at `at`. */
  private putHeader(target: Buffer, at: number, index: number, size: number): void {
    target.writeUInt32BE(RECORD_MAGIC, at);
    target.writeUInt32BE(size, at + 4);
    target.writeBigUInt64BE(BigInt(this.firstTxid + index), at + 8);
  }

  private scan(): void {
    const fileSize = fstatSync(this.fd).size;
    const piece = Buffer.alloc(Math.min(SCAN_SIZE, Math.max(fileSize, RECORD_HEADER_SIZE)));
    let pieceStart = 0;
    let pieceSize = 0;
    for (let at = 0; at + RECORD_HEADER_SIZE <= fileSize; ) {
      if (at < pieceStart || at + RECORD_HEADER_SIZE > pieceStart + pieceSize) {
        pieceStart = at;
        pieceSize = readSync(this.fd, piece, 0, piece.length, at);
      }
      const record = at - pieceStart;
      if (piece.readUInt32BE(record) !== RECORD_MAGIC) return;
      const size = piece.readUInt32BE(record + 4);
      if (piece.readBigUInt64BE(record + 8) !== BigInt(this.firstTxid + this.count)) return;
      if (at + RECORD_HEADER_SIZE + size > fileSize) return;
      this.took(at + RECORD_HEADER_SIZE, size);
      at = this.size;
    }
  }

  private keepSound(): void {
    let txid = this.firstTxid;
    while (txid <= this.lastTxid && this.isSound(txid)) txid++;
    while (this.lastTxid >= txid) this.dropLast();
  }

  private isSound(txid: number): boolean {
    try {
      verifyLtx(fileSource(this.fd, this.offsetOf(txid), this.sizeOf(txid)));
      return true;
    } catch {
      return false;
    }
  }

  private dropLast(): void {
    this.size = this.offsets.pop()! - RECORD_HEADER_SIZE;
    this.sizes.pop();
  }
}

/** Writes all of it; a write that comes short is a full disk, which the next one then says. */
export function writeWhole(fd: number, bytes: Uint8Array, size: number, position: number): void {
  for (let done = 0; done < size; ) done += writeSync(fd, bytes, done, size - done, position + done);
}
