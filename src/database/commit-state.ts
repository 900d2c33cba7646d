/** Int32 words before the slots'. */
const GLOBALS = 2;
/** Int32 words of a slot; with the globals an even number, since 64-bit words follow. */
const SLOT_WORDS = 6;

/** Commits whose answer is withheld now, of all slots. */
const AWAITING_COUNT = 0;

enum Slot {
  /** The worker's number of the commit whose answer it withholds; 0 if there is none. */
  Awaiting = 0,
  /** Main's: the commit with this number fails. */
  Refused = 1,
  /** Main's: the commit with this number is answered although it is nowhere else. */
  LetGo = 2,
  /** Main's: 1 while no commit waits. */
  Open = 3,
  /** Main's: 1 while the position is not that of what is committed: a capture failed. */
  Lost = 4,
}

/**
 * Memory that the fuse worker and the main thread share beside SharedState, where commits wait until they are on other
 * machines. One writer per field. A database has one commit at a time that waits: its writer has SQLite's write lock.
 */
export class CommitState {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  /** By slot: everything up to this TXID is where it has to be. */
  private readonly stored: BigUint64Array;

  /** On the other thread's buffer, or a new one for `slots` databases. */
  constructor(source: SharedArrayBuffer | { readonly slots: number }) {
    const isNew = !(source instanceof SharedArrayBuffer);
    const slots = isNew ? source.slots : (source.byteLength - GLOBALS * 4) / (SLOT_WORDS * 4 + 8);
    const wordCount = GLOBALS + slots * SLOT_WORDS;
    this.buffer = isNew ? new SharedArrayBuffer(wordCount * 4 + slots * 8) : source;
    this.words = new Int32Array(this.buffer, 0, wordCount);
    this.stored = new BigUint64Array(this.buffer, wordCount * 4, slots);
  }

  // --- the worker's ---------------------------------------------------------------------------------------------

  /** The answer of commit `number` is withheld; 0: it was given. */
  setAwaiting(slot: number, number: number): void {
    const before = Atomics.exchange(this.words, this.at(slot, Slot.Awaiting), number);
    const change = Math.sign(number) - Math.sign(before);
    if (change !== 0) Atomics.add(this.words, AWAITING_COUNT, change);
  }

  awaiting(slot: number): number {
    return Atomics.load(this.words, this.at(slot, Slot.Awaiting));
  }

  /** Whether any commit waits. */
  get isAwaited(): boolean {
    return Atomics.load(this.words, AWAITING_COUNT) > 0;
  }

  // --- main's ---------------------------------------------------------------------------------------------------

  setStored(slot: number, txid: number): void {
    Atomics.store(this.stored, slot, BigInt(txid));
  }

  isStored(slot: number, txid: number): boolean {
    return Atomics.load(this.stored, slot) >= BigInt(txid);
  }

  refuse(slot: number, number: number): void {
    Atomics.store(this.words, this.at(slot, Slot.Refused), number);
  }

  isRefused(slot: number, number: number): boolean {
    return Atomics.load(this.words, this.at(slot, Slot.Refused)) === number;
  }

  letGo(slot: number, number: number): void {
    Atomics.store(this.words, this.at(slot, Slot.LetGo), number);
  }

  isLetGo(slot: number, number: number): boolean {
    return Atomics.load(this.words, this.at(slot, Slot.LetGo)) === number;
  }

  setOpen(slot: number, open: boolean): void {
    Atomics.store(this.words, this.at(slot, Slot.Open), open ? 1 : 0);
  }

  isOpen(slot: number): boolean {
    return Atomics.load(this.words, this.at(slot, Slot.Open)) === 1;
  }

  setLost(slot: number, lost: boolean): void {
    Atomics.store(this.words, this.at(slot, Slot.Lost), lost ? 1 : 0);
  }

  isLost(slot: number): boolean {
    return Atomics.load(this.words, this.at(slot, Slot.Lost)) === 1;
  }

  /** The slot may be another database's now. */
  forget(slot: number): void {
    this.setStored(slot, 0);
    this.setOpen(slot, false);
    this.setLost(slot, false);
  }

  private at(slot: number, field: Slot): number {
    return GLOBALS + slot * SLOT_WORDS + field;
  }
}
