import { Worker } from 'node:worker_threads';
import { SluiceError } from '../errors.js';
import type { ChecksumHalves, LtxEnd, LtxHeader } from '../ltx/index.js';
import { allocateBatches, BatchReader } from './page-batches.js';

/** What the thread may have been sent and not decoded yet. */
const SENT_BYTES_LIMIT = 4 * 1024 * 1024;

/** Each page leaves a buffer behind: they are collected soon, which takes no longer and 40 MB less. */
const LIMITS = { maxYoungGenerationSizeMb: 8 };

/** To the thread: a piece of the current file, or its end. */
export type DecodeRequest = Uint8Array | 'end';

/** From the thread, in the order of the files' contents. */
export type DecodeAnswer =
  | { readonly kind: 'header'; readonly header: LtxHeader }
  | { readonly kind: 'pages'; readonly batch: number; readonly count: number }
  | { readonly kind: 'end'; readonly end: LtxEnd }
  | { readonly kind: 'taken'; readonly bytes: number }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** What becomes of a file that a thread decodes. */
export interface DecodedFile {
  header(header: LtxHeader): void;
  /** `page` and `crc`, the page's `pageCrc`, are valid during the call. */
  page(pgno: number, page: Uint8Array, crc: ChecksumHalves): void;
}

/**
 * Inflates and checks LTX files on a thread of its own, while others are read and written on this one. Pieces of the next
 * files may be pushed while the pages of one are taken. Close it in any case.
 */
export class DecodeThread {
  private readonly shared = allocateBatches();
  private readonly reader = new BatchReader(this.shared);
  private readonly worker: Worker;
  private readonly answers: DecodeAnswer[] = [];
  private wakeTaker = (): void => undefined;
  private wakePusher = (): void => undefined;
  private sentBytes = 0;
  private pageSize = 0;
  private gone: SluiceError | undefined;

  constructor() {
    this.worker = new Worker(new URL('./decode-worker.js', import.meta.url), {
      workerData: this.shared,
      resourceLimits: LIMITS,
    });
    this.worker.on('message', (answer: DecodeAnswer) => this.answered(answer));
    const lost = (cause: unknown): void => this.lost(cause);
    this.worker.on('error', lost);
    this.worker.on('exit', lost);
  }

  /** A piece of the file being pushed, which is given away. Resolves when there is room for more, or nothing is decoded any more. */
  async push(piece: Uint8Array): Promise<void> {
    this.sentBytes += piece.length;
    // What shares its memory with others is copied; a message would take all of that memory along.
    const own = piece.length === piece.buffer.byteLength ? piece : Uint8Array.from(piece);
    this.worker.postMessage(own satisfies DecodeRequest, [own.buffer as ArrayBuffer]);
    while (this.sentBytes > SENT_BYTES_LIMIT && this.gone === undefined) {
      await new Promise<void>((resolve) => {
        this.wakePusher = resolve;
      });
    }
  }

  /** All of the file was pushed. */
  pushEnd(): void {
    this.worker.postMessage('end' satisfies DecodeRequest);
  }

  /** Takes all of the next file; returns what it says of the database after it. Throws what is wrong with it (`LTX_*`), or what `file` throws. */
  async take(file: DecodedFile): Promise<LtxEnd> {
    for (;;) {
      const answer = await this.nextAnswer();
      if (answer.kind === 'header') {
        this.pageSize = answer.header.pageSize;
        file.header(answer.header);
      } else if (answer.kind === 'pages') {
        this.reader.read(answer.batch, answer.count, this.pageSize, (pgno, page, crc) => file.page(pgno, page, crc));
      } else if (answer.kind === 'failed') {
        throw new SluiceError(answer.code, answer.message);
      } else if (answer.kind === 'end') {
        return answer.end;
      }
    }
  }

  async close(): Promise<void> {
    this.lost(undefined);
    await this.worker.terminate();
  }

  private async nextAnswer(): Promise<DecodeAnswer> {
    for (;;) {
      const answer = this.answers.shift();
      if (answer !== undefined) return answer;
      if (this.gone !== undefined) throw this.gone;
      await new Promise<void>((resolve) => {
        this.wakeTaker = resolve;
      });
    }
  }

  private answered(answer: DecodeAnswer): void {
    if (answer.kind === 'taken') {
      this.sentBytes -= answer.bytes;
      this.wakePusher();
      return;
    }
    this.answers.push(answer);
    this.wakeTaker();
  }

  private lost(cause: unknown): void {
    this.gone ??= new SluiceError('RESTORE_FAILED', 'the thread that inflates pages ended', '', { cause });
    this.wakePusher();
    this.wakeTaker();
  }
}
