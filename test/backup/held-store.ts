import type { ListRange, NewStoreFile, Store, StoreBody, StoreRoot } from '../../src/backup/index.js';
import type { SluiceError } from '../../src/errors.js';

/** A store in which chosen requests wait until `release`. */
export class HeldRoot implements StoreRoot {
  /** Requests that wait now. */
  waiting = 0;
  private let!: () => void;
  private readonly released = new Promise<void>((resolve) => {
    this.let = resolve;
  });

  constructor(
    private readonly inner: StoreRoot,
    private readonly holds: {
      put?(database: string, file: NewStoreFile): boolean;
      list?(database: string, range: ListRange): boolean;
    },
  ) {}

  get url(): string {
    return this.inner.url;
  }

  release(): void {
    this.let();
  }

  database(name: string): Store {
    const store = this.inner.database(name);
    const { holds } = this;
    const hold = (held: boolean | undefined): Promise<void> => this.hold(held === true);
    return {
      url: store.url,
      async *list(range) {
        await hold(holds.list?.(name, range));
        yield* store.list(range);
      },
      async put(file: NewStoreFile, body: StoreBody) {
        await hold(holds.put?.(name, file));
        await store.put(file, body);
      },
      listAll: () => store.listAll(),
      get: (file, range) => store.get(file, range),
      read: (file, offsetBytes, target) => store.read(file, offsetBytes, target),
      delete: (files) => store.delete(files),
      setAside: (file) => store.setAside(file),
      readManifest: (known) => store.readManifest(known),
      writeManifest: (bytes, previous) => store.writeManifest(bytes, previous),
    };
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

  private async hold(held: boolean): Promise<void> {
    if (!held) return;
    this.waiting++;
    await this.released;
    this.waiting--;
  }
}
