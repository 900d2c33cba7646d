/**
 * The wal-index, the content of a -shm file: https://www.sqlite.org/walformat.html#the_wal_index_file_format
 *
 * ```
 *   0 header, copy 1 (48 bytes)            block 0 (32 KiB): 136 bytes of the above, 4062 page numbers, 8192 hash slots
 *  48 header, copy 2                       block n (32 KiB):                         4096 page numbers, 8192 hash slots
 *  96 frames backfilled, read marks, lock bytes (40 bytes)
 * ```
 *
 * A hash slot is a u16: 0, or a frame's place in the block, counted from 1. All numbers are in the machine's byte
 * order, which for every machine that Sluice runs on is little-endian; the salts are the bytes of the WAL's header.
 */

import { SluiceError } from '../errors.js';

export const WAL_INDEX_VERSION = 3007000;
/** One copy of the header. */
export const WAL_INDEX_HEADER_SIZE = 48;
/** Both copies, and what the checkpointer and the readers keep behind them. */
export const WAL_INDEX_PREFIX_SIZE = 136;
export const WAL_INDEX_BLOCK_SIZE = 32768;

const BACKFILL_OFFSET = 96;
const ATTEMPTED_OFFSET = 128;
const HASH_OFFSET = 16384;
const HASH_SLOTS = 8192;
const HASH_FACTOR = 383;
const BLOCK_FRAMES = 4096;
const FIRST_BLOCK_FRAMES = BLOCK_FRAMES - WAL_INDEX_PREFIX_SIZE / 4;

/** Hash slots closer together than this are written at once: 1 KiB copied costs less than one request more. */
const MERGE_GAP_BYTES = 4096;

/**
 * ```
 *  0 version   4 unused   8 u32 change counter   12 u8 initialised   13 u8 big-endian checksums   14 u16 page size
 * 16 u32 frames   20 u32 database pages   24 u32x2 checksum of the last frame   32 salts   40 u32x2 checksum of this
 * ```
 */
export interface WalIndexHeader {
  /** Counts up with each transaction. */
  readonly change: number;
  readonly initialised: boolean;
  /** Whether the WAL's checksums read their input as big-endian words. */
  readonly bigEndian: boolean;
  /** Bytes; 0 before the first frame. */
  readonly pageSize: number;
  /** The last frame that is committed; 0 if the WAL is empty. */
  readonly frames: number;
  /** Database size in pages after that frame. */
  readonly pageCount: number;
  /** Checksum of the last frame, from which the next one's goes on. */
  readonly s0: number;
  readonly s1: number;
  /** As in the WAL's header. */
  readonly salt1: number;
  readonly salt2: number;
}

/** The header in the first 96 bytes of the -shm, or undefined if its copies differ, or it is not one. */
export function parseWalIndexHeader(bytes: Buffer): WalIndexHeader | undefined {
  for (let i = 0; i < WAL_INDEX_HEADER_SIZE; i++) {
    if (bytes[i] !== bytes[WAL_INDEX_HEADER_SIZE + i]) return undefined;
  }
  const [c0, c1] = headerChecksum(bytes);
  if (bytes.readUInt32LE(0) !== WAL_INDEX_VERSION || bytes.readUInt32LE(40) !== c0 || bytes.readUInt32LE(44) !== c1) {
    return undefined;
  }
  const stored = bytes.readUInt16LE(14);
  return {
    change: bytes.readUInt32LE(8),
    initialised: bytes[12] === 1,
    bigEndian: bytes[13] === 1,
    pageSize: (stored & 0xfe00) | ((stored & 1) << 16),
    frames: bytes.readUInt32LE(16),
    pageCount: bytes.readUInt32LE(20),
    s0: bytes.readUInt32LE(24),
    s1: bytes.readUInt32LE(28),
    salt1: bytes.readUInt32BE(32),
    salt2: bytes.readUInt32BE(36),
  };
}

/** Writes one copy of the header, with its checksum, to the first 48 bytes. */
export function encodeWalIndexHeader(header: WalIndexHeader, bytes: Buffer, version = WAL_INDEX_VERSION): void {
  bytes.writeUInt32LE(version, 0);
  bytes.writeUInt32LE(0, 4);
  bytes.writeUInt32LE(header.change >>> 0, 8);
  bytes[12] = header.initialised ? 1 : 0;
  bytes[13] = header.bigEndian ? 1 : 0;
  bytes.writeUInt16LE((header.pageSize & 0xff00) | (header.pageSize >>> 16), 14);
  bytes.writeUInt32LE(header.frames, 16);
  bytes.writeUInt32LE(header.pageCount, 20);
  bytes.writeUInt32LE(header.s0, 24);
  bytes.writeUInt32LE(header.s1, 28);
  bytes.writeUInt32BE(header.salt1, 32);
  bytes.writeUInt32BE(header.salt2, 36);
  const [c0, c1] = headerChecksum(bytes);
  bytes.writeUInt32LE(c0, 40);
  bytes.writeUInt32LE(c1, 44);
}

/** Frames that checkpoints have copied to the database file, from the first 136 bytes of the -shm. */
export function backfilledFrames(bytes: Buffer): number {
  return bytes.readUInt32LE(BACKFILL_OFFSET);
}

/**
 * Frames that a checkpoint under way, or the last one, may bring to the database file, from the first 136 bytes of the
 * -shm. `frames`: all that are committed; before SQLite 3.9 a checkpoint did not say how far it goes.
 */
export function backfillingFrames(bytes: Buffer, frames: number): number {
  const attempted = bytes.readUInt32LE(ATTEMPTED_OFFSET);
  return attempted > backfilledFrames(bytes) ? attempted : frames;
}

