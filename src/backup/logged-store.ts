import { open } from 'node:fs/promises';
import type { LoggedTransaction } from '../database/types.js';
import { errorCode, SluiceError } from '../errors.js';
import { compareFiles, type FileKey, formatObjectKey, LEVEL_INCREMENT } from './file-names.js';
import { type ByteRange, type ListRange, STORE_CHUNK_BYTES, type Store, type StoreFile } from './store.js';
import { WrappedStore } from './wrapped-store.js';

/**
 * A store, and beside its files those transactions of a node's log that it does not have by themselves, as files of level 0.
 * So a state within a file can be restored, or one that was not stored yet. Whether they fit is for who reads them to check,
 * as with all files.
 */
export class LoggedStore extends WrappedStore {
  private constructor(
    inner: Store,
    private readonly logged: ReadonlyMap<string, LoggedTransaction>,
  ) {
    super(inner);
  }

  static async open(inner: Store, log: readonly LoggedTransaction[]): Promise<LoggedStore> {
    const stored = new Set((await inner.listAll()).map(formatObjectKey));
    const logged = new Map<string, LoggedTransaction>();
    for (const file of log) {
      const key = formatObjectKey(keyOf(file));
      if (!stored.has(key)) logged.set(key, file);
    }
    return new LoggedStore(inner, logged);
  }

  override async *list(range: ListRange): AsyncGenerator<StoreFile, void, undefined> {
    const { firstLevel, lastLevel, afterMinTxid = 0 } = range;
    for (const file of await this.listAll()) {
      if (file.level < firstLevel || file.level > lastLevel) continue;
      if (file.level > firstLevel || file.minTxid > afterMinTxid) yield file;
    }
  }

  override async listAll(): Promise<StoreFile[]> {
    const logged = [...this.logged.values()].map((file) => ({
      ...keyOf(file),
      sizeBytes: file.size,
      timeMs: Date.now(),
    }));
    return [...(await this.inner.listAll()), ...logged].sort(compareFiles);
  }

  override async *get(file: FileKey, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    const logged = this.logged.get(formatObjectKey(file));
    if (logged === undefined) return yield* this.inner.get(file, range);
    const start = range?.offsetBytes ?? 0;
    const end = Math.min(logged.size, start + (range?.lengthBytes ?? logged.size));
    const handle = await open(logged.path, 'r').catch((error: unknown) => {
      throw readError(error, logged);
    });
    try {
      for (let at = start; at < end; ) {
        const piece = Buffer.allocUnsafeSlow(Math.min(STORE_CHUNK_BYTES, end - at));
        const { bytesRead } = await handle.read(piece, 0, piece.length, logged.offset + at);
        if (bytesRead === 0) return;
        yield piece.subarray(0, bytesRead);
        at += bytesRead;
      }
    } catch (error) {
      throw readError(error, logged);
    } finally {
      await handle.close();
    }
  }
}

function keyOf({ txid }: LoggedTransaction): FileKey {
  return { level: LEVEL_INCREMENT, minTxid: txid, maxTxid: txid };
}

function readError(error: unknown, { path }: LoggedTransaction): SluiceError {
  const code = errorCode(error) === 'ENOENT' ? 'STORE_NOT_FOUND' : 'STORE_FAILED';
  return new SluiceError(code, `cannot read the log ${path}: ${String(error)}`, '', { cause: error });
}
