import { resolve } from 'node:path';
import { SluiceError } from '../errors.js';
import { parsePosition } from '../ltx/position.js';
import { DEFAULT_TIMEOUT_MS } from './limits.js';
import { LockByte } from './lock-byte.js';
import { Mount } from './mount.js';
import { patiently, type WaitOptions } from './patience.js';

/** What an application knows of the node whose mount it uses, and can ask of it. Rejects with a SluiceError. */
export interface Connection {
  /** The mounted folder, absolute. */
  readonly mount: string;
  /**
   * Has the database's write lock of the primary while `fn` runs: its transactions, and those of all other processes on this
   * node, then cost one round trip each, and nobody writes elsewhere. On the primary it keeps out only others
   * who lock in this way there, and no replica.
   * `db`: its path under the mount. Rejects with `WRITE_LOCK_TIMEOUT` if it is not to be had in time, before `fn` has begun.
   * When the lock is lost meanwhile, commits on this node fail until `fn` has ended.
   */
  withWriteLock<T>(db: string, fn: () => T | Promise<T>, options?: WaitOptions): Promise<T>;
  /**
   * Resolves with the database's position here, `TXID/checksum`, when it is `position` or a later one. Rejects with
   * `POSITION_TIMEOUT` when it does not come to that in time, `POSITION_DIFFERS` if it has another history.
   */
  waitForPosition(db: string, position: string, options?: WaitOptions): Promise<string>;
  /** `TXID/checksum`; undefined if there is no such database, or it has no transaction yet. */
  position(db: string, options?: { readonly signal?: AbortSignal }): Promise<string | undefined>;
  /** The primary's address, as it tells it to others; null on the primary itself. */
  primary(options?: { readonly signal?: AbortSignal }): Promise<string | null>;
  /** Milliseconds that this node is behind; 0 on the primary, null while nothing is known of it. */
  lag(options?: { readonly signal?: AbortSignal }): Promise<number | null>;
}

/** The node that is mounted at a folder. Nothing is opened, or kept: a node may be restarted at any time. */
export function connect(mountDir: string): Connection {
  const mount = new Mount(resolve(mountDir));
  return {
    mount: mount.folder,
    withWriteLock: (db, fn, options = {}) => withWriteLock(mount, db, fn, options),
    waitForPosition: (db, position, options = {}) => waitForPosition(mount, db, position, options),
    position: (db, { signal } = {}) => mount.position(db, signal),
    primary: ({ signal } = {}) => mount.primary(signal),
    lag: ({ signal } = {}) => mount.lag(signal),
  };
}

async function withWriteLock<T>(mount: Mount, db: string, fn: () => T | Promise<T>, options: WaitOptions): Promise<T> {
  options.signal?.throwIfAborted();
  const handle = await mount.openLock(db);
  try {
    const lock = await LockByte.of(handle.fd);
    const isLocked = await patiently(async () => (await lock.tryLock()) || undefined, options);
    if (isLocked === undefined) throw lockTimeout(mount, db, options);
    try {
      return await fn();
    } finally {
      await lock.unlock();
    }
  } finally {
    await handle.close();
  }
}

async function waitForPosition(mount: Mount, db: string, position: string, options: WaitOptions): Promise<string> {
  const wanted = parsePosition(position);
  let seen: string | undefined;
  const reached = await patiently(async () => {
    seen = await mount.position(db, options.signal);
    return seen !== undefined && parsePosition(seen).txid >= wanted.txid ? seen : undefined;
  }, options);
  if (reached === undefined) {
    throw new SluiceError(
      'POSITION_TIMEOUT',
      `${db} in ${mount.folder} did not come to ${position} in ${limitOf(options)}: it is at ${seen ?? 'no position'}`,
      'See sluice status for its lag and its problems',
    );
  }
  const { txid, checksum } = parsePosition(reached);
  if (txid !== wanted.txid || checksum === wanted.checksum) return reached;
  throw new SluiceError(
    'POSITION_DIFFERS',
    `${db} in ${mount.folder} is at ${reached}, which is another history than that of ${position}`,
    'See sluice status',
  );
}

function lockTimeout(mount: Mount, db: string, options: WaitOptions): SluiceError {
  return new SluiceError(
    'WRITE_LOCK_TIMEOUT',
    `the write lock of ${db} in ${mount.folder} was not to be had in ${limitOf(options)}`,
    'Somebody else has it, or the primary is not reached or takes no writes: see sluice status and the log of sluice mount',
  );
}

function limitOf({ timeoutMs = DEFAULT_TIMEOUT_MS }: WaitOptions): string {
  return timeoutMs < 1000 ? `${timeoutMs} ms` : `${timeoutMs / 1000} s`;
}
