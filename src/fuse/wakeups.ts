import { execFile } from 'node:child_process';
import { openSync, writeSync } from 'node:fs';
import { errorCode, SluiceError } from '../errors.js';
import { WAKE_NAME } from './nodes.js';
import {
  LATENCY_BURSTS,
  LATENCY_FD,
  LATENCY_HELD,
  REQUESTS,
  WAKEUPS_ALWAYS,
  WAKEUPS_AUTO,
  WAKEUPS_MODE,
  WAKEUPS_OFF,
} from './shared.js';

/**
 * While this device is open and a zero was the last thing written to it, idle cores poll instead of halting. In a
 * virtual machine a request to the worker then costs about 10 microseconds instead of 90. It is opened once, by the
 * main thread; both threads write to it. The kernel lets go when the process dies.
 */
const LATENCY_DEVICE = '/dev/cpu_dma_latency';
/** Microseconds, as the kernel reads them from the device: none at all, and its default for "do as you like". */
const NO_LATENCY = Int32Array.of(0);
const ANY_LATENCY = Int32Array.of(2_000_000_000);

/** A burst: so many requests within so many milliseconds. */
const BURST_REQUESTS = 8;
const BURST_MS = 4;
/** Without a request for so long, the cores may sleep again. */
const SILENT_MS = 5;

