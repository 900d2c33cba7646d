import * as assert from 'uvu/assert';
import { formatObjectKey } from '../../src/backup/file-names.js';
import type { ByteRange, FileKey, Store } from '../../src/backup/index.js';
import { readAll } from '../../src/backup/store.js';
import { WrappedStore } from '../../src/backup/wrapped-store.js';
import { HEADER_SIZE } from '../../src/ltx/index.js';

/** A store of which something is done with a file just before it is read, or while it is; it notes what was read. */
export class VanishingStore extends WrappedStore {
  /** `<key> <offset>` of each range of which something came. */
  readonly reads: string[] = [];

  constructor(
    inner: Store,
    private readonly before: (file: FileKey) => Promise<void>,
    /** `before` comes when a part of a file was read. */
    private readonly inPart = false,
  ) {
    super(inner);
  }

  override async *get(
    file: FileKey,
    range: ByteRange = { offsetBytes: 0 },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    // A look at what a file follows is not yet its turn.
    if (range.lengthBytes === HEADER_SIZE) return yield* this.inner.get(file, range);
    if (!this.inPart) await this.before(file);
    let at = range.offsetBytes;
    for await (const piece of this.inner.get(file, range)) {
      if (at === range.offsetBytes) this.reads.push(`${formatObjectKey(file)} ${at}`);
      if (!this.inPart) yield piece;
      else yield* this.readHalves(file, piece, at);
      at += piece.length;
    }
  }

  /** No range of a file was read twice. */
  expectReadOnce(): void {
    assert.equal(this.reads, [...new Set(this.reads)]);
  }

  private async *readHalves(file: FileKey, piece: Uint8Array, at: number): AsyncGenerator<Uint8Array, void, undefined> {
    const half = piece.length >> 1;
    yield piece.subarray(0, half);
    await this.before(file);
    yield await readAll(
      this.inner.get(file, { offsetBytes: at + half, lengthBytes: piece.length - half }),
      piece.length,
    );
  }
}
