import type { ChecksumHalves } from '../ltx/index.js';

/** Bytes of pages in a batch; a page is 64 KiB at most. */
export const BATCH_BYTES = 1024 * 1024;
/** Batches that go back and forth between a thread that fills them and one that empties them. */
export const BATCH_COUNT = 4;
/** Page number, and the two halves of its `pageCrc`. */
const ENTRY_WORDS = 3;
const MIN_PAGE_SIZE = 512;
const FREE = 0;
const TAKEN = 1;

/** Memory that two threads share. */
export interface SharedBatches {
  readonly pages: readonly SharedArrayBuffer[];
  readonly entries: readonly SharedArrayBuffer[];
  /** For each batch: FREE or TAKEN. */
  readonly states: SharedArrayBuffer;
}

export function allocateBatches(): SharedBatches {
  const each = (bytes: number): SharedArrayBuffer[] =>
    Array.from({ length: BATCH_COUNT }, () => new SharedArrayBuffer(bytes));
  return {
    pages: each(BATCH_BYTES),
    entries: each((BATCH_BYTES / MIN_PAGE_SIZE) * ENTRY_WORDS * Uint32Array.BYTES_PER_ELEMENT),
    states: new SharedArrayBuffer(BATCH_COUNT * Int32Array.BYTES_PER_ELEMENT),
  };
}

/** Fills batches one after the other; waits, and holds its thread, where the next one is not free yet. */
export class BatchWriter {
  private readonly pages: Uint8Array[];
  private readonly entries: Uint32Array[];
  private readonly states: Int32Array;
  private current = 0;
  private count = 0;

  constructor(
    shared: SharedBatches,
    private readonly full: (batch: number, count: number) => void,
  ) {
    this.pages = shared.pages.map((buffer) => new Uint8Array(buffer));
    this.entries = shared.entries.map((buffer) => new Uint32Array(buffer));
    this.states = new Int32Array(shared.states);
  }

  add(pgno: number, page: Uint8Array, crc: ChecksumHalves): void {
    if (this.count === 0) this.take();
    const { count } = this;
    this.pages[this.current]!.set(page, count * page.length);
    const entries = this.entries[this.current]!;
    entries[count * ENTRY_WORDS] = pgno;
    entries[count * ENTRY_WORDS + 1] = crc.high;
    entries[count * ENTRY_WORDS + 2] = crc.low;
    this.count++;
    if ((this.count + 1) * page.length > BATCH_BYTES) this.flush();
  }

  /** Hands over what was gathered. */
  flush(): void {
    if (this.count === 0) return;
    this.full(this.current, this.count);
    this.current = (this.current + 1) % BATCH_COUNT;
    this.count = 0;
  }

  private take(): void {
    Atomics.wait(this.states, this.current, TAKEN);
    Atomics.store(this.states, this.current, TAKEN);
  }
}

/** Empties batches. */
export class BatchReader {
  private readonly pages: Uint8Array[];
  private readonly entries: Uint32Array[];
  private readonly states: Int32Array;
  private readonly crc: ChecksumHalves = { high: 0, low: 0 };

  constructor(shared: SharedBatches) {
    this.pages = shared.pages.map((buffer) => new Uint8Array(buffer));
    this.entries = shared.entries.map((buffer) => new Uint32Array(buffer));
    this.states = new Int32Array(shared.states);
  }

  /** Visits the pages of a batch, then gives it back. What `visit` gets is valid during the call. */
  read(
    batch: number,
    count: number,
    pageSize: number,
    visit: (pgno: number, page: Uint8Array, crc: ChecksumHalves) => void,
  ): void {
    const entries = this.entries[batch]!;
    const pages = this.pages[batch]!;
    for (let i = 0; i < count; i++) {
      this.crc.high = entries[i * ENTRY_WORDS + 1]!;
      this.crc.low = entries[i * ENTRY_WORDS + 2]!;
      visit(entries[i * ENTRY_WORDS]!, pages.subarray(i * pageSize, (i + 1) * pageSize), this.crc);
    }
    Atomics.store(this.states, batch, FREE);
    Atomics.notify(this.states, batch);
  }
}
