import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE, type WalChecksum, walChecksum } from '../sqlite/index.js';
import { PIECE_BYTES } from './limits.js';

/** The salts and the checksum that the frames of one WAL share; `sum` goes on with each sealed frame. */
export interface FrameChain {
  readonly bigEndian: boolean;
  readonly salt1: number;
  readonly salt2: number;
  readonly sum: WalChecksum;
}

/**
 * As many frames of a WAL as one write takes, with room for the WAL's header before them. Pages are decoded straight
 * into their place; a frame is *sealed* with its header when it is known whether it is the transaction's last.
 */
export class FramePiece {
  readonly frameSize: number;
  readonly bytes: Buffer;
  /** Where each frame's page goes. */
  readonly pages: readonly Buffer[];
  private static readonly spare = new Map<number, FramePiece[]>();

  private constructor(readonly pageSize: number) {
    this.frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
    const capacity = Math.max(2, Math.floor((PIECE_BYTES - WAL_HEADER_SIZE) / this.frameSize));
    this.bytes = Buffer.alloc(WAL_HEADER_SIZE + capacity * this.frameSize);
    this.pages = Array.from({ length: capacity }, (_, i) => {
      const start = this.offset(i) + WAL_FRAME_HEADER_SIZE;
      return this.bytes.subarray(start, start + pageSize);
    });
  }

  /** One that is not in use. */
  static take(pageSize: number): FramePiece {
    return FramePiece.spare.get(pageSize)?.pop() ?? new FramePiece(pageSize);
  }

  /** Keeps one for next time, per page size. */
  give(): void {
    FramePiece.spare.set(this.pageSize, [this]);
  }

  get capacity(): number {
    return this.pages.length;
  }

  offset(frame: number): number {
    return WAL_HEADER_SIZE + frame * this.frameSize;
  }

  /** Writes the frame's header. `commit` is the database size in pages for the transaction's last frame, else 0. */
  seal(frame: number, pgno: number, commit: number, chain: FrameChain): void {
    const { bytes } = this;
    const start = this.offset(frame);
    bytes.writeUInt32BE(pgno, start);
    bytes.writeUInt32BE(commit, start + 4);
    bytes.writeUInt32BE(chain.salt1, start + 8);
    bytes.writeUInt32BE(chain.salt2, start + 12);
    walChecksum(chain.sum, chain.bigEndian, bytes, start, 8);
    walChecksum(chain.sum, chain.bigEndian, bytes, start + WAL_FRAME_HEADER_SIZE, this.pageSize);
    bytes.writeUInt32BE(chain.sum.s0, start + 16);
    bytes.writeUInt32BE(chain.sum.s1, start + 20);
  }

  /** Moves a frame's page to the first place. */
  moveToFront(frame: number): void {
    this.bytes.copyWithin(this.offset(0), this.offset(frame), this.offset(frame + 1));
  }
}
