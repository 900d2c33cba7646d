import { ExclusiveLock } from '../../../src/apply/exclusive-lock.js';
import { LtxFile } from '../../../src/apply/ltx-file.js';
import { DatabaseOperations, type Shared } from '../../../src/apply/operations.js';
import { Turn } from '../../../src/apply/turn.js';
import type { Applier, Looked, LtxLocation } from '../../../src/apply/types.js';

/** What the applier's process does, in this one, on a plain folder that nobody else uses. */
export class DirectApplier implements Applier {
  readonly pid = undefined;
  private readonly databases = new Map<string, { readonly operations: DatabaseOperations; tail: Promise<unknown> }>();
  private readonly shared: Shared;

  constructor(mount: string) {
    const nowMs = (): number => performance.now();
    const exclusive = new ExclusiveLock(nowMs);
    this.shared = { mount, turn: new Turn(), exclusive, checkpointer: undefined, nowMs, log: () => undefined };
  }

  async start(): Promise<void> {}

  open(name: string): Promise<void> {
    return this.inOrder(name, (operations) => operations.open());
  }

  apply(name: string, ltx: LtxLocation): Promise<void> {
    return this.inOrder(name, (operations) => withLtx(ltx, (file) => operations.apply(file)));
  }

  replace(name: string, ltx: LtxLocation): Promise<void> {
    return this.inOrder(name, (operations) => withLtx(ltx, (file) => operations.replace(file)));
  }

  drop(name: string): Promise<void> {
    return this.inOrder(name, (operations) => operations.drop());
  }

  checkpoint(name: string, mode: 'passive' | 'truncate'): Promise<number> {
    return this.inOrder(name, (operations) => operations.checkpoint(mode));
  }

  look(name: string): Promise<Looked> {
    return this.inOrder(name, async (operations) => ({ wal: operations.walIndex() }));
  }

  async stop(): Promise<void> {}

  /** Closes all databases, also those that have to stay open in a process that goes on, and removes them. */
  async discard(): Promise<void> {
    for (const name of this.databases.keys()) await this.drop(name);
    this.databases.clear();
  }

  private inOrder<T>(name: string, work: (operations: DatabaseOperations) => Promise<T>): Promise<T> {
    let database = this.databases.get(name);
    if (database === undefined) {
      const operations = new DatabaseOperations(name, this.shared, () => {
        void this.inOrder(name, async () => operations.runUpkeep()).catch(() => undefined);
      });
      database = { operations, tail: Promise.resolve() };
      this.databases.set(name, database);
    }
    const { operations, tail } = database;
    const done = tail.then(() => work(operations));
    database.tail = done.catch(() => undefined);
    return done;
  }
}

async function withLtx(location: LtxLocation, use: (file: LtxFile) => Promise<void>): Promise<void> {
  const file = new LtxFile(location);
  try {
    await use(file);
  } finally {
    file.close();
  }
}
