import {
  frameCommitSize,
  frameFollows,
  frameIsOf,
  parseWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalChecksum,
  type WalHeader,
} from '../sqlite/index.js';

/** Reads the WAL's backing file; returns the bytes read, fewer only at its end. */
export type WalRead = (target: Buffer, length: number, position: number) => number;

/** A write that may be made. */
interface Overlay {
  readonly position: number;
  readonly data: Buffer;
  readonly start: number;
  readonly length: number;
}

/**
 * Recognises commits in the writes to one WAL file, as they come.
 *
 * SQLite appends a frame in two writes (header, page), either of which the kernel may split. A large transaction
 * spills frames early, overwrites them in place and rewrites their checksums before its commit, so frames after the last
 * commit are scratch: a commit counts only when the whole checksum chain from the last one verifies. Plain appends are
 * checked from the bytes at hand; anything else is read again from the file, and only when a commit frame is touched.
 */
export class WalTracker {
  header: WalHeader | undefined;
  /** Counts the beginnings and ends of WALs. */
  generation = 0;
  /** Frames up to and including the last commit. */
  committedFrames = 0;

  private readonly committedSum: WalChecksum = { s0: 0, s1: 0 };
  /** Frames that verify, committed or not, and the checksum after them. */
  private verifiedFrames = 0;
  private readonly sum: WalChecksum = { s0: 0, s1: 0 };
  /** The frame after those, as far as it came in one piece. */
  private frame = Buffer.alloc(0);
  private frameBytes = 0;
  private readonly headerBytes = Buffer.alloc(WAL_HEADER_SIZE);
  /** Bytes that are taken for the file's. */
  private overlay: Overlay | undefined;

  constructor(private readonly readFile: WalRead) {}

  get frameSize(): number {
    return this.header === undefined ? 0 : WAL_FRAME_HEADER_SIZE + this.header.pageSize;
  }

  /** Byte offset behind the last commit. */
  get committedEnd(): number {
    return WAL_HEADER_SIZE + this.committedFrames * this.frameSize;
  }

  /** Takes what the file holds now: after a start, or when another file took its place. */
  load(): void {
    this.begin();
    this.verify();
  }

  /** The file was cut to nothing or removed. */
  clear(): void {
    this.generation++;
    this.header = undefined;
    this.committedFrames = 0;
    this.verifiedFrames = 0;
    this.frameBytes = 0;
  }

  /**
   * Another WAL stands in the file: its writers did not tell of it. `header` as the file has it; nothing of it is committed
   * yet.
   */
  beginAnew(header: WalHeader): void {
    this.clear();
    this.take(header);
  }

  /** The writers say that it is committed up to `frames`, the last of which has this checksum. */
  publish(frames: number, s0: number, s1: number): void {
    this.committedFrames = frames;
    this.committedSum.s0 = s0;
    this.committedSum.s1 = s1;
    this.rewind();
  }

  /** Whether the last committed frame still stands in the file. */
  get stands(): boolean {
    return this.committedFrames === 0 || this.isFrame(this.committedFrames, this.committedSum);
  }

  /** Pages of the database after frame `number`, from 1, which is a commit. */
  pagesAt(number: number): number {
    return this.isFrame(number) ? frameCommitSize(this.headerBytes, 0) : 0;
  }

  /** Whether the checksum chain leads from the WAL's header to the last committed frame. Reads all of it. */
  verifiesAll(): boolean {
    const whole = new WalTracker(this.readFile);
    whole.load();
    return whole.committedFrames >= this.committedFrames;
  }

  /** Whether frame `number`, from 1, is one of this WAL with this checksum, or whatever checksum. */
  isFrame(number: number, sum?: WalChecksum): boolean {
    const { header, headerBytes: bytes } = this;
    if (header === undefined) return false;
    const position = WAL_HEADER_SIZE + (number - 1) * this.frameSize;
    if (this.read(bytes, WAL_FRAME_HEADER_SIZE, position) < WAL_FRAME_HEADER_SIZE) return false;
    if (!frameIsOf(header, bytes, 0)) return false;
    return sum === undefined || (bytes.readUInt32BE(16) === sum.s0 && bytes.readUInt32BE(20) === sum.s1);
  }

  /** Whether a write there changes frames that were recognised as committed. */
  overwritesCommitted(position: number): boolean {
    return this.header !== undefined && position >= WAL_HEADER_SIZE && position < this.committedEnd;
  }

  /**
   * How many frames would be committed if these bytes reached the file: 0 if they do not complete a commit. What is known
   * stays as it is.
   */
  tries(position: number, data: Buffer, start: number, length: number): number {
    const { committedFrames, verifiedFrames, frameBytes } = this;
    const { s0, s1 } = this.sum;
    const { s0: c0, s1: c1 } = this.committedSum;
    const partial = Buffer.from(this.frame.subarray(0, frameBytes));
    this.overlay = { position, data, start, length };
    let frames = 0;
    try {
      // A header begins a WAL that has no commit yet.
      if (position >= WAL_HEADER_SIZE && this.wrote(position, data, start, length)) frames = this.committedFrames;
    } finally {
      this.overlay = undefined;
      this.committedFrames = committedFrames;
      this.verifiedFrames = verifiedFrames;
      this.frameBytes = frameBytes;
      partial.copy(this.frame);
      Object.assign(this.sum, { s0, s1 });
      Object.assign(this.committedSum, { s0: c0, s1: c1 });
    }
    return frames;
  }

