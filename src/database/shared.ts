/**
 * Memory that the fuse worker and the main thread share, so that a commit costs no message.
 *
 * One writer per field. The worker publishes how far each database's WAL is committed; the main thread publishes what
 * it has logged, and positions for the `<db>-pos` files. A slot belongs to one database name until that is dropped and
 * main has said that it is done with it: then the worker may give it to another.
 */

/** Databases that one node can hold at a time; a power of two. */
export const MAX_SLOTS = 8192;
/** In the place of a slot: there is none left. */
export const NO_SLOT = -1;

const GLOBALS = 16;
/** Int32 words per slot. */
const SLOT_WORDS = 13;
/** 64-bit words per slot. */
const SLOT_LONGS = 6;
/** With its place in the ring. */
const SLOT_BYTES = SLOT_WORDS * 4 + SLOT_LONGS * 8 + 4;

/** Global Int32 fields. */
enum Global {
  /** Counts up when the main thread should look at the attention ring. */
  Bell = 0,
  /** Ring positions: next to write (worker), next to read (main). Count up, wrap by masking. */
  RingHead = 1,
  RingTail = 2,
  ApplierPid = 3,
  /** Milliseconds; -1 when unknown. */
  LagMs = 4,
  /** The applier's thread for checkpoints: FUSE requests carry a thread's id. */
  ApplierThread = 5,
}

enum Slot {
  /** Counts up with each new WAL header that the worker saw. */
  WalGeneration = 0,
  /** Frames of that WAL up to and including its last commit. */
  WalFrames = 1,
  /** What main has logged of it. */
  LoggedGeneration = 2,
  LoggedFrames = 3,
  /** Sequence of the last `changed` or `undo` message that main has finished. */
  Settled = 4,
  /** 1 while the slot stands in the attention ring. */
  InRing = 5,
  /** Descriptor of the log's current segment, -1 if none. */
  LogFd = 6,
  /** 1 if the worker holds back a request until main has logged more. */
  Waiting = 7,
  /** 1 if the log has something that was not synced. */
  LogDirty = 8,
  /** 1 while main reads the whole database file and nobody may write it. */
  Held = 9,
  /** Counts writes to the database file, after each. */
  FileWrites = 10,
  /** Of the WAL of that generation. */
  WalSalt1 = 11,
  WalSalt2 = 12,
}

/** 64-bit fields of a slot. */
enum Long {
  Txid = 0,
  Checksum = 1,
  PageCount = 2,
  /** What of which WAL the position has. */
  WalSalts = 3,
  WalFrames = 4,
  /** Odd while the others are being written. */
  Version = 5,
}

/** Frames of the WAL with these salts that a position has; of any other it has all or nothing. */
export interface WalPart {
  readonly walFrames: number;
  readonly walSalt1: number;
  readonly walSalt2: number;
}

/** What tells one WAL from the next, of its header. */
export interface WalSalts {
  readonly salt1: number;
  readonly salt2: number;
}

/** Where a database stands. */
export interface SharedPosition extends WalPart {
  readonly txid: number;
  readonly checksum: bigint;
  readonly pageCount: number;
}

const NO_SALTS: WalSalts = { salt1: 0, salt2: 0 };
const NO_WAL: WalPart = { walFrames: 0, walSalt1: 0, walSalt2: 0 };

export class SharedState {
  readonly buffer: SharedArrayBuffer;
  /** How many there are. */
  readonly slots: number;
  private readonly words: Int32Array;
  private readonly longs: BigUint64Array;
  private readonly ring: Int32Array;

  /** On the other thread's buffer, or a new one for `slots` databases. */
  constructor(source: SharedArrayBuffer | { readonly slots: number } = { slots: MAX_SLOTS }) {
    const isNew = !(source instanceof SharedArrayBuffer);
    this.slots = isNew ? source.slots : (source.byteLength - GLOBALS * 4) / SLOT_BYTES;
    this.buffer = isNew ? new SharedArrayBuffer(GLOBALS * 4 + this.slots * SLOT_BYTES) : source;
    const wordCount = GLOBALS + this.slots * SLOT_WORDS;
    this.words = new Int32Array(this.buffer, 0, wordCount);
    this.longs = new BigUint64Array(this.buffer, wordCount * 4, this.slots * SLOT_LONGS);
    this.ring = new Int32Array(this.buffer, wordCount * 4 + this.longs.byteLength, this.slots);
    if (isNew) {
      Atomics.store(this.words, Global.LagMs, -1);
      for (let slot = 0; slot < this.slots; slot++) this.setLogFd(slot, -1);
    }
  }

  private at(slot: number, field: Slot): number {
    return GLOBALS + slot * SLOT_WORDS + field;
  }

