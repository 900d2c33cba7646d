import { OPCODE_NAMES } from './protocol.js';

/**
 * The few words that the threads of one mount share: an Int32 array on a SharedArrayBuffer. The main thread makes it
 * and hands it to the worker; nothing else is ever shared between them by this folder.
 */
export const SHARED_BYTES = 1024;

/** 1 while a wake-up is under way: set by the waker, cleared by the worker. */
export const WAKE_PENDING = 0;
/** Requests that the worker has read, wrapping. */
export const REQUESTS = 1;
/** 1 while awake cores are asked for. */
export const LATENCY_HELD = 2;
/** One of WAKEUPS_OFF, WAKEUPS_AUTO, WAKEUPS_ALWAYS; set to off where the machine does not allow it. */
export const WAKEUPS_MODE = 3;
/** SERVING_NOT_YET, SERVING, or SERVING_ENDED. */
export const SERVING_STATE = 4;
/** Times that the worker asked for awake cores. */
export const LATENCY_BURSTS = 5;
/** Requests that wait for a wake-up now. */
export const DEFERRED = 6;
/** Descriptor of /dev/cpu_dma_latency, which the main thread opened; 0 if it is not open. */
export const LATENCY_FD = 7;
/** 1 when the worker is to end between two requests, since another process goes on with the mount. */
export const HAND_OVER = 8;
/** 1 if the kernel can read and write files by itself; see passthrough.ts. */
export const PASSING = 9;
/** From here one counter for each opcode, 0..OPCODE_COUNTERS-1. */
export const OPCODES = 64;
export const OPCODE_COUNTERS = 64;

export const WAKEUPS_OFF = 0;
export const WAKEUPS_AUTO = 1;
export const WAKEUPS_ALWAYS = 2;

export const SERVING_NOT_YET = 0;
export const SERVING = 1;
export const SERVING_ENDED = 2;

export type WakeupsMode = 'auto' | 'always' | 'off';

/** A fresh one for one mount. */
export function createShared(wakeups: WakeupsMode): SharedArrayBuffer {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  new Int32Array(shared)[WAKEUPS_MODE] =
    wakeups === 'always' ? WAKEUPS_ALWAYS : wakeups === 'auto' ? WAKEUPS_AUTO : WAKEUPS_OFF;
  return shared;
}

/**
 * Resolves true when the worker answers requests (after INIT, or at once on a takeover), false when it ended before
 * or `timeoutMs` passed.
 */
export async function whenServing(shared: SharedArrayBuffer, timeoutMs: number): Promise<boolean> {
  const words = new Int32Array(shared);
  const deadlineMs = Date.now() + timeoutMs;
  while (Atomics.load(words, SERVING_STATE) === SERVING_NOT_YET) {
    if (Date.now() >= deadlineMs) return false;
    await new Promise((resolve) => setTimeout(resolve, SERVING_POLL_MS));
  }
  return Atomics.load(words, SERVING_STATE) === SERVING;
}

const SERVING_POLL_MS = 5;

/** Whether the kernel can read and write files by itself, once the mount is served. */
export function passesOn(shared: SharedArrayBuffer): boolean {
  return Atomics.load(new Int32Array(shared), PASSING) === 1;
}

/** The worker ends when it is next woken. */
export function askForHandOver(shared: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(shared), HAND_OVER, 1);
}

/** Requests served since the start by opcode name, for status pages and benchmarks. Only those that occurred. */
export function opcodeCounts(shared: SharedArrayBuffer): Map<string, number> {
  const words = new Int32Array(shared);
  const counts = new Map<string, number>();
  for (let opcode = 0; opcode < OPCODE_COUNTERS; opcode++) {
    const count = words[OPCODES + opcode]!;
    if (count > 0) counts.set(OPCODE_NAMES.get(opcode) ?? String(opcode), count);
  }
  return counts;
}

/** Requests that wait for a wake-up or a lock now. */
export const deferredCount = (shared: SharedArrayBuffer): number => Atomics.load(new Int32Array(shared), DEFERRED);

/** How often the worker asked for awake cores. */
export const awakeBursts = (shared: SharedArrayBuffer): number => Atomics.load(new Int32Array(shared), LATENCY_BURSTS);
