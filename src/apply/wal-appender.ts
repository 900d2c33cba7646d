import { randomBytes } from 'node:crypto';
import { fstatSync, ftruncateSync, readSync } from 'node:fs';
import type { LtxReader } from '../ltx/index.js';
import {
  type DatabaseHeader,
  encodeWalIndexHeader,
  parseDatabaseHeader,
  WAL_HEADER_SIZE,
  WAL_INDEX_HEADER_SIZE,
  WAL_MAGIC_LE,
  WAL_VERSION,
  WalIndexBlock,
  type WalIndexHeader,
  walChecksum,
  walIndexBlockOf,
} from '../sqlite/index.js';
import type { DatabaseClient } from './client.js';
import { readOrZeros, writeFully } from './files.js';
import { type FrameChain, FramePiece } from './frame-piece.js';
import type { Turn } from './turn.js';
import type { WalProgress } from './wal-apply.js';

/** Shared by all databases: the wal-index is written without a pause in between. */
const block = new WalIndexBlock();
const headerBytes = Buffer.alloc(WAL_INDEX_HEADER_SIZE);

/** One transaction being added to a WAL, whose write lock the caller holds from before the first page to after `publish`. */
export class WalAppender {
  private readonly piece: FramePiece;
  private readonly chain: FrameChain;
  private readonly pgnos: number[] = [];
  /** Frames in the piece; all but the last are sealed. */
  private count = 0;
  /** Frames of the WAL that are written. */
  private written: number;
  private startsAfresh: boolean;
  private pageOne: DatabaseHeader | undefined;

  constructor(
    private readonly client: DatabaseClient,
    private readonly before: WalIndexHeader,
    pageSize: number,
  ) {
    this.piece = FramePiece.take(pageSize);
    this.written = before.frames;
    this.startsAfresh = before.frames === 0;
    this.chain = this.startsAfresh ? this.startWal(pageSize) : { ...before, sum: { s0: before.s0, s1: before.s1 } };
  }

  get progress(): WalProgress {
    return { frames: this.written, pageOne: this.pageOne };
  }

  /** Frees the memory for the next transaction. Not to be used afterwards. */
  close(): void {
    this.piece.give();
  }

  /**
   * Writes all pages as frames, in pieces, and checks the whole LTX before it writes the frame that commits them.
   * Returns false if there were none. Nobody looks at the frames until `publish`.
   */
  async writeFrames(reader: LtxReader, turn: Turn): Promise<boolean> {
    const { piece, pgnos } = this;
    for (;;) {
      const pgno = reader.nextPage(piece.pages[this.count]!);
      if (pgno === 0) break;
      if (this.count > 0) piece.seal(this.count - 1, pgnos.at(-1)!, 0, this.chain);
      if (pgno === 1) this.pageOne = parseDatabaseHeader(piece.pages[this.count]!);
      pgnos.push(pgno);
      if (++this.count === piece.capacity) {
        this.flush(this.count - 1);
        piece.moveToFront(piece.capacity - 1);
        this.count = 1;
        await turn.pass();
      }
    }
    reader.finish();
    if (this.count === 0) return false;
    piece.seal(this.count - 1, pgnos.at(-1)!, reader.header.commit, this.chain);
    this.flush(this.count);
    return true;
  }

  /** Adds the frames to the wal-index: page numbers, hash slots, then the header, second copy first, as SQLite does. */
  publish(commit: number): void {
    this.indexFrames();
    encodeWalIndexHeader(
      {
        change: this.before.change + 1,
        initialised: true,
        bigEndian: this.chain.bigEndian,
        pageSize: this.piece.pageSize,
        frames: this.written,
        pageCount: commit,
        s0: this.chain.sum.s0,
        s1: this.chain.sum.s1,
        salt1: this.chain.salt1,
        salt2: this.chain.salt2,
      },
      headerBytes,
    );
    // A reader reads the first copy first. If it reads a torn one, the second is already another.
    writeFully(this.client.shmFd, headerBytes, 0, WAL_INDEX_HEADER_SIZE, WAL_INDEX_HEADER_SIZE);
    writeFully(this.client.shmFd, headerBytes, 0, WAL_INDEX_HEADER_SIZE, 0);
  }

  private flush(frames: number): void {
    const { piece } = this;
    const end = piece.offset(frames);
    const start = this.startsAfresh ? 0 : WAL_HEADER_SIZE;
    const position = WAL_HEADER_SIZE + this.written * piece.frameSize;
    writeFully(this.client.walFd, piece.bytes, start, end - start, this.startsAfresh ? 0 : position);
    this.startsAfresh = false;
    this.written += frames;
  }

  private indexFrames(): void {
    const { shmFd } = this.client;
    let frame = this.before.frames + 1;
    for (let i = 0; i < this.pgnos.length; ) {
      const number = walIndexBlockOf(frame);
      readOrZeros(shmFd, block.bytes, 0, block.bytes.length, number * block.bytes.length);
      block.load(number, frame);
      for (; i < this.pgnos.length && frame <= block.lastFrame; i++, frame++) block.add(this.pgnos[i]!);
      block.changes((start, end) => writeFully(shmFd, block.bytes, start, end - start, block.offset + start));
    }
  }

  /**
   * The WAL's header, with salts that no frame in it can have. SQLite syncs it before going on, since old frames behind
   * a header that did not reach the disk would be replayed; here there are none: the file is cut before. Not to nothing,
   * since SQLite takes an empty WAL for none.
   */
  private startWal(pageSize: number): FrameChain {
    const { walFd } = this.client;
    const { bytes } = this.piece;
    let sequence = 0;
    if (fstatSync(walFd).size > 0) {
      if (readSync(walFd, bytes, 0, WAL_HEADER_SIZE, 0) === WAL_HEADER_SIZE) sequence = bytes.readUInt32BE(12) + 1;
      ftruncateSync(walFd, WAL_HEADER_SIZE);
    }
    const salt1 = (this.before.salt1 + 1) >>> 0;
    const salt2 = randomBytes(4).readUInt32BE();
    bytes.writeUInt32BE(WAL_MAGIC_LE, 0);
    bytes.writeUInt32BE(WAL_VERSION, 4);
    bytes.writeUInt32BE(pageSize, 8);
    bytes.writeUInt32BE(sequence >>> 0, 12);
    bytes.writeUInt32BE(salt1, 16);
    bytes.writeUInt32BE(salt2, 20);
    const sum = { s0: 0, s1: 0 };
    walChecksum(sum, false, bytes, 0, 24);
    bytes.writeUInt32BE(sum.s0, 24);
    bytes.writeUInt32BE(sum.s1, 28);
    return { bigEndian: false, salt1, salt2, sum };
  }
}
