import { Worker } from 'node:worker_threads';
import { SluiceError } from '../errors.js';
import type { ManifestFile } from './manifest.js';
import type { StoreSettings } from './open-store.js';
import type { StoreFile } from './store.js';

/** Without work for so long the thread ends, and its memory is free. */
const IDLE_MS = 10_000;

/** What it holds is in buffers, not in the heap. */
const LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 256 };

export interface CompactionRequest {
  readonly id: number;
  readonly database: string;
  readonly files: readonly StoreFile[];
  readonly level: number;
}

export interface CompactionAnswer {
  readonly id: number;
  readonly file?: ManifestFile;
  readonly failure?: { readonly code: string; readonly message: string; readonly hint: string };
}

interface Waiting {
  resolve(file: ManifestFile): void;
  reject(error: Error): void;
}

/** Merges files of a store on a thread of its own, which is there only while there is work. */
export class CompactionThread {
  private worker: Worker | undefined;
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;
  private idle: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(private readonly settings: StoreSettings) {}

  /** As `compact` of compaction.ts; `database` by its name in the store. */
  compact(database: string, files: readonly StoreFile[], level: number): Promise<ManifestFile> {
    if (this.closed) return Promise.reject(new SluiceError('STORE_FAILED', 'the node stops'));
    clearTimeout(this.idle);
    const worker = this.start();
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      worker.postMessage({ id, database, files, level } satisfies CompactionRequest);
    });
  }

  /** For good. */
  async close(): Promise<void> {
    this.closed = true;
    await this.end();
  }

  private async end(): Promise<void> {
    clearTimeout(this.idle);
    const { worker } = this;
    this.lost(new SluiceError('STORE_FAILED', 'the node stops'));
    await worker?.terminate();
  }

  private start(): Worker {
    if (this.worker !== undefined) return this.worker;
    const worker = new Worker(new URL('./compaction-worker.js', import.meta.url), {
      workerData: this.settings,
      resourceLimits: LIMITS,
    });
    worker.unref();
    worker.on('message', (answer: CompactionAnswer) => this.answered(answer));
    const gone = (cause: unknown): void => {
      if (this.worker === worker) this.lost(new SluiceError('STORE_FAILED', 'the compaction ended', '', { cause }));
    };
    worker.on('error', gone);
    worker.on('exit', gone);
    this.worker = worker;
    return worker;
  }

  private answered({ id, file, failure }: CompactionAnswer): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (file !== undefined) waiting?.resolve(file);
    else if (failure !== undefined) waiting?.reject(new SluiceError(failure.code, failure.message, failure.hint));
    if (this.waiting.size === 0) this.idle = setTimeout(() => void this.end(), IDLE_MS).unref();
  }

  private lost(error: SluiceError): void {
    this.worker = undefined;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
