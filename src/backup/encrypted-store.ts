import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SluiceError } from '../errors.js';
import { LtxError } from '../ltx/index.js';
import {
  type DecryptFrom,
  decryptBytes,
  ENCRYPTED_HEADER_BYTES,
  encryptBytes,
  encryptedSize,
  FileDecryptor,
  FileEncryptor,
  plainSize,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
} from './encrypted-file.js';
import { describeFile, type FileKey, formatObjectKey } from './file-names.js';
import type { BackupKey } from './key-file.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  readAll,
  STORE_CHUNK_BYTES,
  type Store,
  type StoreBody,
  type StoredManifest,
  type StoreFile,
} from './store.js';
import { WrappedStore } from './wrapped-store.js';

/** Headers that are remembered, so that further ranges of a file cost one request each. */
const HEADERS_LIMIT = 256;
const MANIFEST = 'manifest';

/**
 * A store whose files and manifest are encrypted before they leave this machine; see encrypted-file.ts. Names and times are
 * as without it, and sizes and ranges are those of the plain files. Nothing that is not encrypted is read: `STORE_KEY`.
 */
export class EncryptedStore extends WrappedStore {
  private readonly headers = new Map<string, Uint8Array>();
  /** Being read: several ranges of a file may begin at once. */
  private readonly headersToCome = new Map<string, Promise<Uint8Array>>();

  constructor(
    inner: Store,
    private readonly key: BackupKey,
  ) {
    super(inner);
  }

  override async *list(range: ListRange): AsyncGenerator<StoreFile, void, undefined> {
    for await (const file of this.inner.list(range)) yield withPlainSize(file);
  }

  override async listAll(): Promise<StoreFile[]> {
    return (await this.inner.listAll()).map(withPlainSize);
  }

  override async put(file: NewStoreFile, body: StoreBody): Promise<void> {
    const place = formatObjectKey(file);
    this.headers.delete(place);
    if (body instanceof Uint8Array) return this.inner.put(file, encryptBytes(this.key, place, body));
    const isPath = 'path' in body;
    const estimate = isPath ? (await stat(body.path)).size : file.sizeEstimateBytes;
    await this.inner.put(
      { ...file, ...(estimate !== undefined && { sizeEstimateBytes: encryptedSize(estimate) }) },
      encryptPieces(new FileEncryptor(this.key, place), isPath ? readPath(body.path) : body),
    );
  }

  override async *get(
    file: FileKey,
    range: ByteRange = { offsetBytes: 0 },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (range.lengthBytes === 0) return;
    const first = Math.floor(range.offsetBytes / SEGMENT_BYTES);
    const known = this.headers.get(formatObjectKey(file));
    let began = false;
    try {
      for await (const piece of this.readSegments(file, range, first)) {
        began = true;
        yield piece;
      }
    } catch (error) {
      // A file that took the place of one that was deleted has another header.
      const mayBeOld = error instanceof LtxError && known !== undefined && first > 0 && !began;
      if (!mayBeOld || Buffer.compare(await this.readHeader(file), known) === 0) throw this.explain(error, file);
      yield* this.readSegments(file, range, first);
    }
  }