/** Decides in the worker's loop; costs a counter for each request and a clock for each eighth. */
export class Bursts {
  readonly #words: Int32Array;
  #count = 0;
  #lastMs = 0;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
  }

  /** Counts one request; asks for awake cores if it belongs to a burst. */
  request(): void {
    this.#words[REQUESTS]!++;
    if (++this.#count < BURST_REQUESTS) return;
    this.#count = 0;
    const nowMs = performance.now();
    const burst = nowMs - this.#lastMs <= BURST_MS;
    this.#lastMs = nowMs;
    if (burst && this.#words[LATENCY_HELD] === 0 && this.#words[WAKEUPS_MODE] === WAKEUPS_AUTO) this.#hold();
  }

  #hold(): void {
    const fd = this.#words[LATENCY_FD]!;
    if (fd === 0) return;
    try {
      writeSync(fd, NO_LATENCY);
    } catch {
      Atomics.store(this.#words, WAKEUPS_MODE, WAKEUPS_OFF);
      return;
    }
    this.#words[LATENCY_BURSTS]!++;
    Atomics.store(this.#words, LATENCY_HELD, 1);
    Atomics.notify(this.#words, LATENCY_HELD);
  }
}

/** Lets the cores sleep again after a burst (main thread). The worker is what asks for awake cores. */
export class WakeupsTimer {
  readonly #words: Int32Array;
  #timer: NodeJS.Timeout | undefined;
  #lastRequests = 0;
  #closed = false;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
  }

  /** `always` holds them awake from here on. Returns what is wrong where the machine does not allow it. */
  start(): string | undefined {
    const mode = this.#words[WAKEUPS_MODE];
    if (mode === WAKEUPS_OFF) return undefined;
    try {
      const fd = openSync(LATENCY_DEVICE, 'w');
      // Open means no latency at all until something else is written.
      writeSync(fd, mode === WAKEUPS_ALWAYS ? NO_LATENCY : ANY_LATENCY);
      Atomics.store(this.#words, LATENCY_FD, fd);
    } catch (error) {
      Atomics.store(this.#words, WAKEUPS_MODE, WAKEUPS_OFF);
      return `${LATENCY_DEVICE} cannot be used (${errorCode(error) ?? 'unknown error'}): requests are slower after each pause`;
    }
    if (mode === WAKEUPS_AUTO) void this.#watch();
    return undefined;
  }

  /**
   * Something has begun that will make requests within the next milliseconds, here or on another thread or process: the
   * first of them need not pay for waking a core.
   */
  awake(): void {
    const words = this.#words;
    if (words[LATENCY_HELD] !== 0 || words[WAKEUPS_MODE] !== WAKEUPS_AUTO) return;
    const fd = words[LATENCY_FD]!;
    if (fd === 0) return;
    writeSync(fd, NO_LATENCY);
    Atomics.store(words, LATENCY_HELD, 1);
    Atomics.notify(words, LATENCY_HELD);
  }

  /** Lets go of the device for good. */
  close(): void {
    this.#closed = true;
    Atomics.store(this.#words, WAKEUPS_MODE, WAKEUPS_OFF);
    clearInterval(this.#timer);
    this.#timer = undefined;
    Atomics.store(this.#words, LATENCY_HELD, 0);
    Atomics.notify(this.#words, LATENCY_HELD);
    // The worker may be about to write to it: it is closed with the process, and asks for nothing until then.
    this.#release();
  }

  /** Sleeps until the worker holds the device, then looks every few milliseconds whether requests still come. */
  async #watch(): Promise<void> {
    while (!this.#closed) {
      if (Atomics.load(this.#words, LATENCY_HELD) === 0) {
        const change = Atomics.waitAsync(this.#words, LATENCY_HELD, 0);
        if (change.async) await change.value;
      }
      if (this.#closed) return;
      await this.#untilSilent();
    }
  }

  #untilSilent(): Promise<void> {
    this.#lastRequests = this.#words[REQUESTS]!;
    return new Promise((resolve) => {
      this.#timer = setInterval(() => {
        const requests = this.#words[REQUESTS]!;
        if (requests !== this.#lastRequests && !this.#closed) {
          this.#lastRequests = requests;
          return;
        }
        clearInterval(this.#timer);
        this.#timer = undefined;
        this.#release();
        resolve();
      }, SILENT_MS);
      this.#timer.unref();
    });
  }

  #release(): void {
    Atomics.store(this.#words, LATENCY_HELD, 0);
    const fd = Atomics.load(this.#words, LATENCY_FD);
    if (fd !== 0) writeSync(fd, ANY_LATENCY);
  }
}

/** What a request costs at the moment, microseconds (medians). */
export interface WakeupTimes {
  /** After 20 ms of silence: what a single request costs on an idle machine. */
  readonly idleUs: number;
  /** One request right after the other. */
  readonly busyUs: number;
}

const MEASURE_TIMEOUT_MS = 10_000;

/** Runs in a process of its own, because a synchronous call on a mount must never run in the process that serves it. */
const MEASURE_PROGRAM = `
const { statSync } = require('node:fs');
const path = process.argv[1];
const once = () => { const t = process.hrtime.bigint(); statSync(path); return Number(process.hrtime.bigint() - t) / 1000; };
const median = (a) => a.sort((x, y) => x - y)[a.length >> 1];
const pause = new Int32Array(new SharedArrayBuffer(4));
for (let i = 0; i < 50; i++) once();
const idle = [], busy = [];
for (let i = 0; i < 15; i++) { Atomics.wait(pause, 0, 0, 20); idle.push(once()); }
for (let i = 0; i < 300; i++) busy.push(once());
console.log(JSON.stringify({ idleUs: median(idle), busyUs: median(busy) }));
`;

/**
 * Round trip of a request to the worker of a mount, by stat of a name that is never cached, from a process of its own
 * (about half a second). Rejects with a SluiceError `FUSE_MEASURE` if the mount does not answer.
 */
export function measureWakeup(mountPath: string): Promise<WakeupTimes> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new SluiceError('FUSE_MEASURE', `The mount ${mountPath} does not answer`, "Look at its node's log.", { cause }),
      );
    // A process that hangs in a dead mount cannot be killed, so its end is not waited for.
    const timer = setTimeout(() => fail(undefined), MEASURE_TIMEOUT_MS);
    const options = { timeout: MEASURE_TIMEOUT_MS, cwd: '/' };
    const child = execFile(
      process.execPath,
      ['-e', MEASURE_PROGRAM, `${mountPath}/${WAKE_NAME}`],
      options,
      (error, text) => {
        clearTimeout(timer);
        if (error !== null) fail(error);
        else resolve(JSON.parse(text) as WakeupTimes);
      },
    );
    child.unref();
  });
}
