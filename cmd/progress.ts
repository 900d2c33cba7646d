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

function startBar(what: string): Progress {
  const bar = new cliProgress.SingleBar({
    format: `${what} {bar} {percentage}%  {done} of {all}  ETA {eta_formatted}`,
    stream: process.stderr,
    hideCursor: true,
  });
  let started = false;
  return {
    update(doneBytes, totalBytes) {
      const payload = { done: formatSize(doneBytes), all: formatSize(totalBytes) };
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
  let nextMs = performance.now() + LINE_INTERVAL_MS;
  return {
    update(doneBytes, totalBytes) {
      if (performance.now() < nextMs) return;
      nextMs = performance.now() + LINE_INTERVAL_MS;
      process.stderr.write(`${what}: ${formatSize(doneBytes)} of ${formatSize(totalBytes)}\n`);
    },
    stop: () => undefined,
  };
}
