import { fstatSync } from 'node:fs';
import { closeSync, readSync } from '../disk/index.js';
import {
  frameCommitSize,
  frameIsOf,
  framePageNumber,
  parseWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalHeader,
} from '../sqlite/index.js';
import { openToRead } from './readable-file.js';

/** Frame headers between two turns of the event loop when many are read. */
const SCAN_SLICE = 2048;

/** A WAL's backing file, read by main up to what the worker says is committed. */
export class WalFile {
  readonly frameSize: number;
  private readonly head = Buffer.alloc(WAL_FRAME_HEADER_SIZE);

  private constructor(
    readonly fd: number,
    readonly header: WalHeader,
  ) {
    this.frameSize = WAL_FRAME_HEADER_SIZE + header.pageSize;
  }

  /** Undefined if there is no file, or no valid header in it. */
  static open(path: string): WalFile | undefined {
    const fd = openToRead(path);
    if (fd === undefined) return undefined;
    const bytes = Buffer.alloc(WAL_HEADER_SIZE);
    const header = readSync(fd, bytes, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE ? undefined : parseWalHeader(bytes);
    if (header === undefined) {
      closeSync(fd);
      return undefined;
    }
    return new WalFile(fd, header);
  }

  offsetOf(frame: number): number {
    return WAL_HEADER_SIZE + frame * this.frameSize;
  }

  /** Reads frames `first`..`first + count - 1`, headers and pages; returns how many came whole. */
  readFrames(target: Buffer, first: number, count: number): number {
    return Math.floor(readSync(this.fd, target, 0, count * this.frameSize, this.offsetOf(first)) / this.frameSize);
  }

  /** Reads the page of one frame. */
  readPage(target: Buffer, targetOffset: number, frame: number): void {
    const { pageSize } = this.header;
    const read = readSync(this.fd, target, targetOffset, pageSize, this.offsetOf(frame) + WAL_FRAME_HEADER_SIZE);
    if (read < pageSize) throw new Error(`the WAL ends within frame ${frame}`);
  }

  /** Page number and commit size of one frame. */
  frameHeader(frame: number): { readonly pageNumber: number; readonly commitSize: number } {
    if (readSync(this.fd, this.head, 0, WAL_FRAME_HEADER_SIZE, this.offsetOf(frame)) < WAL_FRAME_HEADER_SIZE) {
      throw new Error(`the WAL ends within frame ${frame}`);
    }
    if (!frameIsOf(this.header, this.head, 0)) throw new Error(`frame ${frame} is of another WAL`);
    return { pageNumber: framePageNumber(this.head, 0), commitSize: frameCommitSize(this.head, 0) };
  }

  /** The newest frame of each page among frames `first`..`end - 1`, in slices so that others get their turn. */
  async newestFrames(first: number, end: number): Promise<Map<number, number>> {
    const newest = new Map<number, number>();
    for (let frame = first; frame < end; frame++) {
      newest.set(this.frameHeader(frame).pageNumber, frame);
      if ((frame - first) % SCAN_SLICE === SCAN_SLICE - 1) await nextTurn();
    }
    return newest;
  }

  /** Whether the file still begins with the header that was read when it was opened. */
  get isCurrent(): boolean {
    const bytes = Buffer.alloc(WAL_HEADER_SIZE);
    const header =
      readSync(this.fd, bytes, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE ? undefined : parseWalHeader(bytes);
    return header?.salt1 === this.header.salt1 && header.salt2 === this.header.salt2;
  }

  get size(): number {
    return fstatSync(this.fd).size;
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Lets the event loop serve others before a long piece of work goes on. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