  /** Bytes that reached the file. Returns whether a commit was recognised. */
  wrote(position: number, data: Buffer, start: number, length: number): boolean {
    let skip = 0;
    if (position < WAL_HEADER_SIZE) {
      if (position + length < WAL_HEADER_SIZE) return false;
      this.begin();
      skip = WAL_HEADER_SIZE - position;
      if (skip === length) return false;
    }
    if (this.header === undefined) return false;
    const from = position + skip;
    const frameStart = WAL_HEADER_SIZE + this.verifiedFrames * this.frameSize;
    if (from === frameStart + this.frameBytes) return this.append(data, start + skip, length - skip);
    this.frameBytes = 0;
    if (from < frameStart) this.rewind();
    return this.touchesCommit(from, length - skip) && this.verify();
  }

  /**
   * Looks for commits behind the last one, where nobody told of the writes: what verified before may have been written
   * again. Checksums are computed only if there is a commit frame. Returns whether a commit was recognised.
   */
  verifyAgain(): boolean {
    this.rewind();
    let number = this.committedFrames + 1;
    for (; this.isFrame(number); number++) if (frameCommitSize(this.headerBytes, 0) !== 0) break;
    if (!this.isFrame(number)) return false;
    const recognised = this.verify();
    this.rewind();
    return recognised;
  }

  /** Reads on from what is verified. Returns whether a commit was recognised. */
  verify(): boolean {
    const header = this.header;
    if (header === undefined) return false;
    const before = this.committedFrames;
    this.frameBytes = 0;
    const size = this.frameSize;
    for (;;) {
      if (this.read(this.frame, size, WAL_HEADER_SIZE + this.verifiedFrames * size) < size) break;
      if (!frameFollows(header, this.sum, this.frame, 0)) break;
      this.advance(frameCommitSize(this.frame, 0) !== 0);
    }
    return this.committedFrames !== before;
  }

  /**
   * Takes back commits behind the last one at or before `position`, which the next writer overwrites because their
   * writer died before publishing them. Returns the frames that stay committed.
   */
  framesBefore(position: number): number {
    const size = this.frameSize;
    let frames = Math.floor((position - WAL_HEADER_SIZE) / size);
    for (; frames > 0; frames--) {
      this.read(this.frame, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE + (frames - 1) * size);
      if (frameCommitSize(this.frame, 0) !== 0) break;
    }
    return frames;
  }

  takeBack(frames: number): void {
    const header = this.header;
    if (header === undefined) return;
    if (frames === 0) {
      this.committedSum.s0 = header.s0;
      this.committedSum.s1 = header.s1;
    } else {
      this.read(this.frame, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE + (frames - 1) * this.frameSize);
      this.committedSum.s0 = this.frame.readUInt32BE(16);
      this.committedSum.s1 = this.frame.readUInt32BE(20);
    }
    this.committedFrames = frames;
    this.rewind();
  }

  private readonly read: WalRead = (target, length, position) => {
    const read = this.readFile(target, length, position);
    return this.overlay === undefined ? read : overlaid(this.overlay, target, length, position, read);
  };

  private begin(): void {
    this.clear();
    if (this.read(this.headerBytes, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return;
    const header = parseWalHeader(this.headerBytes);
    if (header !== undefined) this.take(header);
  }

  private take(header: WalHeader): void {
    this.header = header;
    this.sum.s0 = this.committedSum.s0 = header.s0;
    this.sum.s1 = this.committedSum.s1 = header.s1;
    if (this.frame.length !== this.frameSize) this.frame = Buffer.alloc(this.frameSize);
  }

  private rewind(): void {
    this.frameBytes = 0;
    this.verifiedFrames = this.committedFrames;
    this.sum.s0 = this.committedSum.s0;
    this.sum.s1 = this.committedSum.s1;
  }

  private advance(commit: boolean): void {
    this.verifiedFrames++;
    if (!commit) return;
    this.committedFrames = this.verifiedFrames;
    this.committedSum.s0 = this.sum.s0;
    this.committedSum.s1 = this.sum.s1;
  }

  private append(data: Buffer, start: number, length: number): boolean {
    const header = this.header!;
    const size = this.frameSize;
    const before = this.committedFrames;
    let at = start;
    const end = start + length;
    while (at < end) {
      const part = Math.min(size - this.frameBytes, end - at);
      data.copy(this.frame, this.frameBytes, at, at + part);
      at += part;
      this.frameBytes += part;
      if (this.frameBytes < size) break;
      this.frameBytes = 0;
      if (!frameFollows(header, this.sum, this.frame, 0)) break;
      this.advance(frameCommitSize(this.frame, 0) !== 0);
    }
    return this.committedFrames !== before;
  }

  /** Whether one of the frames that the range touches is a commit frame, so that a chain may be complete now. */
  private touchesCommit(position: number, length: number): boolean {
    const size = this.frameSize;
    const last = Math.floor((position + length - 1 - WAL_HEADER_SIZE) / size);
    for (let index = Math.floor((position - WAL_HEADER_SIZE) / size); index <= last; index++) {
      if (this.read(this.headerBytes, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE + index * size) < WAL_FRAME_HEADER_SIZE) {
        return false;
      }
      if (frameCommitSize(this.headerBytes, 0) !== 0) return true;
    }
    return false;
  }
}

/** Lays a write over what was read of the file, `read` bytes of it. Returns the bytes that are there then. */
function overlaid(overlay: Overlay, target: Buffer, length: number, position: number, read: number): number {
  const from = Math.max(position, overlay.position);
  const to = Math.min(position + length, overlay.position + overlay.length);
  if (from >= to) return read;
  // What lies between the file's end and the write is zeros.
  if (from > position + read) target.fill(0, read, from - position);
  overlay.data.copy(
    target,
    from - position,
    overlay.start + from - overlay.position,
    overlay.start + to - overlay.position,
  );
  return Math.max(read, to - position);
}
