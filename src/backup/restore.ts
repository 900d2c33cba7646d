import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { type Checksum, formatChecksum, formatTxid, type Txid } from '../ltx/index.js';
import { restoringName } from '../restoring-name.js';
import { applyFiles } from './apply-files.js';
import { type CheckMode, checkDatabase } from './database-check.js';
import type { DatabaseImage } from './database-image.js';
import { Draft } from './draft.js';
import { describeFile } from './file-names.js';
import { readFileHeader, type UnfitFile } from './newest.js';
import { checkPlace, publish } from './publish.js';
import { readInOrder } from './read-ahead.js';
import type { StateAtTime } from './restore-time.js';
import { Detours, findRest, findWay, type RestoreTarget, type RestoreWay } from './restore-way.js';
import type { Store, StoreFile } from './store.js';

/**
 * Retention may delete a file between the listing and its turn: then a new plan is made. At most so many may begin anew, or
 * bring nothing.
 */
const PLAN_LIMIT = 3;
/** Ways that are tried around damaged files; each may read the whole backup. */
const DETOUR_LIMIT = 8;

export interface RestoreOptions extends RestoreTarget {
  readonly store: Store;
  /** Path of the database file to make. Its folder is made if it is missing. */
  readonly output: string;
  /** Replace what is at `output`. */
  readonly force?: boolean;
  /** Requests under way at a time. */
  readonly parallel?: number;
  /** Have SQLite check the database before it gets its name. */
  readonly check?: CheckMode;
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly onCheck?: () => void;
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
  /** For a target time: how it was found. */
  readonly time: StateAtTime | undefined;
  /** Files that were not used, since they do not fit or are damaged; the state is right nevertheless. */
  readonly leftOut: readonly UnfitFile[];
  /** Verified; 0n where the backup's files (Litestream's) have none. */
  readonly checksum: Checksum;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly sizeBytes: number;
  /** When the last restored transaction was made, Unix milliseconds. */
  readonly timestampMs: number;
  readonly files: number;
  /** Why SQLite could not check it, where that was wanted: it needs functions of the application. */
  readonly unchecked: string | undefined;
  /** Bytes read from the store. */
  readonly readBytes: number;
}

/**
 * Makes a database file from a store: under a temporary name beside it, every checksum verified, fsynced, then renamed.
 * On any error nothing is left behind and what was at `output` is untouched. Where a file is damaged, other files that lead
 * to the same state are tried.
 *
 * Throws `RESTORE_EXISTS`, `RESTORE_EMPTY`, `RESTORE_TXID`, `RESTORE_TIME`, `RESTORE_GAP`, `RESTORE_CORRUPT` (names the file),
 * `RESTORE_AMBIGUOUS` (two files disagree on the state), `RESTORE_CHECK` (SQLite finds it malformed), `RESTORE_DISK_FULL`,
 * `RESTORE_FAILED` (the output cannot be written), `RESTORE_ABORTED`, or one of Store's.
 */
export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const output = resolve(options.output);
  const force = options.force ?? false;
  checkPlace(output, force);
  const temporary = join(dirname(output), restoringName());
  try {
    const result = await buildOnSomeWay(options, temporary);
    let unchecked: string | undefined;
    if (options.check !== undefined) {
      options.onCheck?.();
      unchecked = await checkDatabase(temporary, options.check, options.store.url, options.signal);
    }
    await publish(temporary, output, force);
    return { ...result, output, unchecked };
  } catch (error) {
    throw outputError(error, output);
  } finally {
    // What went wrong before matters more than a file that cannot be removed.
    for (const suffix of ['', '-wal', '-shm']) await rm(temporary + suffix, { force: true }).catch(() => undefined);
  }
}

type Built = Omit<RestoreResult, 'output' | 'unchecked'>;

/** Plans again when a file is gone, and goes on from what was made so far; tries other ways when one is damaged. */
async function buildOnSomeWay(options: RestoreOptions, temporary: string): Promise<Built> {
  const { store } = options;
  let way = await findWay(store, options);
  let around: { readonly detours: Detours; readonly first: DamageError; count: number } | undefined;
  const draft = await Draft.open(temporary);
  try {
    for (let plans = 1; ; ) {
      const from = draft.image.txid;
      try {
        return await build(options, way, draft);
      } catch (error) {
        if (errorCode(error) === 'STORE_NOT_FOUND') {
          const wentOn = draft.image.txid > from;
          // A manifest may name what is gone for good.
          const next = await findWay(store, options, !wentOn);
          // Of a detour it is not known here what to go around.
          const further = around === undefined ? await continueWay(store, way, next, draft.image) : undefined;
          if (!(wentOn && further !== undefined) && ++plans > PLAN_LIMIT) throw error;
          if (further === undefined) await draft.beginAnew();
          way = further ?? next;
          around = undefined;
          continue;
        }
        if (!(error instanceof DamageError)) throw error;
        around ??= { detours: new Detours(await store.listAll(), way), first: error, count: 0 };
        around.detours.blame(way.leftOut, error.suspects);
        const detour = around.count++ < DETOUR_LIMIT ? around.detours.next() : undefined;
        if (detour === undefined) throw noWayError(around.first, around.detours, around.count - 1);
        way = { ...way, ...detour };
        await draft.beginAnew();
      }
    }
  } finally {
    await draft.close();
  }
}

