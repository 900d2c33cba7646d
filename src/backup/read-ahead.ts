import type { Store, StoreFile } from './store.js';

/** Files up to this are read with one request; of larger ones so much with each. */
const RANGE_BYTES = 4 * 1024 * 1024;
/** Requests under way at a time, if nothing else is said: a bucket answers each in tens of milliseconds, a chain may have thousands. */
export const DEFAULT_PARALLEL = 8;
/** What may be held of ranges whose turn has not come. */
const AHEAD_BYTES = 32 * 1024 * 1024;

/** A file of a plan and its bytes. */
export interface OpenedFile {
  readonly file: StoreFile;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** How many requests reading these files takes. */
export function countRequests(files: readonly StoreFile[]): number {
  return files.reduce((sum, file) => sum + rangeCount(file), 0);
}

/** Reads files in order, in ranges of which several are fetched at a time. Holds at most 32 MiB, and what is being read. */
export async function* readInOrder(
  store: Store,
  files: readonly StoreFile[],
  parallel: number = DEFAULT_PARALLEL,
): AsyncGenerator<OpenedFile, void, undefined> {
  const ranges = new RangeQueue(store, files, parallel);
  try {
    for (const file of files) yield { file, pieces: readFile(file, ranges) };
  } finally {
    ranges.stop();
  }
}

async function* readFile(file: StoreFile, ranges: RangeQueue): AsyncGenerator<Uint8Array, void, undefined> {
  for (let i = rangeCount(file); i > 0; i--) yield* ranges.next().pieces();
}

function rangeCount(file: StoreFile): number {
  return Math.max(1, Math.ceil(file.sizeBytes / RANGE_BYTES));
}

/** The ranges of files, in order; the next ones are being fetched while one is read. */
class RangeQueue {
  private readonly fetching: RangeFetch[] = [];
  private fileIndex = 0;
  private offset = 0;
  private current: RangeFetch | undefined;

  constructor(
    private readonly store: Store,
    private readonly files: readonly StoreFile[],
    private readonly parallel: number,
  ) {}

  /** There must be one left. */
  next(): RangeFetch {
    if (this.fetching.length === 0) this.startOne();
    this.current = this.fetching.shift()!;
    let aheadBytes = this.fetching.reduce((sum, range) => sum + range.sizeBytes, 0);
    while (this.fetching.length + 1 < this.parallel && this.fileIndex < this.files.length) {
      if (aheadBytes + this.nextSize() > AHEAD_BYTES) break;
      aheadBytes += this.nextSize();
      this.startOne();
    }
    return this.current;
  }

  stop(): void {
    for (const range of [this.current, ...this.fetching]) range?.stop();
  }

  private nextSize(): number {
    return Math.min(RANGE_BYTES, this.files[this.fileIndex]!.sizeBytes - this.offset);
  }

  private startOne(): void {
    const file = this.files[this.fileIndex]!;
    const sizeBytes = this.nextSize();
    const isLast = this.offset + sizeBytes >= file.sizeBytes;
    this.fetching.push(new RangeFetch(this.store, file, this.offset, sizeBytes, isLast));
    this.offset = isLast ? 0 : this.offset + sizeBytes;
    if (isLast) this.fileIndex++;
  }
}

/** A range being fetched. */
class RangeFetch {
  private readonly held: Uint8Array[] = [];
  private done = false;
  private stopped = false;
  private failure: unknown;
  private wake = (): void => undefined;

  constructor(
    private readonly store: Store,
    private readonly file: StoreFile,
    private readonly offsetBytes: number,
    readonly sizeBytes: number,
    /** Then it is asked for up to the file's end: a file that is longer than listed is not what was stored. */
    private readonly isLast: boolean,
  ) {
    void this.fetch();
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const piece = this.held.shift();
      if (piece !== undefined) yield piece;
      else if (this.failure !== undefined) throw this.failure;
      else if (this.done) return;
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
    }
  }

  /** What is still under way is not waited for. */
  stop(): void {
    this.stopped = true;
  }

  private async fetch(): Promise<void> {
    const { offsetBytes, sizeBytes, isLast } = this;
    const range = { offsetBytes, ...(!isLast && { lengthBytes: sizeBytes }) };
    const whole = offsetBytes === 0 && isLast;
    let receivedBytes = 0;
    try {
      for await (const piece of this.store.get(this.file, whole ? undefined : range)) {
        receivedBytes += piece.length;
        this.held.push(piece);
        this.wake();
        if (this.stopped || receivedBytes > sizeBytes) break;
      }
    } catch (error) {
      this.failure = error;
    }
    this.done = true;
    this.wake();
  }
}
