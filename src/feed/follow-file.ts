import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createApplier } from '../apply/index.js';
import { LEVEL_INCREMENT, LEVEL_SNAPSHOT, Slots, type Store } from '../backup/index.js';
import { SluiceError } from '../errors.js';
import type { Position } from '../ltx/index.js';
import { DatabaseFeed } from './database-feed.js';
import { FollowedFile } from './followed-file.js';
import { FEED_LIMITS, type FeedLimits } from './limits.js';

export interface FollowOptions {
  readonly store: Store;
  /** Path of the database file. Its folder is made if it is missing. */
  readonly output: string;
  /** Between two looks at the store. */
  readonly intervalMs: number;
  /** Take the place of a file that is there and followed no store, or that others changed. */
  readonly force: boolean;
  readonly signal: AbortSignal;
  /** The file is at a position, also at the start. */
  readonly onPosition?: (position: Position) => void;
  /** For the first time it has all that the store had. */
  readonly onCaughtUp?: (position: Position) => void;
  /** It cannot go on for now, and tries again. `isNew`: not as before. */
  readonly onTrouble?: (error: SluiceError, isNew: boolean) => void;
  readonly limits?: Partial<FeedLimits>;
}

/**
 * Keeps a database file as its backup is, for those who read it meanwhile, until the signal. Resolves with where the file
 * is then. Throws FollowedFile's errors, Store's, and `RESTORE_EMPTY`; what goes wrong later is told, and tried again.
 */
export async function followFile(options: FollowOptions): Promise<Position> {
  const { store, signal, intervalMs, onTrouble } = options;
  const output = resolve(options.output);
  const limits = { ...FEED_LIMITS, ...options.limits };
  await mustHaveBackup(store);
  mkdirSync(dirname(output), { recursive: true });
  const quiet = () => undefined;
  const applier = createApplier({
    mount: dirname(output),
    onPid: quiet,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  await applier.start();
  try {
    const file = await FollowedFile.open(output, applier, {
      force: options.force,
      onMove: (position) => options.onPosition?.(position),
    });
    if (file.position.txid > 0) options.onPosition?.(file.position);
    let caughtUp = false;
    const feed = new DatabaseFeed(file.name, store, {
      sink: file,
      intervalMs,
      limits,
      downloads: new Slots(1),
      signal,
      heard: quiet,
      received: quiet,
      applied: quiet,
      arrived: () => {
        // Where the store has no transaction there is no file.
        if (caughtUp || file.position.txid === 0) return;
        caughtUp = true;
        options.onCaughtUp?.(file.position);
      },
      failed: (_name, error, isNew) => onTrouble?.(error, isNew),
    });
    const run = feed.run();
    if (!signal.aborted) await new Promise((done) => signal.addEventListener('abort', done, { once: true }));
    // A transaction may wait for readers for as long as they like.
    const timeout = new AbortController();
    await Promise.race([run, sleep(limits.drainMs, undefined, { signal: timeout.signal }).catch(quiet)]);
    timeout.abort();
    return file.position;
  } finally {
    await applier.stop();
  }
}

/** Else what is followed may be a mistake in the address. */
async function mustHaveBackup(store: Store): Promise<void> {
  if ((await store.readManifest()) !== undefined) return;
  for await (const _file of store.list({ firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_SNAPSHOT })) return;
  throw new SluiceError('RESTORE_EMPTY', `${store.url}: there is no backup`);
}
