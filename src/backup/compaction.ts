import { SluiceError } from '../errors.js';
import { LtxEncoder, type LtxHeader, LtxStreamDecoder, mergedHeader, newestOfLowest } from '../ltx/index.js';
import type { ManifestFile } from './manifest.js';
import { Slices } from './slices.js';
import type { Store, StoreFile } from './store.js';
import { StorePages } from './store-pages.js';

/** What is read of all inputs together, and of one of them, at a time. In a bucket each is a request. */
const READ_BYTES = 4 * 1024 * 1024;
const MIN_RANGE_BYTES = 32 * 1024;
const MAX_RANGE_BYTES = 128 * 1024;

/**
 * Merges files of a store that follow each other into one of a higher level, and publishes it: of each page the newest,
 * without those above the last commit. Reads each byte and checks it, and reads back what it writes before that gets its
 * name. Memory does not depend on the size of the files. Ends early, with `STORE_FAILED`, once `isStopped`. Throws `LTX_*`,
 * Store's errors, `STORE_EXISTS`.
 */
export async function compact(
  store: Store,
  files: readonly StoreFile[],
  level: number,
  isStopped: () => boolean = () => false,
): Promise<ManifestFile> {
  // One is read ahead of each.
  const share = Math.floor(READ_BYTES / 2 / files.length);
  const rangeBytes = Math.min(MAX_RANGE_BYTES, Math.max(MIN_RANGE_BYTES, share));
  const inputs: StorePages[] = [];
  try {
    for (const file of files) inputs.push(await StorePages.open(store, file, rangeBytes));
    const header = mergedHeader(inputs.map(({ header }) => header));
    const key = { level, minTxid: header.minTxid, maxTxid: header.maxTxid };
    const timeMs = header.timestampMs;
    let sizeBytes = 0;
    const count = (bytes: number): void => {
      if (isStopped()) throw new SluiceError('STORE_FAILED', 'the node stops');
      sizeBytes += bytes;
    };
    const pieces = mergePages(inputs, header, count);
    const sizeEstimateBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    await store.put({ ...key, timestampMs: timeMs, sizeEstimateBytes }, pieces);
    return { ...key, sizeBytes, timeMs, checksum: header.postApply };
  } finally {
    for (const input of inputs) await input.close();
  }
}

async function* mergePages(
  inputs: readonly StorePages[],
  header: LtxHeader,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const made: Uint8Array[] = [];
  const pool = new Pool();
  const readBack = new LtxStreamDecoder();
  const encoder = new LtxEncoder((piece) => {
    readBack.push(piece);
    count(piece.length);
    made.push(pool.copy(piece));
  }, header);
  const slices = new Slices();
  const next = async (input: StorePages): Promise<number> => {
    for (;;) {
      const pgno = input.next();
      if (pgno !== undefined) return pgno;
      await input.fill();
    }
  };
  const current = new Float64Array(inputs.length);
  for (const [i, input] of inputs.entries()) current[i] = await next(input);
  for (let newest = newestOfLowest(current); newest >= 0; newest = newestOfLowest(current)) {
    const pgno = current[newest]!;
    if (pgno <= header.commit) encoder.writePage(pgno, inputs[newest]!.page);
    for (let i = 0; i < current.length; i++) {
      // No promise for each page: only where a range is at its end.
      if (current[i] === pgno) current[i] = inputs[i]!.next() ?? (await next(inputs[i]!));
    }
    if (made.length > 0) yield* pool.lend(made);
    if (slices.over()) await slices.pause();
  }
  for (const input of inputs) await input.finish();
  encoder.finish();
  readBack.end();
  yield* pool.lend(made);
}

/**
 * Buffers for pieces, used again when whoever reads them asks for the next: memory that is thrown away piece by piece grows
 * until it is collected, which takes it a while to be.
 */
class Pool {
  private readonly free: Uint8Array[] = [];

  copy(piece: Uint8Array): Uint8Array {
    const at = this.free.findIndex(({ buffer }) => buffer.byteLength >= piece.length);
    const buffer = at < 0 ? Buffer.allocUnsafeSlow(piece.length) : this.free.splice(at, 1)[0]!;
    const copy = new Uint8Array(buffer.buffer, 0, piece.length);
    copy.set(piece);
    return copy;
  }

  /** Each is valid until the next is asked for. */
  *lend(made: Uint8Array[]): Generator<Uint8Array, void, undefined> {
    for (const piece of made.splice(0)) {
      yield piece;
      this.free.push(piece);
    }
  }
}