  override async readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    const found = await this.inner.readManifest(known);
    if (found === undefined || found === 'same') return found;
    try {
      return { bytes: decryptBytes(this.key, MANIFEST, found.bytes), tag: found.tag };
    } catch (error) {
      if (!(error instanceof LtxError)) throw this.explain(error, undefined);
      // A damaged one: it is told as what cannot be understood, so that a writer, who knows its tag, can replace it.
      return { bytes: new Uint8Array(0), tag: found.tag };
    }
  }

  override writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    return this.inner.writeManifest(encryptBytes(this.key, MANIFEST, bytes), previous);
  }

  /** Reads the segments that a range lies in, and gives of them what was asked for. */
  private async *readSegments(
    file: FileKey,
    range: ByteRange,
    first: number,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { offsetBytes, lengthBytes } = range;
    const end = lengthBytes === undefined ? undefined : offsetBytes + lengthBytes;
    const window = new Window(first * SEGMENT_BYTES, offsetBytes, end);
    const from = first === 0 ? undefined : { header: await this.header(file), segment: first };
    const decryptor = new FileDecryptor(this.key, formatObjectKey(file), from);
    const wanted = sealedRange(first, end);
    let readBytes = 0;
    for await (const piece of this.inner.get(file, wanted)) {
      readBytes += piece.length;
      const plain = decryptor.push(piece);
      if (decryptor.header !== undefined) this.remember(file, decryptor.header);
      yield* window.cut(plain);
    }
    if (readBytes === 0 && from !== undefined) return this.checkEnd(file, from);
    yield* window.cut(decryptor.end(wanted?.lengthBytes === undefined || readBytes < wanted.lengthBytes));
  }

  /** Nothing is there: so what comes before has to be the end, and not be cut. */
  private async checkEnd(file: FileKey, from: DecryptFrom): Promise<void> {
    if (await this.endsWith(file, { ...from, segment: from.segment - 1 })) return;
    // The range begins far behind the end: only a listing tells where that is.
    const { level, minTxid } = file;
    for await (const found of this.inner.list({ firstLevel: level, lastLevel: level, afterMinTxid: minTxid - 1 })) {
      if (found.minTxid > minTxid) break;
      if (found.maxTxid !== file.maxTxid) continue;
      const segments = Math.ceil(plainSize(found.sizeBytes) / SEGMENT_BYTES);
      if (await this.endsWith(file, { ...from, segment: Math.max(0, segments - 1) })) return;
    }
    new FileDecryptor(this.key, formatObjectKey(file), from).end(true);
  }

  /** Whether a segment is there; throws if it is not the last. */
  private async endsWith(file: FileKey, from: DecryptFrom): Promise<boolean> {
    const decryptor = new FileDecryptor(this.key, formatObjectKey(file), from);
    let readBytes = 0;
    for await (const piece of this.inner.get(file, sealedSegment(from.segment))) {
      readBytes += piece.length;
      decryptor.push(piece);
    }
    if (readBytes > 0) decryptor.end(true);
    return readBytes > 0;
  }

  private async header(file: FileKey): Promise<Uint8Array> {
    const place = formatObjectKey(file);
    const known = this.headers.get(place) ?? this.headersToCome.get(place);
    if (known !== undefined) return known;
    const header = this.readHeader(file).finally(() => this.headersToCome.delete(place));
    this.headersToCome.set(place, header);
    return header;
  }

  private async readHeader(file: FileKey): Promise<Uint8Array> {
    const range = { offsetBytes: 0, lengthBytes: ENCRYPTED_HEADER_BYTES };
    const header = await readAll(this.inner.get(file, range), ENCRYPTED_HEADER_BYTES);
    if (header.length === ENCRYPTED_HEADER_BYTES) this.remember(file, header);
    else new FileDecryptor(this.key, formatObjectKey(file)).end(true);
    return header;
  }

  private remember(file: FileKey, header: Uint8Array): void {
    const place = formatObjectKey(file);
    if (this.headers.get(place) === header) return;
    this.headers.delete(place);
    this.headers.set(place, header);
    for (const oldest of this.headers.keys()) {
      if (this.headers.size <= HEADERS_LIMIT) break;
      this.headers.delete(oldest);
    }
  }

  /** Says of which file it is that its key does not fit. */
  private explain(error: unknown, file: FileKey | undefined): unknown {
    if (!(error instanceof SluiceError) || error.code !== 'STORE_KEY') return error;
    const what = file === undefined ? `the manifest of ${this.url}` : `${this.url} (${describeFile(file)})`;
    return new SluiceError('STORE_KEY', `cannot read ${what}: ${error.message}`, error.hint, { cause: error });
  }
}

/** Where the segments from `first` up to plain byte `end` are. Undefined for the whole file. */
function sealedRange(first: number, end: number | undefined): ByteRange | undefined {
  const offsetBytes = first === 0 ? 0 : ENCRYPTED_HEADER_BYTES + first * SEALED_SEGMENT_BYTES;
  if (end === undefined) return first === 0 ? undefined : { offsetBytes };
  const endBytes = ENCRYPTED_HEADER_BYTES + Math.ceil(end / SEGMENT_BYTES) * SEALED_SEGMENT_BYTES;
  return { offsetBytes, lengthBytes: endBytes - offsetBytes };
}

function sealedSegment(segment: number): ByteRange {
  return { offsetBytes: ENCRYPTED_HEADER_BYTES + segment * SEALED_SEGMENT_BYTES, lengthBytes: SEALED_SEGMENT_BYTES };
}

/** Cuts what was asked for out of what goes by. */
class Window {
  constructor(
    private at: number,
    private readonly start: number,
    private readonly end: number = Number.POSITIVE_INFINITY,
  ) {}

  *cut(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
    const from = Math.max(0, this.start - this.at);
    const to = Math.min(piece.length, this.end - this.at);
    this.at += piece.length;
    for (let at = from; at < to; at += STORE_CHUNK_BYTES)
      yield piece.subarray(at, Math.min(to, at + STORE_CHUNK_BYTES));
  }
}

function withPlainSize(file: StoreFile): StoreFile {
  return { ...file, sizeBytes: plainSize(file.sizeBytes) };
}

/** Opens the file when it is its turn. */
async function* readPath(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  yield* createReadStream(path, { highWaterMark: STORE_CHUNK_BYTES });
}

async function* encryptPieces(
  encryptor: FileEncryptor,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield encryptor.header;
  for await (const piece of pieces) {
    const sealed = encryptor.push(piece);
    if (sealed.length > 0) yield sealed;
  }
  yield encryptor.end();
}
