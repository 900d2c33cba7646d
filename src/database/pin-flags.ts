/**
 * Memory shared by a pin's two sides. While main reads a consistent image, the worker saves each page that it is about
 * to overwrite, sets its bit, and only then lets the write through. Main reads a page first and its bit second: a bit
 * that is not set means that what was read is the old page.
 */
const HEADER_WORDS = 4;

enum Field {
  /** Pages below this number are done: no need to save them. */
  Cursor = 0,
  /** 1 once the WAL's frames were copied beside the saved pages, because the WAL starts afresh. */
  WalCopied = 1,
  /** 1 if saving failed: the image cannot be had any more. */
  Failed = 2,
}

export class PinFlags {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;

  constructor(source: SharedArrayBuffer | { pages: number }) {
    this.buffer =
      source instanceof SharedArrayBuffer
        ? source
        : new SharedArrayBuffer((HEADER_WORDS + Math.ceil((source.pages + 1) / 32)) * 4);
    this.words = new Int32Array(this.buffer);
  }

  isSaved(page: number): boolean {
    const word = HEADER_WORDS + (page >>> 5);
    return word < this.words.length && (Atomics.load(this.words, word) & (1 << (page & 31))) !== 0;
  }

  /** Whether the page is part of the image at all. */
  covers(page: number): boolean {
    return HEADER_WORDS + (page >>> 5) < this.words.length;
  }

  setSaved(page: number): void {
    Atomics.or(this.words, HEADER_WORDS + (page >>> 5), 1 << (page & 31));
  }

  get cursor(): number {
    return Atomics.load(this.words, Field.Cursor);
  }

  set cursor(page: number) {
    Atomics.store(this.words, Field.Cursor, page);
  }

  get walCopied(): boolean {
    return Atomics.load(this.words, Field.WalCopied) === 1;
  }

  setWalCopied(): void {
    Atomics.store(this.words, Field.WalCopied, 1);
  }

  get failed(): boolean {
    return Atomics.load(this.words, Field.Failed) === 1;
  }

  setFailed(): void {
    Atomics.store(this.words, Field.Failed, 1);
  }
}