/** The way to where `next` leads by what the image has of `way`; undefined if it does not lead there. */
async function continueWay(
  store: Store,
  way: RestoreWay,
  next: RestoreWay,
  image: DatabaseImage,
): Promise<RestoreWay | undefined> {
  if (!image.isBetweenFiles) return undefined;
  const rest = await findRest(store, next, image.txid);
  if (rest === undefined) return undefined;
  const files = [...way.files.filter(({ maxTxid }) => maxTxid <= image.txid), ...rest];
  const rivals = [...next.rivals, ...next.files.filter(({ maxTxid }) => maxTxid === next.txid)];
  return { ...next, files, rivals };
}

/** Applies the files of a way that the draft does not have. */
async function build(options: RestoreOptions, way: RestoreWay, draft: Draft): Promise<Built> {
  const { image } = draft;
  const rest = way.files.filter(({ maxTxid }) => maxTxid > image.txid);
  await readFiles(options, rest, draft);
  finishImage(image, way, options.store);
  await image.settle();
  if (way.checksum === 0n) await checkRivals(options.store, way, image.checksum);
  await draft.sync();
  return describeResult(way, image, draft.readBytes);
}

async function readFiles(options: RestoreOptions, files: readonly StoreFile[], draft: Draft): Promise<void> {
  const { store, parallel, signal, onProgress } = options;
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, draft.readBytes);
  await applyFiles(readInOrder(store, files, parallel), files, draft.image, {
    read(piece) {
      if (signal?.aborted === true) throw new SluiceError('RESTORE_ABORTED', 'the restore was stopped');
      draft.readBytes += piece.length;
      onProgress?.({ doneBytes: draft.readBytes, totalBytes });
    },
    failed: (error, file, previous) => fileError(error, store, file, previous),
  });
}

function finishImage(image: DatabaseImage, way: RestoreWay, store: Store): void {
  const last = way.files.at(-1)!;
  try {
    image.finish();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    throw new DamageError(`${store.url}: ${error.message}`, [{ file: last, why: error.message }], error);
  }
  if (way.checksum === 0n || image.checksum === 0n || way.checksum === image.checksum) return;
  const why = `it leads to checksum ${formatChecksum(image.checksum)}, the manifest to ${formatChecksum(way.checksum)}`;
  throw new DamageError(`${store.url}: ${describeFile(last)} is damaged: ${why}`, [{ file: last, why }], undefined);
}

/** Other files that end where the way does must agree on the database there; if not, nobody knows which is right. */
async function checkRivals(store: Store, way: RestoreWay, checksum: Checksum): Promise<void> {
  if (checksum === 0n) return;
  const known = new Set([...way.files, ...way.leftOut.map(({ file }) => file)].map(describeFile));
  for (const file of way.rivals) {
    if (known.has(describeFile(file))) continue;
    const header = await readFileHeader(store, file);
    if (header === undefined || header.postApply === 0n || header.postApply === checksum) continue;
    const before = Math.max(1, Math.min(file.minTxid, way.files.at(-1)!.minTxid) - 1);
    throw new SluiceError(
      'RESTORE_AMBIGUOUS',
      `${store.url}: ${describeFile(way.files.at(-1)!)} and ${describeFile(file)} end with different databases: one is of another history`,
      `Move the wrong one away, or restore what is before both with --txid ${formatTxid(before)}`,
    );
  }
}

function describeResult(way: RestoreWay, image: DatabaseImage, readBytes: number): Built {
  return {
    txid: image.txid,
    exact: way.exact,
    nextTxid: way.nextTxid,
    time: way.time,
    leftOut: way.leftOut,
    checksum: image.checksum,
    pageSize: image.pageSize,
    pageCount: image.pageCount,
    sizeBytes: image.pageSize * image.pageCount,
    timestampMs: image.timestampMs,
    files: way.files.length,
    readBytes,
  };
}

/** A file that cannot be used, or one of several. */
class DamageError extends SluiceError {
  constructor(
    message: string,
    readonly suspects: readonly UnfitFile[],
    cause: unknown,
    hint = '',
  ) {
    super('RESTORE_CORRUPT', message, hint, { cause });
  }
}

/** A file that does not fit the one before it may be right, and that one wrong. */
function fileError(error: unknown, store: Store, file: StoreFile, previous: StoreFile | undefined): unknown {
  const code = errorCode(error) ?? '';
  if (!(error instanceof SluiceError) || !(code.startsWith('LTX_') || code === 'RESTORE_CHAIN')) return error;
  const suspects: UnfitFile[] = [{ file, why: error.message }];
  if (code === 'RESTORE_CHAIN' && previous !== undefined) {
    suspects.push({ file: previous, why: `${describeFile(file)} does not fit it: ${error.message}` });
  }
  return new DamageError(`${store.url}: ${describeFile(file)} is damaged: ${error.message}`, suspects, error);
}

function noWayError(damage: DamageError, detours: Detours, tried: number): DamageError {
  const { message, suspects, cause } = damage;
  const nearest = detours.nearest();
  const ways = tried === 1 ? 'another way around it' : `${tried} other ways around it`;
  const others = tried === 0 ? 'no other files lead around it' : `${ways} failed too`;
  const hint =
    nearest === undefined
      ? `Nothing can be restored without it, and ${others}`
      : `An earlier state can be restored: --txid ${formatTxid(nearest)}; ${others}`;
  return new DamageError(message, suspects, cause, hint);
}

function outputError(error: unknown, output: string): unknown {
  if (error instanceof SluiceError) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SluiceError(
      'RESTORE_DISK_FULL',
      `no room for ${output}: the disk is full`,
      'Make room, or choose another path with -o',
      { cause: error },
    );
  }
  return new SluiceError('RESTORE_FAILED', `cannot write ${output}: ${describeError(error)}`, '', { cause: error });
}
