import { join } from 'node:path';
import { fdatasync, readdirSync, unlinkSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import {
  decodeHeader,
  fileSource,
  formatTxid,
  HEADER_SIZE,
  type LtxHeader,
  parseTxid,
  type Txid,
} from '../ltx/index.js';
import { LogSegment, MAX_LTX_SIZE, type Verify, writeWhole } from './log-segment.js';
import type { LogEntry, TransactionLog } from './types.js';

/** A segment is closed and the next begun at this size. */
const SEGMENT_SIZE = 16 * 1024 * 1024;
const SUFFIX = '.log';
/** The first TXID, then `.log`. */
export const SEGMENT_NAME = /^[0-9a-f]{16}\.log$/;

export interface Retention {
  readonly ageMs: number;
  readonly sizeBytes: number;
}

/** One database's log in segment files, `<first TXID>.log`. */
export class SegmentedLog implements TransactionLog {
  private readonly segments: LogSegment[] = [];
  /** TXID before the oldest record. */
  private base = 0;

  /** Opens the log in `folder`. `verify`: of its newest segment, since older ones were synced when they were closed. */
  constructor(
    private readonly folder: string,
    verify: Verify,
  ) {
    const names = readdirSync(folder)
      .filter((name) => SEGMENT_NAME.test(name))
      .sort();
    for (const [index, name] of names.entries()) {
      const path = join(folder, name);
      const first = parseTxid(name.slice(0, -SUFFIX.length));
      const segment = LogSegment.open(path, first, index === names.length - 1 ? verify : 'none');
      // Only what follows without a gap counts; the newest run wins.
      if (segment.count === 0) segment.remove();
      else {
        if (this.segments.length > 0 && first !== this.last + 1) this.removeAll();
        this.segments.push(segment);
        this.base = this.segments[0]!.firstTxid - 1;
      }
    }
  }

  get first(): Txid {
    return this.base + 1;
  }

  get last(): Txid {
    const segment = this.segments.at(-1);
    return segment === undefined ? this.base : segment.lastTxid;
  }

  get bytes(): number {
    let bytes = 0;
    for (const segment of this.segments) bytes += segment.size;
    return bytes;
  }

  /** Descriptor of the current segment, to be synced; -1 if there is none. */
  get fd(): number {
    return this.segments.at(-1)?.fd ?? -1;
  }

  get(txid: Txid): LogEntry | undefined {
    if (txid <= this.base || txid > this.last) return undefined;
    for (let i = this.segments.length - 1; i >= 0; i--) {
      const segment = this.segments[i]!;
      if (txid >= segment.firstTxid) return new Entry(segment, txid);
    }
    return undefined;
  }

  /** The LTX header of a transaction that is in the log. */
  header(txid: Txid): LtxHeader | undefined {
    const entry = this.get(txid);
    return entry instanceof Entry ? entry.header : undefined;
  }

  /** Where a transaction's bytes are, for another process to read. */
  location(txid: Txid): { readonly path: string; readonly offset: number; readonly size: number } | undefined {
    const segment = this.segments.findLast((candidate) => txid >= candidate.firstTxid && txid <= candidate.lastTxid);
    if (segment === undefined) return undefined;
    return { path: segment.path, offset: segment.offsetOf(txid), size: segment.sizeOf(txid) };
  }

  /** Transactions from `txid` on, in one write. */
  append(txid: Txid, files: readonly Uint8Array[]): void {
    this.segmentFor(txid).append(files);
  }

  /** A transaction that is written piece by piece. */
  appendLarge(txid: Txid): LargeAppend {
    const segment = this.segmentFor(txid);
    let size = 0;
    return {
      write(bytes) {
        if (size + bytes.length > MAX_LTX_SIZE) throw new SluiceError('LOG_TOO_LARGE', 'a transaction of over 4 GiB');
        writeWhole(segment.fd, bytes, bytes.length, segment.largeOffset + size);
        size += bytes.length;
      },
      finish() {
        segment.finishLarge(size);
        return { path: segment.path, offset: segment.offsetOf(txid), size };
      },
    };
  }

  /** Drops everything: the database is at `txid` by other means, and the next transaction is the one after it. */
  cut(txid: Txid): void {
    this.removeAll();
    this.base = txid;
  }

  /** Drops the transactions after `txid`. */
  cutAfter(txid: Txid): void {
    if (txid < this.last) this.cut(txid);
  }

  /** Drops the segments that have nothing after `txid`: their removal was begun. */
  forgetUpTo(txid: Txid): void {
    while (this.segments[0] !== undefined && this.segments[0].lastTxid <= txid) this.segments.shift()!.remove();
    this.base = this.segments.length === 0 ? Math.max(this.base, txid) : this.segments[0]!.firstTxid - 1;
  }

  /** Drops the oldest segments that are over age or size; never the current one. */
  prune(retention: Retention, nowMs: number): void {
    let bytes = this.bytes;
    while (this.segments.length > 1) {
      const [oldest, next] = this.segments as [LogSegment, LogSegment];
      if (bytes <= retention.sizeBytes && nowMs - next.createdMs <= retention.ageMs) return;
      bytes -= oldest.size;
      this.base = oldest.lastTxid;
      this.segments.shift();
      oldest.remove();
    }
  }

  sync(): void {
    this.segments.at(-1)?.sync();
  }

  /** The same, on libuv's pool; a failure shows at the next write. */
  syncSoon(): void {
    const segment = this.segments.at(-1);
    if (segment === undefined) return;
    segment.retain();
    fdatasync(segment.fd, () => segment.release());
  }

  close(): void {
    for (const segment of this.segments.splice(0)) segment.release();
  }

  private segmentFor(txid: Txid): LogSegment {
    if (txid !== this.last + 1) {
      throw new SluiceError('LOG_GAP', `transaction ${txid} does not follow ${this.last} in the log`);
    }
    const current = this.segments.at(-1);
    if (current !== undefined && current.size < SEGMENT_SIZE) return current;
    // The next segment's transactions may become durable before this one's end: the order must hold.
    current?.sync();
    const path = join(this.folder, `${formatTxid(txid)}${SUFFIX}`);
    const segment = LogSegment.create(path, txid);
    this.segments.push(segment);
    return segment;
  }

  private removeAll(): void {
    for (const segment of this.segments.splice(0)) segment.remove();
  }
}

export interface LargeAppend {
  /** The bytes are taken during the call. */
  write(bytes: Uint8Array): void;
  finish(): { readonly path: string; readonly offset: number; readonly size: number };
}

class Entry implements LogEntry {
  readonly size: number;
  private parsed: LtxHeader | undefined;

  constructor(
    private readonly segment: LogSegment,
    readonly txid: Txid,
  ) {
    this.size = segment.sizeOf(txid);
  }

  get header(): LtxHeader {
    if (this.parsed === undefined) {
      const bytes = Buffer.alloc(HEADER_SIZE);
      this.source().read(bytes, 0, HEADER_SIZE, 0);
      this.parsed = decodeHeader(bytes);
    }
    return this.parsed;
  }

  get before() {
    return { txid: this.header.minTxid - 1, checksum: this.header.preApply };
  }

  get after() {
    return { txid: this.txid, checksum: this.header.postApply };
  }

  bytes(): Uint8Array {
    const bytes = Buffer.allocUnsafeSlow(this.size);
    if (this.source().read(bytes, 0, this.size, 0) < this.size) {
      throw new SluiceError('LOG_READ', `the log ends within transaction ${this.txid}: ${this.segment.path}`);
    }
    return bytes;
  }

  open() {
    const { segment } = this;
    segment.retain();
    let open = true;
    return {
      source: this.source(),
      close: () => {
        if (open) segment.release();
        open = false;
      },
    };
  }

  private source() {
    return fileSource(this.segment.fd, this.segment.offsetOf(this.txid), this.size);
  }
}

/** Removes a file that may not be there. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
