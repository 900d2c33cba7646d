import { SluiceError } from '../errors.js';
import { isEncrypted, MAGIC_BYTES } from './encrypted-file.js';
import { describeFile, type FileKey } from './file-names.js';
import type { ByteRange, StoredManifest } from './store.js';
import { WrappedStore } from './wrapped-store.js';

/** A store that is read without a key: what turns out to be encrypted is a clear error, `STORE_KEY`. */
export class PlainStore extends WrappedStore {
  override async *get(file: FileKey, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    const pieces = this.inner.get(file, range);
    if ((range?.offsetBytes ?? 0) > 0) return yield* pieces;
    // The start, which may come in pieces that are too small to tell.
    let start: Uint8Array | undefined = new Uint8Array(0);
    for await (const piece of pieces) {
      if (start === undefined) {
        yield piece;
        continue;
      }
      start = start.length === 0 ? piece : Buffer.concat([start, piece]);
      if (start.length < MAGIC_BYTES) continue;
      if (isEncrypted(start)) throw this.noKey(describeFile(file));
      yield start;
      start = undefined;
    }
    if (start !== undefined && start.length > 0) yield start;
  }

  override async read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number> {
    const filled = await this.inner.read(file, offsetBytes, target);
    if (offsetBytes === 0 && isEncrypted(target.subarray(0, filled))) throw this.noKey(describeFile(file));
    return filled;
  }

  override async readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    const found = await this.inner.readManifest(known);
    if (found !== undefined && found !== 'same' && isEncrypted(found.bytes)) throw this.noKey('manifest');
    return found;
  }

  private noKey(what: string): SluiceError {
    return new SluiceError(
      'STORE_KEY',
      `the backup ${this.url} is encrypted (${what})`,
      'Name its key: --key FILE, or in sluice.yml backup: encryption: key:',
    );
  }
}