/** Always over the machine's own words, whatever the WAL's checksums do. */
function headerChecksum(bytes: Buffer): [number, number] {
  let s0 = 0;
  let s1 = 0;
  for (let i = 0; i < 40; i += 8) {
    s0 = (s0 + bytes.readUInt32LE(i) + s1) >>> 0;
    s1 = (s1 + bytes.readUInt32LE(i + 4) + s0) >>> 0;
  }
  return [s0, s1];
}

/** The block that a frame (from 1) stands in. */
export function walIndexBlockOf(frame: number): number {
  return frame <= FIRST_BLOCK_FRAMES ? 0 : 1 + Math.floor((frame - FIRST_BLOCK_FRAMES - 1) / BLOCK_FRAMES);
}

/** Frames in the blocks before it. */
function framesBefore(block: number): number {
  return block === 0 ? 0 : FIRST_BLOCK_FRAMES + (block - 1) * BLOCK_FRAMES;
}

/** Every process that has the database open can write its wal-index. */
function damaged(): SluiceError {
  return new SluiceError('WAL_INDEX', 'the wal-index is damaged', 'It is made anew once nobody has the database open');
}

/** Bytes `start`..`end` of a block that were changed; positions are within the block. */
export type WriteRange = (start: number, end: number) => void;

/** One block of the wal-index in memory, to add frames to. Used again for any block: `load` it first. */
export class WalIndexBlock {
  readonly bytes = Buffer.alloc(WAL_INDEX_BLOCK_SIZE);
  private readonly slots = new Uint16Array(this.bytes.buffer, this.bytes.byteOffset + HASH_OFFSET, HASH_SLOTS);
  private readonly added: number[] = [];
  private number = 0;
  private fresh = false;
  private firstPlace = 0;
  private lastPlace = 0;

  /** Position of the block in the -shm. */
  get offset(): number {
    return this.number * WAL_INDEX_BLOCK_SIZE;
  }

  /** Last frame that fits in the block. */
  get lastFrame(): number {
    return framesBefore(this.number + 1);
  }

  /** Begins with block `number` as it is; its bytes must stand in `bytes`. `nextFrame` is where frames will be added. */
  load(number: number, nextFrame: number): void {
    this.number = number;
    this.added.length = 0;
    this.firstPlace = nextFrame - framesBefore(number);
    this.lastPlace = this.firstPlace - 1;
    this.fresh = false;
    if (this.firstPlace === 1) this.clear();
    else if (this.bytes.readUInt32LE(this.pageOffset(this.firstPlace)) !== 0) this.removeRemnants();
  }

  /** Notes that the next frame holds page `pgno`. Throws `WAL_INDEX` if there are more slots in use than frames. */
  add(pgno: number): void {
    const place = ++this.lastPlace;
    this.bytes.writeUInt32LE(pgno, this.pageOffset(place));
    let slot = Math.imul(pgno, HASH_FACTOR) & (HASH_SLOTS - 1);
    for (let probes = place; this.slots[slot] !== 0; probes--) {
      if (probes === 0) throw damaged();
      slot = (slot + 1) & (HASH_SLOTS - 1);
    }
    this.slots[slot] = place;
    this.added.push(slot);
  }

  /** Passes on what has to be written, page numbers before hash slots, as SQLite orders them, in few ranges. */
  changes(write: WriteRange): void {
    if (this.fresh) {
      write(this.pageOffset(1), WAL_INDEX_BLOCK_SIZE);
      return;
    }
    if (this.lastPlace < this.firstPlace) return;
    write(this.pageOffset(this.firstPlace), this.pageOffset(this.lastPlace + 1));
    this.added.sort((a, b) => a - b);
    let first = this.added[0]!;
    let last = first;
    for (const slot of this.added) {
      if ((slot - last) * 2 > MERGE_GAP_BYTES) {
        write(HASH_OFFSET + first * 2, HASH_OFFSET + last * 2 + 2);
        first = slot;
      }
      last = slot;
    }
    write(HASH_OFFSET + first * 2, HASH_OFFSET + last * 2 + 2);
  }

  /** The newest frame up to `lastFrame` that holds the page, or 0. */
  find(pgno: number, lastFrame: number): number {
    const limit = Math.min(lastFrame, this.lastFrame) - framesBefore(this.number);
    let newest = 0;
    let slot = Math.imul(pgno, HASH_FACTOR) & (HASH_SLOTS - 1);
    for (let probes = 0; probes < HASH_SLOTS && this.slots[slot] !== 0; probes++) {
      const place = this.slots[slot]!;
      if (place <= limit && place > newest && this.bytes.readUInt32LE(this.pageOffset(place)) === pgno) newest = place;
      slot = (slot + 1) & (HASH_SLOTS - 1);
    }
    return newest === 0 ? 0 : framesBefore(this.number) + newest;
  }

  private pageOffset(place: number): number {
    return (this.number === 0 ? WAL_INDEX_PREFIX_SIZE : 0) + (place - 1) * 4;
  }

  private clear(): void {
    this.bytes.fill(0, this.pageOffset(1));
    this.fresh = true;
  }

  /**
   * A writer died between these writes and its header: its entries stand behind the last committed frame. SQLite
   * removes them before it adds its own, since a hash chain must not run through them twice.
   */
  private removeRemnants(): void {
    for (let slot = 0; slot < HASH_SLOTS; slot++) {
      if (this.slots[slot]! >= this.firstPlace) this.slots[slot] = 0;
    }
    this.bytes.fill(0, this.pageOffset(this.firstPlace), HASH_OFFSET);
    this.fresh = true;
  }
}
