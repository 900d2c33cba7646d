import { type FSWatcher, statSync, watch } from 'node:fs';
import { closeSync, readSync } from '../disk/index.js';
import { parseWalIndexHeader, WAL_INDEX_HEADER_SIZE, type WalIndexHeader } from '../sqlite/index.js';
import { openToRead } from './readable-file.js';
import type { Looked } from './worker-messages.js';

/** Between two looks while a WAL is being written. */
const GATHER_MS = 3;
/** Frames in one look from which on a WAL is looked at by the clock, and its writers need not wake anybody. */
const MANY_FRAMES = 16;
/** How soon something that may soon be a commit is looked at again: at first, and at most. */
const FIRST_AGAIN_MS = 1;
const LAST_AGAIN_MS = 1000;
/** A writer publishes its commit so soon after it wrote it, if it does not sync it before. */
const PUBLISHED_MS = 0.1;
/** A look by the worker, who has others to serve, is followed by a pause of so many times its length. */
const PAUSE_FACTOR = 4;
/** Where the file cannot be watched. */
const POLL_MS = 20;
/** The kernel drops notices when there are very many. */
const CHECK_MS = 1000;

export interface WalWatchesOptions {
  /** The worker is to look at the WAL of a slot; `looked` has to follow. */
  readonly ask: (slot: number) => void;
  /** A WAL was written. */
  readonly noticed: () => void;
  /** The wal-index says that there are more than `before` frames, which was all that it said before. False: ask the worker. */
  readonly published: (slot: number, index: WalIndexHeader, before: number) => boolean;
  /** Instead of node:fs's, for tests. */
  readonly watch?: (path: string, options: { readonly persistent: false }, listener: () => void) => FSWatcher;
  /** How often it is made sure that nothing was written without notice. */
  readonly checkMs?: number;
}

/**
 * One WAL that the kernel writes by itself. Its writes are noticed by inotify, each at once; or, as long as they are many, not at
 * all, and the WAL is looked at every few milliseconds. While its wal-index goes on from where the worker saw it, that says all;
 * whatever else happens to the WAL, the worker finds out.
 */
class WalWatch {
  private watcher: FSWatcher | undefined;
  private poll: NodeJS.Timeout | undefined;
  private timer: NodeJS.Timeout | undefined;
  /** The worker is asked and has not answered, or cannot be asked yet. */
  private asked = true;
  private askedMs = 0;
  private askAgainMs = 0;
  /** Something was written since the last look began. */
  private written = false;
  private writtenMs = 0;
  private waiting = false;
  private againMs = FIRST_AGAIN_MS;
  private closed = false;
  /** When the file was last written, as it was when that was last asked. */
  private changedMs = 0;
  private indexFd: number | undefined;
  private readonly indexBytes = Buffer.alloc(2 * WAL_INDEX_HEADER_SIZE);
  /** Frames that the wal-index said were committed, and that are all that is known; undefined: only the worker can tell. */
  private known: number | undefined;

  constructor(
    private readonly slot: number,
    private readonly path: string,
    private readonly indexPath: string,
    private readonly options: WalWatchesOptions,
  ) {
    this.listen();
  }

  begin(): void {
    this.asked = false;
    this.ask();
  }

  /** The worker's answer. */
  answered({ frames, more, published }: Looked): void {
    this.asked = false;
    this.askAgainMs = performance.now() + PAUSE_FACTOR * (performance.now() - this.askedMs);
    this.known = published;
    // Another one may have come in its place.
    this.closeIndex();
    this.looked(frames, more);
  }