  // --- worker to main -------------------------------------------------------------------------------------------

  /** Worker: the WAL of this generation is committed up to `frames`; main should look. */
  publishWal(slot: number, generation: number, frames: number, salts = NO_SALTS): void {
    if (this.walGeneration(slot) !== generation) this.beginWal(slot, generation, salts);
    Atomics.store(this.words, this.at(slot, Slot.WalFrames), frames);
    this.ringBell(slot);
  }

  /** Main, which was asked to, while the worker waits: the frames behind `frames` are not committed any more. */
  takeBackWal(slot: number, generation: number, frames: number): void {
    if (this.walGeneration(slot) !== generation || this.walFrames(slot) <= frames) return;
    Atomics.store(this.words, this.at(slot, Slot.WalFrames), frames);
  }

  /** Worker: a new WAL begins. Only after all of the old one is logged, so main cannot mix them up. */
  beginWal(slot: number, generation: number, { salt1, salt2 } = NO_SALTS): void {
    Atomics.store(this.words, this.at(slot, Slot.WalFrames), 0);
    Atomics.store(this.words, this.at(slot, Slot.WalSalt1), salt1);
    Atomics.store(this.words, this.at(slot, Slot.WalSalt2), salt2);
    Atomics.store(this.words, this.at(slot, Slot.WalGeneration), generation);
  }

  /**
   * Main: the WAL's generation and its committed frames, of one moment: `generation`, then `walFrames` may be of two.
   */
  wal(slot: number): { readonly generation: number; readonly frames: number } {
    for (;;) {
      const generation = this.walGeneration(slot);
      const frames = this.walFrames(slot);
      if (this.walGeneration(slot) === generation) return { generation, frames };
    }
  }

  /** Main: whether the WAL of this generation has these salts; the file's may be of one that the worker has not seen yet. */
  isWal(slot: number, generation: number, { salt1, salt2 }: WalSalts): boolean {
    const isSame =
      Atomics.load(this.words, this.at(slot, Slot.WalSalt1)) === (salt1 | 0) &&
      Atomics.load(this.words, this.at(slot, Slot.WalSalt2)) === (salt2 | 0);
    return isSame && this.walGeneration(slot) === generation;
  }

