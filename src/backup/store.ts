import { SluiceError } from '../errors.js';
import type { FileKey } from './file-names.js';

/** One LTX file that a store holds. */
export interface StoreFile extends FileKey {
  readonly sizeBytes: number;
  /** When it was made, Unix milliseconds, as exact as a listing gives it (a bucket: when it was uploaded). */
  readonly timeMs: number;
}

/** A database's manifest as a store holds it (manifest.ts). */
export interface StoredManifest {
  readonly bytes: Uint8Array;
  /** Names this version; what it looks like is the store's own affair. */
  readonly tag: string;
}

/** A manifest is small: what is larger is not one. */
export const MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024;

/** A file to publish. */
export interface NewStoreFile extends FileKey {
  /** The LTX header's timestamp, Unix milliseconds. */
  readonly timestampMs: number;
  /** An upper estimate of a streamed body; a bucket chooses the size of its parts by it. */
  readonly sizeEstimateBytes?: number;
}

/** Bytes in memory, a file on this machine, or pieces that are read once, each valid until the next is asked for. */
export type StoreBody = Uint8Array | { readonly path: string } | AsyncIterable<Uint8Array>;

/** A part of a file. */
export interface ByteRange {
  readonly offsetBytes: number;
  /** Up to the end if left out. */
  readonly lengthBytes?: number;
}

/** Which files to list: those of all levels from the first to the last. */
export interface ListRange {
  readonly firstLevel: number;
  readonly lastLevel: number;
  /** Of the first level, only those with a larger min TXID. */
  readonly afterMinTxid?: number;
}

/**
 * Where one database's LTX files are kept, and one manifest. All errors are SluiceErrors: `STORE_NOT_FOUND` (no such file,
 * bucket or folder), `STORE_EXISTS`, `STORE_CONFLICT`, `STORE_ACCESS` (credentials or rights), `STORE_FULL`, `STORE_KEY`
 * (encrypted, and not with this key; or not encrypted, and a key is given), `STORE_FAILED` (anything else; try again). Of an
 * encrypted file that is damaged `LTX_*`.
 */
export interface Store {
  /** The database's own address, which `restore` takes. Without credentials. */
  readonly url: string;
  /** Files by level, min and max TXID. Bounded memory, however many there are. */
  list(range: ListRange): AsyncIterable<StoreFile>;
  /** All files of all levels, by level, min and max TXID, in memory. */
  listAll(): Promise<StoreFile[]>;
  /**
   * Publishes a file: it is there whole or not at all, and durable when this resolves. Throws `STORE_EXISTS` if another one
   * has its name, which stays as it is.
   */
  put(file: NewStoreFile, body: StoreBody): Promise<void>;
  /** The file's bytes in pieces of at most 1 MiB; each piece is the caller's to keep. */
  get(file: FileKey, range?: ByteRange): AsyncIterable<Uint8Array>;
  /** Fills `target` with the file's bytes from there on; returns how many there were: fewer only at the file's end. */
  read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number>;
  /** No error for those that are not there. */
  delete(files: readonly FileKey[]): Promise<void>;
  /** Takes a file out of the chain, to a name that no restore looks at; nothing is lost. No error if it is not there. */
  setAside(file: FileKey): Promise<void>;
  /** Undefined if there is none; `same` if its tag is `known`. */
  readManifest(known?: string): Promise<StoredManifest | 'same' | undefined>;
  /**
   * Puts a manifest in the place of the version `previous`, or, without one, where there is none; returns its tag.
   * Throws `STORE_CONFLICT` if another version is there. Of two that try at a time only one succeeds.
   */
  writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string>;
}

/** A place that holds the files of several databases, each under its own name: `<url>/<database name>/...`. */
export interface StoreRoot {
  readonly url: string;
  /** `name` as in ReplicatedDatabase; the empty string means the root's own address is one database's. */
  database(name: string): Store;
  /**
   * Names of databases under the root that seem to have a backup, sorted, at most `limit`. For messages; with `known`, those
   * that were found before and are not looked into again, it looks for all of them.
   */
  databaseNames(limit: number, known?: ReadonlySet<string>): Promise<string[]>;
  /**
   * What is to be known of the place though it works, as far as it was found out: `STORE_UNFENCED`, where of two writers at a
   * time both may succeed.
   */
  warning(): SluiceError | undefined;
  close(): void;
}

/** The largest piece that `get` gives. */
export const STORE_CHUNK_BYTES = 1024 * 1024;

/** A place where a look before a write has to do, between which and the write another writer may come. */
export function unfencedError(url: string, why: string): SluiceError {
  return new SluiceError(
    'STORE_UNFENCED',
    `${url}: ${why}: two primaries that write there at the same moment are not told apart for certain`,
    'Make sure that only one primary writes there, or use another place',
  );
}

/** All bytes of a file, or of a range, in memory. For small ones: throws `STORE_FAILED` over `limitBytes`. */
export async function readAll(pieces: AsyncIterable<Uint8Array>, limitBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const piece of pieces) {
    parts.push(piece);
    sizeBytes += piece.length;
    if (sizeBytes > limitBytes) throw new SluiceError('STORE_FAILED', `the store sent more than ${limitBytes} bytes`);
  }
  if (parts.length === 1) return parts[0]!;
  const all = new Uint8Array(sizeBytes);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

/** `Store.read` by way of `get`, with a range of the target's length. */
export async function readInto(pieces: AsyncIterable<Uint8Array>, target: Uint8Array): Promise<number> {
  let filled = 0;
  for await (const piece of pieces) {
    if (piece.length > target.length - filled) {
      throw new SluiceError('STORE_FAILED', `the store sent more than ${target.length} bytes`);
    }
    target.set(piece, filled);
    filled += piece.length;
  }
  return filled;
}
