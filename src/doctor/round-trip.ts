import { Worker } from 'node:worker_threads';

const TRIES = 30;
const PAUSE_MS = 20;
const LIMIT_MS = 1_000;

/** Answers each request: sets word 1 to what it finds in word 0, and wakes who waits for it. */
const ECHO = `
  const { workerData } = require('node:worker_threads');
  const words = new Int32Array(workerData);
  for (let last = 0; last >= 0; ) {
    Atomics.wait(words, 0, last);
    last = Atomics.load(words, 0);
    Atomics.store(words, 1, last);
    Atomics.notify(words, 1);
  }
`;

/**
 * Medians, microseconds, of a request to another thread and its answer: after a pause in which the processors went
 * idle, and one right after the other. A part of what the file system's requests cost, for where no mount can be tried.
 */
export async function measureRoundTrips(): Promise<{ idleUs: number; busyUs: number }> {
  const shared = new SharedArrayBuffer(8);
  const words = new Int32Array(shared);
  const worker = new Worker(ECHO, { eval: true, workerData: shared });
  try {
    await new Promise((resolve, reject) => worker.once('online', resolve).once('error', reject));
    requestUs(words);
    const busy = Array.from({ length: TRIES }, () => requestUs(words));
    const idle: number[] = [];
    for (let i = 0; i < TRIES; i++) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      idle.push(requestUs(words));
    }
    return { idleUs: median(idle), busyUs: median(busy) };
  } finally {
    Atomics.store(words, 0, -1);
    Atomics.notify(words, 0);
    await worker.terminate();
  }
}

function requestUs(words: Int32Array): number {
  const start = process.hrtime.bigint();
  const number = Atomics.load(words, 1) + 1;
  Atomics.store(words, 0, number);
  Atomics.notify(words, 0);
  while (Atomics.load(words, 1) !== number) {
    if (Atomics.wait(words, 1, number - 1, LIMIT_MS) === 'timed-out') break;
  }
  return Number(process.hrtime.bigint() - start) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
