import { fdatasyncSync, fsyncSync, writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { errnoOf } from './errno.js';
import { runFirst } from './priority.js';
import { OUT_HEADER } from './protocol.js';
import { writeHeader } from './reply.js';
import * as ring from './sync-ring.js';

/** What syncer.ts hands to each thread. */
export interface SyncThreadData {
  readonly ring: SharedArrayBuffer;
  /** How long a job with SLOW takes at least. */
  readonly slowMs: number;
}

/** Takes jobs until the ring ends: syncs their descriptors and answers the kernel. */
function run({ ring: shared, slowMs }: SyncThreadData): void {
  const words = new Int32Array(shared);
  const reply = Buffer.alloc(OUT_HEADER);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const taken = Atomics.load(words, ring.TAKEN);
    const submitted = Atomics.load(words, ring.SUBMITTED);
    if (taken === submitted) {
      Atomics.wait(words, ring.SUBMITTED, submitted);
      continue;
    }
    if (Atomics.compareExchange(words, ring.TAKEN, taken, (taken + 1) | 0) !== taken) continue;
    const slot = ring.slotAt(taken);
    if ((words[slot + ring.SLOT_FLAGS]! & ring.END) !== 0) return;
    if ((words[slot + ring.SLOT_FLAGS]! & ring.SLOW) !== 0) Atomics.wait(pause, 0, 0, slowMs);
    const errno = syncAll(words, slot);
    writeHeader(reply, 0, errno, words[slot + ring.SLOT_UNIQUE_LOW]! >>> 0, words[slot + ring.SLOT_UNIQUE_HIGH]! >>> 0);
    const device = words[ring.DEVICE]!;
    // Free before the answer: the caller's next request may be the close of this very file.
    Atomics.store(words, slot + ring.SLOT_STATE, 0);
    answer(device, reply);
  }
}

/** The first errno, or 0. All are tried. */
function syncAll(words: Int32Array, slot: number): number {
  const flags = words[slot + ring.SLOT_FLAGS]!;
  const count = words[slot + ring.SLOT_COUNT]!;
  let errno = 0;
  for (let i = 0; i < count; i++) {
    const fd = words[slot + ring.SLOT_FIRST + i]!;
    try {
      if ((flags & ring.DATA_ONLY) !== 0) fdatasyncSync(fd);
      else fsyncSync(fd);
    } catch (error) {
      errno ||= errnoOf(error);
    }
  }
  return errno;
}

function answer(device: number, reply: Buffer): void {
  try {
    writeSync(device, reply);
  } catch {
    // ENOENT: the caller was killed. ENODEV: unmounted. Nobody waits.
  }
}

runFirst();
run(workerData as SyncThreadData);