  /** Now and then: whether something was written without notice. */
  check(): void {
    const changedMs = statSync(this.path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (changedMs === this.changedMs) return;
    this.changedMs = changedMs;
    this.wrote();
  }

  close(): void {
    this.closed = true;
    this.watcher?.close();
    clearInterval(this.poll);
    clearTimeout(this.timer);
    this.closeIndex();
  }

  private looked(frames: number, more: boolean): void {
    if (this.closed) return;
    if (frames >= MANY_FRAMES) {
      this.watcher?.close();
      this.watcher = undefined;
      this.later(GATHER_MS);
    } else if (this.watcher === undefined && this.poll === undefined) {
      this.listen();
      // What was written before that was not noticed.
      this.wrote();
    } else if (this.written) this.lookSoon();
    else if (more) {
      this.later(this.againMs);
      this.againMs = Math.min(this.againMs * 2, LAST_AGAIN_MS);
    }
  }

  private listen(): void {
    try {
      this.watcher = (this.options.watch ?? watch)(this.path, { persistent: false }, this.wrote);
      this.watcher.on('error', this.unwatch);
    } catch {
      // No file any more, or as many watches as the kernel allows.
      this.unwatch();
    }
  }

  private readonly unwatch = (): void => {
    this.watcher?.close();
    this.watcher = undefined;
    this.poll ??= setInterval(this.wrote, POLL_MS).unref();
  };

  private readonly wrote = (): void => {
    this.options.noticed();
    this.againMs = FIRST_AGAIN_MS;
    this.written = true;
    this.writtenMs = performance.now();
    this.lookSoon();
  };

  /** The first writes of a commit come before there is anything to see. */
  private readonly lookSoon = (): void => {
    this.waiting = false;
    if (this.closed || this.asked || this.look()) return;
    if (performance.now() - this.writtenMs > PUBLISHED_MS) this.later(FIRST_AGAIN_MS);
    else if (!this.waiting) {
      this.waiting = true;
      setImmediate(this.lookSoon);
    }
  };

  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.lookOrAsk, ms);
  }

  private readonly lookOrAsk = (): void => {
    if (!this.look()) this.ask();
  };

  /** Takes what the wal-index says, if that is more than it said before and all that there is to say. */
  private look(): boolean {
    const { known } = this;
    if (this.closed || this.asked) return true;
    if (known === undefined) {
      this.ask();
      return true;
    }
    const index = this.readIndex();
    if (index === undefined || index.frames === known) return false;
    if (index.frames < known || !this.options.published(this.slot, index, known)) {
      // It is of a WAL that began afresh.
      this.ask();
      return true;
    }
    this.known = index.frames;
    this.written = false;
    this.againMs = FIRST_AGAIN_MS;
    // The next commit may have been written already, and noticed, and be published without another notice.
    this.looked(index.frames - known, true);
    return true;
  }

  private ask(): void {
    if (this.closed || this.asked) return;
    clearTimeout(this.timer);
    const pauseMs = this.askAgainMs - performance.now();
    if (pauseMs > FIRST_AGAIN_MS) {
      this.later(pauseMs);
      return;
    }
    this.written = false;
    this.asked = true;
    this.askedMs = performance.now();
    this.options.ask(this.slot);
  }

  private readIndex(): WalIndexHeader | undefined {
    const { indexBytes } = this;
    this.indexFd ??= openToRead(this.indexPath);
    if (this.indexFd === undefined) return undefined;
    const read = readSync(this.indexFd, indexBytes, 0, indexBytes.length, 0);
    return read < indexBytes.length ? undefined : parseWalIndexHeader(indexBytes);
  }

  private closeIndex(): void {
    if (this.indexFd !== undefined) closeSync(this.indexFd);
    this.indexFd = undefined;
  }
}

/** Notices writes to WALs that the kernel writes by itself, and what they commit. Main thread. */
export class WalWatches {
  private readonly bySlot = new Map<number, WalWatch>();
  private started = false;
  private readonly checks: NodeJS.Timeout;

  constructor(private readonly options: WalWatchesOptions) {
    this.checks = setInterval(() => {
      for (const each of this.bySlot.values()) each.check();
    }, options.checkMs ?? CHECK_MS).unref();
  }

  /** The worker can be asked from now on. */
  start(): void {
    this.started = true;
    for (const each of this.bySlot.values()) each.begin();
  }

  /** `path`: of the WAL's backing file. */
  begin(slot: number, path: string): void {
    this.end(slot);
    const index = `${path.slice(0, -'-wal'.length)}-shm`;
    const begun = new WalWatch(slot, path, index, this.options);
    this.bySlot.set(slot, begun);
    if (this.started) begun.begin();
  }

  looked(slot: number, looked: Looked): void {
    this.bySlot.get(slot)?.answered(looked);
  }

  end(slot: number): void {
    this.bySlot.get(slot)?.close();
    this.bySlot.delete(slot);
  }

  close(): void {
    clearInterval(this.checks);
    for (const slot of [...this.bySlot.keys()]) this.end(slot);
  }
}
