import { readAll, type Store, type StoreFile } from './store.js';

/** Files up to this are read whole, before their turn; larger ones piece by piece when their turn comes. */
const SMALL_FILE_BYTES = 256 * 1024;
/** Small files being read at once: a bucket answers each in tens of milliseconds, a chain may have thousands. */
const READ_AHEAD_FILES = 16;

/** Reads files of which the order is known, small ones ahead: at most 16 of 256 KiB are held. What fails, fails when its turn comes. */
export class VerifyReader {
  private readonly ahead = new Map<StoreFile, Promise<Uint8Array>>();
  private started = 0;

  constructor(
    private readonly store: Store,
    private readonly files: readonly StoreFile[],
  ) {}

  /** The bytes of the file at a place in the order; places ascend. */
  read(index: number): AsyncIterable<Uint8Array> {
    const { files, ahead } = this;
    const end = Math.min(files.length, index + READ_AHEAD_FILES);
    for (this.started = Math.max(this.started, index); this.started < end; this.started++) {
      const next = files[this.started]!;
      if (next.sizeBytes > SMALL_FILE_BYTES) continue;
      const bytes = readAll(this.store.get(next), 2 * SMALL_FILE_BYTES);
      bytes.catch(() => undefined); // the error is met when its turn comes
      ahead.set(next, bytes);
    }
    const file = files[index]!;
    const bytes = ahead.get(file);
    ahead.delete(file);
    return bytes === undefined ? this.store.get(file) : once(bytes);
  }
}

async function* once(bytes: Promise<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  yield await bytes;
}
