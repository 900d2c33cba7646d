import { constants } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { closeSync, fdatasyncSync, fsyncSync, openSync } from '../disk/index.js';
import { errnoOf } from './errno.js';
import type { DiskPath } from './file-name.js';
import type { Sync } from './file-requests.js';
import type { RegularFile } from './nodes.js';
import * as ring from './sync-ring.js';
import type { SyncThreadData } from './sync-thread.js';

const SYNC_THREADS = 2;
/** Heap of a sync thread: it runs one small loop. */
const THREAD_HEAP_MB = 16;
const THREAD_YOUNG_MB = 1;

export interface SyncerOptions {
  readonly deviceFd: number;
  /** Sends an errno for a request, from this thread. */
  readonly answer: (uniqueLow: number, uniqueHigh: number, errno: number) => void;
  /** For tests: a sync of a file whose path ends so takes this much longer. */
  readonly slow?: { readonly suffix: string; readonly delayMs: number } | undefined;
}

/** Carries fsyncs to threads of their own, so that the disk's slowness stops nobody who did not ask for it. */
export class Syncer implements Sync {
  readonly #words = new Int32Array(new SharedArrayBuffer(ring.SYNC_WORDS * 4));
  readonly #o: SyncerOptions;
  readonly #threads: Worker[] = [];
  /** Descriptors of folders that are or were being synced. */
  #folders: number[] = [];

  constructor(options: SyncerOptions) {
    this.#o = options;
    this.#words[ring.DEVICE] = options.deviceFd;
    const data: SyncThreadData = { ring: this.#words.buffer as SharedArrayBuffer, slowMs: options.slow?.delayMs ?? 0 };
    for (let i = 0; i < SYNC_THREADS; i++) {
      const thread = new Worker(new URL('./sync-thread.js', import.meta.url), {
        workerData: data,
        resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB, maxYoungGenerationSizeMb: THREAD_YOUNG_MB },
      });
      thread.unref();
      this.#threads.push(thread);
    }
  }

  file(uniqueLow: number, uniqueHigh: number, file: RegularFile, also: readonly number[], dataOnly: boolean): void {
    const fd = file.fd();
    const slow = this.#o.slow !== undefined && file.path.endsWith(this.#o.slow.suffix);
    const flags = (dataOnly ? ring.DATA_ONLY : 0) | (slow ? ring.SLOW : 0);
    if (!this.#submit(uniqueLow, uniqueHigh, fd, also, flags)) this.#here(uniqueLow, uniqueHigh, fd, also, flags);
  }

  folder(uniqueLow: number, uniqueHigh: number, path: DiskPath, also: readonly number[]): void {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      this.#o.answer(uniqueLow, uniqueHigh, errnoOf(error));
      return;
    }
    if (!this.#submit(uniqueLow, uniqueHigh, fd, also, 0)) this.#here(uniqueLow, uniqueHigh, fd, also, 0);
    this.#folders.push(fd);
    this.#closeFolders();
  }

  /** Whether a sync of this descriptor is waiting or under way. */
  inUse(fd: number): boolean {
    const words = this.#words;
    for (let number = 0; number < ring.SYNC_SLOTS; number++) {
      const slot = ring.slotAt(number);
      if (Atomics.load(words, slot + ring.SLOT_STATE) !== 0 && words[slot + ring.SLOT_FD] === fd) return true;
    }
    return false;
  }

  /** The threads finish what waits and end. */
  close(): void {
    for (const thread of this.#threads) {
      if (!this.#submit(0, 0, -1, NONE, ring.END)) void thread.terminate();
    }
  }

  /** Those whose sync is done; at most as many as there are slots stay open. */
  #closeFolders(): void {
    this.#folders = this.#folders.filter((fd) => {
      if (this.inUse(fd)) return true;
      closeSync(fd);
      return false;
    });
  }

  /** False if there is no room. */
  #submit(uniqueLow: number, uniqueHigh: number, fd: number, also: readonly number[], flags: number): boolean {
    const words = this.#words;
    const first = Atomics.load(words, ring.SUBMITTED);
    const count = 1 + also.length;
    for (let i = 0; i < count; i++) {
      if (i === ring.SYNC_SLOTS || Atomics.load(words, ring.slotAt(first + i) + ring.SLOT_STATE) !== 0) return false;
    }
    const lead = ring.slotAt(first);
    words[lead + ring.SLOT_UNIQUE_LOW] = uniqueLow;
    words[lead + ring.SLOT_UNIQUE_HIGH] = uniqueHigh;
    words[lead + ring.SLOT_LEFT] = count;
    words[lead + ring.SLOT_ERRNO] = 0;
    for (let i = 0; i < count; i++) {
      const slot = ring.slotAt(first + i);
      words[slot + ring.SLOT_FLAGS] = flags;
      words[slot + ring.SLOT_FD] = i === 0 ? fd : also[i - 1]!;
      words[slot + ring.SLOT_LEAD] = lead;
      Atomics.store(words, slot + ring.SLOT_STATE, 1);
    }
    Atomics.store(words, ring.SUBMITTED, (first + count) | 0);
    Atomics.notify(words, ring.SUBMITTED, count);
    return true;
  }

  /** All slots are taken: do it on this thread, which slows everybody down until the disk has caught up. */
  #here(uniqueLow: number, uniqueHigh: number, fd: number, also: readonly number[], flags: number): void {
    let errno = 0;
    for (const each of [fd, ...also]) {
      try {
        if ((flags & ring.DATA_ONLY) !== 0) fdatasyncSync(each);
        else fsyncSync(each);
      } catch (error) {
        errno ||= errnoOf(error);
      }
    }
    this.#o.answer(uniqueLow, uniqueHigh, errno);
  }
}

const NONE: readonly number[] = [];