  walGeneration(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.WalGeneration));
  }

  walFrames(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.WalFrames));
  }

  /** Puts the slot in the ring, once, and wakes the main thread. */
  ringBell(slot: number): void {
    if (Atomics.exchange(this.words, this.at(slot, Slot.InRing), 1) === 0) {
      const head = Atomics.load(this.words, Global.RingHead);
      this.ring[head & (this.slots - 1)] = slot;
      Atomics.store(this.words, Global.RingHead, (head + 1) | 0);
    }
    Atomics.add(this.words, Global.Bell, 1);
    Atomics.notify(this.words, Global.Bell);
  }

  /** Main: the next slot that wants attention, or -1. */
  takeAttention(): number {
    const tail = Atomics.load(this.words, Global.RingTail);
    if (tail === Atomics.load(this.words, Global.RingHead)) return -1;
    const slot = this.ring[tail & (this.slots - 1)]!;
    Atomics.store(this.words, Global.RingTail, (tail + 1) | 0);
    Atomics.store(this.words, this.at(slot, Slot.InRing), 0);
    return slot;
  }

  bell(): number {
    return Atomics.load(this.words, Global.Bell);
  }

  /** Main: resolves when the bell has rung since `seen`. */
  async untilBell(seen: number): Promise<void> {
    const result = Atomics.waitAsync(this.words, Global.Bell, seen);
    if (result.async) await result.value;
  }

  /** Anyone: makes `untilBell` return. */
  wakeMain(): void {
    Atomics.add(this.words, Global.Bell, 1);
    Atomics.notify(this.words, Global.Bell);
  }

  /** Worker: the database file was written or resized. */
  countFileWrite(slot: number): void {
    Atomics.add(this.words, this.at(slot, Slot.FileWrites), 1);
  }

  fileWrites(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.FileWrites));
  }

  // --- main to worker -------------------------------------------------------------------------------------------

  publishLogged(slot: number, generation: number, frames: number): void {
    if (Atomics.load(this.words, this.at(slot, Slot.LoggedGeneration)) !== generation) {
      // Never the new generation beside the old one's frames.
      Atomics.store(this.words, this.at(slot, Slot.LoggedFrames), 0);
      Atomics.store(this.words, this.at(slot, Slot.LoggedGeneration), generation);
    }
    Atomics.store(this.words, this.at(slot, Slot.LoggedFrames), frames);
  }

  /** Worker: whether main has logged this generation up to `frames`. */
  isLogged(slot: number, generation: number, frames: number): boolean {
    if (frames === 0) return true;
    if (Atomics.load(this.words, this.at(slot, Slot.LoggedGeneration)) !== generation) return false;
    return Atomics.load(this.words, this.at(slot, Slot.LoggedFrames)) >= frames;
  }

  settle(slot: number, sequence: number): void {
    Atomics.store(this.words, this.at(slot, Slot.Settled), sequence);
  }

  settled(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.Settled));
  }

  /** Worker: says that it holds a request back for this slot; main then wakes it after the next step. */
  setWaiting(slot: number): void {
    Atomics.store(this.words, this.at(slot, Slot.Waiting), 1);
  }

  /** Main: whether the worker was waiting; clears it. */
  takeWaiting(slot: number): boolean {
    return Atomics.exchange(this.words, this.at(slot, Slot.Waiting), 0) === 1;
  }

  /** Main: nobody may write the database file, nor begin its WAL afresh, until this is taken back. */
  hold(slot: number, held: boolean): void {
    Atomics.store(this.words, this.at(slot, Slot.Held), held ? 1 : 0);
  }

  isHeld(slot: number): boolean {
    return Atomics.load(this.words, this.at(slot, Slot.Held)) === 1;
  }

  setLogFd(slot: number, fd: number): void {
    Atomics.store(this.words, this.at(slot, Slot.LogFd), fd);
  }

  /** Main: after something was appended to the log. */
  setLogDirty(slot: number): void {
    Atomics.store(this.words, this.at(slot, Slot.LogDirty), 1);
  }

  /** Whoever syncs the log next. */
  takeLogDirty(slot: number): boolean {
    return Atomics.exchange(this.words, this.at(slot, Slot.LogDirty), 0) === 1;
  }

  logFd(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.LogFd));
  }

  /** Main: before `publishLogged` and `settle` of the transaction that led there. */
  setPosition(slot: number, txid: number, checksum: bigint, pageCount: number, wal = NO_WAL): void {
    const at = slot * SLOT_LONGS;
    Atomics.add(this.longs, at + Long.Version, 1n);
    Atomics.store(this.longs, at + Long.PageCount, BigInt(pageCount));
    Atomics.store(this.longs, at + Long.Checksum, checksum);
    Atomics.store(this.longs, at + Long.Txid, BigInt(txid));
    Atomics.store(this.longs, at + Long.WalSalts, saltsOf(wal));
    Atomics.store(this.longs, at + Long.WalFrames, BigInt(wal.walFrames));
    Atomics.add(this.longs, at + Long.Version, 1n);
  }

  /** Main: it is done with a database that is gone. */
  forget(slot: number): void {
    this.setPosition(slot, 0, 0n, 0);
    this.setLogFd(slot, -1);
    Atomics.store(this.words, this.at(slot, Slot.LogDirty), 0);
  }

  position(slot: number): SharedPosition {
    const at = slot * SLOT_LONGS;
    // Never the TXID of one position with the checksum of another: main may be writing at this moment.
    for (;;) {
      const version = Atomics.load(this.longs, at + Long.Version);
      const salts = Atomics.load(this.longs, at + Long.WalSalts);
      const position = {
        txid: Number(Atomics.load(this.longs, at + Long.Txid)),
        checksum: Atomics.load(this.longs, at + Long.Checksum),
        pageCount: Number(Atomics.load(this.longs, at + Long.PageCount)),
        walFrames: Number(Atomics.load(this.longs, at + Long.WalFrames)),
        walSalt1: Number(salts >> 32n),
        walSalt2: Number(salts & 0xffff_ffffn),
      };
      if ((version & 1n) === 0n && Atomics.load(this.longs, at + Long.Version) === version) return position;
    }
  }

  setApplierPid(pid: number): void {
    Atomics.store(this.words, Global.ApplierPid, pid);
  }

  setApplierThread(tid: number): void {
    Atomics.store(this.words, Global.ApplierThread, tid);
  }

  /** Whether a request with this id, as the kernel gives it, is the applier's. */
  isApplier(pid: number): boolean {
    if (pid === 0) return false;
    return (
      pid === Atomics.load(this.words, Global.ApplierPid) || pid === Atomics.load(this.words, Global.ApplierThread)
    );
  }

  setLagMs(lagMs: number): void {
    Atomics.store(this.words, Global.LagMs, lagMs);
  }

  lagMs(): number {
    return Atomics.load(this.words, Global.LagMs);
  }
}

function saltsOf({ walSalt1, walSalt2 }: WalPart): bigint {
  return (BigInt(walSalt1 >>> 0) << 32n) | BigInt(walSalt2 >>> 0);
}
