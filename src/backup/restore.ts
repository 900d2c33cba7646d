import { randomBytes } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { type Checksum, formatTxid, type Txid } from '../ltx/index.js';
import { DatabaseImage } from './database-image.js';
import { describeFile } from './file-names.js';
import { checkPlace, publish } from './publish.js';
import { readInOrder } from './read-ahead.js';
import { planRestore, type RestorePlan } from './restore-plan.js';
import type { Store, StoreFile } from './store.js';

/** Retention may delete a file between the listing and its turn: then a new plan is made, at most this often. */
const PLAN_LIMIT = 3;

export interface RestoreOptions {
  readonly store: Store;
  /** Path of the database file to make. Its folder is made if it is missing. */
  readonly output: string;
  /** The state after this transaction, or the nearest before it that the store has; the newest if left out. */
  readonly txid?: Txid;
  /** Replace what is at `output`. */
  readonly force?: boolean;
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

/** Compressed bytes read so far. The total changes only if a new plan has to be made. */
export interface RestoreProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface RestoreResult {
  readonly output: string;
  readonly txid: Txid;
  /** False where a target TXID lies inside a file: `txid` is then the nearest before it, `nextTxid` the nearest after. */
  readonly exact: boolean;
  readonly nextTxid: Txid | undefined;
  /** Verified; 0n where the backup's files (Litestream's) have none. */
  readonly checksum: Checksum;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly sizeBytes: number;
  /** When the last restored transaction was made, Unix milliseconds. */
  readonly timestampMs: number;
  readonly files: number;
  /** Bytes read from the store. */
  readonly readBytes: number;
}

/**
 * Makes a database file from a store: under a temporary name beside it, every checksum verified, fsynced, then renamed.
 * On any error nothing is left behind and what was at `output` is untouched.
 *
 * Throws `RESTORE_EXISTS`, `RESTORE_EMPTY`, `RESTORE_TXID`, `RESTORE_GAP`, `RESTORE_CORRUPT` (names the file),
 * `RESTORE_DISK_FULL`, `RESTORE_FAILED` (the output cannot be written), `RESTORE_ABORTED`, or one of Store's.
 */
export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const output = resolve(options.output);
  const force = options.force ?? false;
  checkPlace(output, force);
  const temporary = `${output}.restore-${randomBytes(4).toString('hex')}.tmp`;
  try {
    for (let plans = 1; ; plans++) {
      try {
        const result = await build(options, temporary);
        await publish(temporary, output, force);
        return { ...result, output };
      } catch (error) {
        if (errorCode(error) !== 'STORE_NOT_FOUND' || plans === PLAN_LIMIT) throw outputError(error, output);
      }
    }
  } finally {
    // What went wrong before matters more than a file that cannot be removed.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** The database that a restore would make, without reading any file but the listing. */
export async function findRestorePlan(store: Store, txid?: Txid): Promise<RestorePlan<StoreFile>> {
  try {
    return planRestore(await store.listAll(), txid);
  } catch (error) {
    if (!(error instanceof SluiceError) || !error.code.startsWith('RESTORE_')) throw error;
    throw new SluiceError(error.code, `${store.url}: ${error.message}`, error.hint, { cause: error });
  }
}

async function build(options: RestoreOptions, temporary: string): Promise<Omit<RestoreResult, 'output'>> {
  const plan = await findRestorePlan(options.store, options.txid);
  await mkdir(dirname(temporary), { recursive: true });
  const handle = await open(temporary, 'w+');
  try {
    const image = new DatabaseImage(handle.fd);
    try {
      const readBytes = await applyFiles(options, plan.files, image);
      finishImage(image, options.store);
      await handle.sync();
      return describeResult(plan, image, readBytes, options.txid);
    } finally {
      await image.release();
    }
  } finally {
    await handle.close();
  }
}

async function applyFiles(options: RestoreOptions, files: readonly StoreFile[], image: DatabaseImage): Promise<number> {
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  let doneBytes = 0;
  for await (const { file, pieces } of readInOrder(options.store, files)) {
    try {
      const writer = image.next(file);
      for await (const piece of pieces) {
        if (options.signal?.aborted === true) throw new SluiceError('RESTORE_ABORTED', 'the restore was stopped');
        writer.push(piece);
        doneBytes += piece.length;
        options.onProgress?.({ doneBytes, totalBytes });
      }
      await writer.end();
    } catch (error) {
      throw fileError(error, options.store, file);
    }
  }
  return doneBytes;
}

function finishImage(image: DatabaseImage, store: Store): void {
  try {
    image.finish();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    throw new SluiceError('RESTORE_CORRUPT', `${store.url}: ${error.message}`, '', { cause: error });
  }
}

function describeResult(
  plan: RestorePlan<StoreFile>,
  image: DatabaseImage,
  readBytes: number,
  target: Txid | undefined,
): Omit<RestoreResult, 'output'> {
  return {
    txid: image.txid,
    exact: target === undefined || target === image.txid,
    nextTxid: plan.nextTxid,
    checksum: image.checksum,
    pageSize: image.pageSize,
    pageCount: image.pageCount,
    sizeBytes: image.pageSize * image.pageCount,
    timestampMs: image.timestampMs,
    files: plan.files.length,
    readBytes,
  };
}

function fileError(error: unknown, store: Store, file: StoreFile): unknown {
  const code = errorCode(error) ?? '';
  if (!(error instanceof SluiceError) || !(code.startsWith('LTX_') || code === 'RESTORE_CHAIN')) return error;
  return new SluiceError(
    'RESTORE_CORRUPT',
    `${store.url}: ${describeFile(file)} is damaged: ${error.message}`,
    `An earlier state may be whole: --txid ${formatTxid(Math.max(1, file.minTxid - 1))}`,
    { cause: error },
  );
}

function outputError(error: unknown, output: string): unknown {
  if (error instanceof SluiceError) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SluiceError(
      'RESTORE_DISK_FULL',
      `no room for ${output}: the disk is full`,
      'Make room, or choose another path with -o',
      {
        cause: error,
      },
    );
  }
  return new SluiceError('RESTORE_FAILED', `cannot write ${output}: ${describeError(error)}`, '', { cause: error });
}
