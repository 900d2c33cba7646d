import type { SluiceError } from '../errors.js';
import type { FileKey } from './file-names.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  readInto,
  type Store,
  type StoreBody,
  type StoredManifest,
  type StoreFile,
  type StoreRoot,
} from './store.js';

/** A store before another one, to which it passes everything on as it is. For those that change some of it. */
export class WrappedStore implements Store {
  constructor(protected readonly inner: Store) {}

  get url(): string {
    return this.inner.url;
  }

  list(range: ListRange): AsyncIterable<StoreFile> {
    return this.inner.list(range);
  }

  listAll(): Promise<StoreFile[]> {
    return this.inner.listAll();
  }

  put(file: NewStoreFile, body: StoreBody): Promise<void> {
    return this.inner.put(file, body);
  }

  get(file: FileKey, range?: ByteRange): AsyncIterable<Uint8Array> {
    return this.inner.get(file, range);
  }

  /** By way of `get`, so that what changes that changes this. */
  read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number> {
    return readInto(this.get(file, { offsetBytes, lengthBytes: target.length }), target);
  }

  delete(files: readonly FileKey[]): Promise<void> {
    return this.inner.delete(files);
  }

  setAside(file: FileKey): Promise<void> {
    return this.inner.setAside(file);
  }

  readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    return this.inner.readManifest(known);
  }

  writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    return this.inner.writeManifest(bytes, previous);
  }
}

/** The same places, each database's store wrapped. */
export class WrappedRoot implements StoreRoot {
  constructor(
    private readonly inner: StoreRoot,
    private readonly wrap: (store: Store) => Store,
  ) {}

  get url(): string {
    return this.inner.url;
  }

  database(name: string): Store {
    return this.wrap(this.inner.database(name));
  }

  databaseNames(limit: number, known?: ReadonlySet<string>): Promise<string[]> {
    return this.inner.databaseNames(limit, known);
  }

  warning(): SluiceError | undefined {
    return this.inner.warning();
  }

  close(): void {
    this.inner.close();
  }
}
