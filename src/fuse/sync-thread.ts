import { writeSync as writeDevice } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { fdatasyncSync, fsyncSync } from '../disk/index.js';
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
    const flags = words[slot + ring.SLOT_FLAGS]!;
    if ((flags & ring.END) !== 0) return;
    if ((flags & ring.SLOW) !== 0) Atomics.wait(pause, 0, 0, slowMs);
    const lead = words[slot + ring.SLOT_LEAD]!;
    const errno = sync(words[slot + ring.SLOT_FD]!, (flags & ring.DATA_ONLY) !== 0);
    if (errno !== 0) Atomics.compareExchange(words, lead + ring.SLOT_ERRNO, 0, errno);
    if (slot !== lead) Atomics.store(words, slot + ring.SLOT_STATE, 0);
    if (Atomics.sub(words, lead + ring.SLOT_LEFT, 1) > 1) continue;
    const [low, high] = [words[lead + ring.SLOT_UNIQUE_LOW]!, words[lead + ring.SLOT_UNIQUE_HIGH]!];
    writeHeader(reply, 0, Atomics.load(words, lead + ring.SLOT_ERRNO), low >>> 0, high >>> 0);
    const device = words[ring.DEVICE]!;
    // Free before the answer: the caller's next request may be the close of this very file.
    Atomics.store(words, lead + ring.SLOT_STATE, 0);
    answer(device, reply);
  }
}

/** The errno, or 0. */
function sync(fd: number, dataOnly: boolean): number {
  try {
    if (dataOnly) fdatasyncSync(fd);
    else fsyncSync(fd);
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

function answer(device: number, reply: Buffer): void {
  try {
    writeDevice(device, reply);
  } catch {
    // ENOENT: the caller was killed. ENODEV: unmounted. Nobody waits.
  }
}

runFirst();
run(workerData as SyncThreadData);
