import { readAll, type Store, type StoreFile } from './store.js';

/** Files up to this are read whole, before their turn; larger ones piece by piece when their turn comes. */
const SMALL_FILE_BYTES = 256 * 1024;
/** Small files being read at once: a bucket answers each in tens of milliseconds, a chain may have thousands. */
const READ_AHEAD_FILES = 16;

/** A file of a plan and its bytes. */
export interface OpenedFile {
  readonly file: StoreFile;
  readonly pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Opens files in order, reading small ones ahead. At most 16 of 256 KiB are held. */
export async function* readInOrder(
  store: Store,
  files: readonly StoreFile[],
): AsyncGenerator<OpenedFile, void, undefined> {
  const ahead = new Map<StoreFile, Promise<Uint8Array>>();
  let started = 0;
  for (const [index, file] of files.entries()) {
    for (started = Math.max(started, index); started < files.length && started < index + READ_AHEAD_FILES; started++) {
      const next = files[started]!;
      if (next.sizeBytes > SMALL_FILE_BYTES) continue;
      const bytes = readAll(store.get(next), 2 * SMALL_FILE_BYTES);
      bytes.catch(() => undefined); // the error is met when its turn comes
      ahead.set(next, bytes);
    }
    const bytes = ahead.get(file);
    ahead.delete(file);
    yield { file, pieces: bytes === undefined ? store.get(file) : [await bytes] };
  }
}
