import cliProgress from 'cli-progress';
import { formatSize } from '../src/config/index.js';

/** Without a terminal: a line at most so often. */
const LINE_INTERVAL_MS = 5_000;

/** How far something is, shown on stderr. */
export interface Progress {
  update(doneBytes: number, totalBytes: number): void;
  /** Leaves the line of a bar. Safe to call twice. */
  stop(): void;
}

/** A bar on a terminal, a line now and then elsewhere, nothing when `quiet`. */
export function startProgress(what: string, quiet: boolean): Progress {
  if (quiet) return { update: () => undefined, stop: () => undefined };
  return process.stderr.isTTY === true ? startBar(what) : startLines(what);
}

/** How fast something gets on, and what it still takes; from its beginning, or from when it began again. */
export class Pace {
  private startMs: number;
  private startBytes = 0;
  private doneBytes = 0;

  constructor(private readonly now: () => number = () => performance.now()) {
    this.startMs = now();
  }

  /** `120 MiB/s, 8 s left`; empty until there is something to tell. */
  describe(doneBytes: number, totalBytes: number): string {
    if (doneBytes < this.doneBytes) {
      this.startMs = this.now();
      this.startBytes = doneBytes;
    }
    this.doneBytes = doneBytes;
    const seconds = (this.now() - this.startMs) / 1000;
    const bytesPerSecond = (doneBytes - this.startBytes) / seconds;
    if (!(seconds > 0 && bytesPerSecond > 0)) return '';
    const left = Math.max(0, totalBytes - doneBytes) / bytesPerSecond;
    return `${formatSize(Math.round(bytesPerSecond))}/s, ${formatDuration(left)} left`;
  }
}

/** 8 s, 2 min 5 s, 3 h 20 min. */
function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function startBar(what: string): Progress {
  const bar = new cliProgress.SingleBar({
    format: `${what} {bar} {percentage}%  {done} of {all}  {pace}`,
    stream: process.stderr,
    hideCursor: true,
  });
  const pace = new Pace();
  let started = false;
  return {
    update(doneBytes, totalBytes) {
      const payload = {
        done: formatSize(doneBytes),
        all: formatSize(totalBytes),
        pace: pace.describe(doneBytes, totalBytes),
      };
      if (!started) bar.start(totalBytes, doneBytes, payload);
      started = true;
      bar.setTotal(totalBytes);
      bar.update(doneBytes, payload);
    },
    stop() {
      if (started) bar.stop();
      started = false;
    },
  };
}

function startLines(what: string): Progress {
  const pace = new Pace();
  let nextMs = performance.now() + LINE_INTERVAL_MS;
  return {
    update(doneBytes, totalBytes) {
      if (performance.now() < nextMs) return;
      nextMs = performance.now() + LINE_INTERVAL_MS;
      const how = pace.describe(doneBytes, totalBytes);
      process.stderr.write(`${what}: ${formatSize(doneBytes)} of ${formatSize(totalBytes)}, ${how}\n`);
    },
    stop: () => undefined,
  };
}
