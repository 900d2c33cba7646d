import {
  type ByteRange,
  type FileKey,
  formatFileName,
  type ListRange,
  type NewStoreFile,
  type Store,
  type StoreBody,
  type StoredManifest,
  type StoreFile,
  type StoreRoot,
} from '../../src/backup/index.js';
import { readInto } from '../../src/backup/store.js';
import { SluiceError } from '../../src/errors.js';

/** What goes wrong: each a chance between 0 and 1 for each request. */
export interface Faults {
  /** It fails, and nothing is done. */
  before: number;
  /** It is done, and seems to fail. */
  after: number;
  /** It takes some milliseconds. */
  slow: number;
  /** A listing lacks what was written last. */
  stale: number;
}

export const NO_FAULTS: Faults = { before: 0, after: 0, slow: 0, stale: 0 };

/** Names that were written last are what a stale listing lacks. */
const RECENT_FILES = 4;
const SLOW_MS = 6;

/**
 * A process's way to a store: requests fail at random, before or after they are carried out, wait while the process is
 * paused, and never end once it is killed.
 */
export class UnreliableRoot implements StoreRoot {
  faults: Faults = NO_FAULTS;
  private killed = false;
  private paused: { readonly promise: Promise<void>; readonly resume: () => void } | undefined;

  constructor(
    private readonly inner: StoreRoot,
    private readonly random: () => number,
    private readonly name: string,
    /** Takes what changed the store. */
    private readonly history: string[],
  ) {}

  get url(): string {
    return this.inner.url;
  }

  kill(): void {
    this.killed = true;
    this.resume();
  }

  pause(): void {
    if (this.paused !== undefined) return;
    let resume = (): void => undefined;
    const promise = new Promise<void>((resolve) => {
      resume = resolve;
    });
    this.paused = { promise, resume };
  }

  resume(): void {
    this.paused?.resume();
    this.paused = undefined;
  }

  database(name: string): Store {
    return new UnreliableStore(this.inner.database(name), this);
  }

  databaseNames(limit: number): Promise<string[]> {
    return this.inner.databaseNames(limit);
  }

  warning(): SluiceError | undefined {
    return this.inner.warning();
  }

  close(): void {
    this.inner.close();
  }

  happens(chance: number): boolean {
    return chance > 0 && this.random() < chance;
  }

  note(what: string): void {
    this.history.push(`${this.name} ${what}`);
  }

  /** Before each request, between its parts, and behind it. */
  async step(): Promise<void> {
    if (this.happens(this.faults.slow)) await new Promise((done) => setTimeout(done, this.random() * SLOW_MS));
    await this.paused?.promise;
    if (this.killed) await new Promise(() => undefined);
  }

  async request<T>(what: string, action: () => Promise<T>): Promise<T> {
    await this.step();
    if (this.happens(this.faults.before)) throw new SluiceError('STORE_FAILED', `made up, before: ${what}`);
    const result = await action();
    await this.step();
    if (this.happens(this.faults.after)) throw new SluiceError('STORE_FAILED', `made up, after: ${what}`);
    return result;
  }
}

class UnreliableStore implements Store {
  private recent: string[] = [];

  constructor(
    private readonly inner: Store,
    private readonly root: UnreliableRoot,
  ) {}

  get url(): string {
    return this.inner.url;
  }

  async *list(range: ListRange): AsyncGenerator<StoreFile, void, undefined> {
    const files = await this.root.request('list', async () => {
      const found: StoreFile[] = [];
      for await (const file of this.inner.list(range)) found.push(file);
      return this.withoutRecent(found);
    });
    yield* files;
  }

  listAll(): Promise<StoreFile[]> {
    return this.root.request('list all', async () => this.withoutRecent(await this.inner.listAll()));
  }

  async put(file: NewStoreFile, body: StoreBody): Promise<void> {
    const what = `put ${keyOf(file)}`;
    const { root } = this;
    async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const piece of body as AsyncIterable<Uint8Array>) {
        await root.step();
        yield piece;
      }
      await root.step();
    }
    const streamed = body instanceof Uint8Array || 'path' in body ? body : pieces();
    await root.request(what, async () => {
      await this.inner.put(file, streamed);
      root.note(what);
      this.recent = [...this.recent, keyOf(file)].slice(-RECENT_FILES);
    });
  }

  read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number> {
    return readInto(this.get(file, { offsetBytes, lengthBytes: target.length }), target);
  }

  async *get(file: FileKey, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    await this.root.step();
    if (this.root.happens(this.root.faults.before)) throw new SluiceError('STORE_FAILED', 'made up: get');
    for await (const piece of this.inner.get(file, range)) yield piece;
  }

  delete(files: readonly FileKey[]): Promise<void> {
    const what = `delete ${files.map(keyOf).join(' ')}`;
    return this.root.request(what, async () => {
      await this.inner.delete(files);
      this.root.note(what);
    });
  }

  setAside(file: FileKey): Promise<void> {
    const what = `set ${keyOf(file)} aside`;
    return this.root.request(what, async () => {
      await this.inner.setAside(file);
      this.root.note(what);
    });
  }

  readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    return this.root.request('read manifest', () => this.inner.readManifest(known));
  }

  writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    return this.root.request('write manifest', async () => {
      const tag = await this.inner.writeManifest(bytes, previous);
      this.root.note(`manifest ${tag}: ${Buffer.from(bytes).toString('utf8').replaceAll('\n', '').slice(0, 3000)}`);
      return tag;
    });
  }

  private withoutRecent(files: StoreFile[]): StoreFile[] {
    if (!this.root.happens(this.root.faults.stale)) return files;
    return files.filter((file) => !this.recent.includes(keyOf(file)));
  }
}

function keyOf(file: FileKey): string {
  return `${file.level}/${formatFileName(file).replaceAll(/0{8,}/g, '')}`;
}
