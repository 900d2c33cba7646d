import { rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import * as assert from 'uvu/assert';
import { openStore, restore } from '../../../src/backup/index.js';
import {
  type ClusterNode,
  contentChecksum,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
  waitUntilSame,
} from '../../support/cluster.js';

const BACKUP_LIMIT_MS = 30_000;
/** For a replica to be back at a primary that began again. */
const PROBLEMS_LIMIT_MS = 30_000;

export type Locks = 'kernel' | 'sluice';

/** A primary, a replica that follows it, and a backup in a folder: where everything that is committed must arrive. */
export class Trio {
  private restores = 0;

  private constructor(
    readonly primary: ClusterNode,
    readonly replica: ClusterNode,
    /** Address of the backup. */
    readonly store: string,
    /** Outside the mounts, for files of the tests. */
    readonly outside: string,
  ) {}

  static async start(locks: Locks = 'kernel'): Promise<Trio> {
    const outside = freshFolder('outside');
    const store = `file://${join(outside, 'store')}`;
    const primary = await startPrimary({ backup: store, mount: { path: './mnt', locks } });
    const replica = await startReplica(primary, { mount: { path: './mnt', locks } });
    return new Trio(primary, replica, store, outside);
  }

  /** Ends all that was started; neither node may have anything to complain of before, and both must end well. */
  async stop(): Promise<void> {
    for (const node of [this.primary, this.replica]) {
      let problems: readonly unknown[] = [];
      const none = async () => {
        problems = (await node.status()).problems;
        return problems.length === 0;
      };
      await waitFor(none, PROBLEMS_LIMIT_MS, () => `no problems of ${node.mount}: ${JSON.stringify(problems)}`);
    }
    assert.is(await this.replica.stop(), 0, this.replica.log.slice(-4000));
    assert.is(await this.primary.stop(), 0, this.primary.log.slice(-4000));
    await stopAll();
  }

  /** Path on the primary's mount. */
  path(name: string): string {
    return this.primary.path(name);
  }

  /** On the primary's mount, with SQLite's own guards against unusual settings off. */
  open(name: string, options: Sqlite.Options = {}): Sqlite.Database {
    return new Sqlite(this.path(name), { timeout: 10_000, ...options }).unsafeMode();
  }

  /** On the replica's mount, as its applications have it. */
  openReplica(name: string): Sqlite.Database {
    return new Sqlite(this.replica.path(name), { readonly: true, timeout: 10_000 });
  }

  /** Waits until the primary's position, and the replica's, is that of what the file holds. Returns the position. */
  same(name: string): Promise<string> {
    return waitUntilSame(this.primary, this.replica, name);
  }

  /** The same of each, and a restored backup too has every page of it, byte for byte. Returns the last one's position. */
  async proven(...names: string[]): Promise<string> {
    const positions = await Promise.all(names.map((name) => this.same(name)));
    await waitFor(
      async () => {
        const [store] = (await this.primary.status()).backups;
        const txids = new Map(store?.databases.map(({ name, txid }) => [name, txid]));
        return names.every((name, i) => txids.get(name) === positions[i]!.split('/')[0]);
      },
      BACKUP_LIMIT_MS,
      () => `a backup of ${names.join()} up to ${positions.join()}\n${this.primary.log.slice(-4000)}`,
    );
    const root = openStore(this.store, {});
    try {
      for (const [i, name] of names.entries()) {
        const output = join(this.outside, `restored-${++this.restores}.db`);
        await restore({ store: root.database(name), output });
        assert.is(contentChecksum(output), positions[i]!.split('/')[1], `the restored ${name}`);
        rmSync(output);
      }
    } finally {
      root.close();
    }
    return positions.at(-1)!;
  }

  /** What a query says on the replica. */
  onReplica(name: string, query: string): unknown[] {
    const db = this.openReplica(name);
    try {
      return db.prepare(query).pluck().all();
    } finally {
      db.close();
    }
  }
}

/** Adds rows to table t, which is made if there is none, in one transaction. */
export function fill(db: Sqlite.Database, rows: number, bytes = 500): void {
  db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, p BLOB)');
  const insert = db.prepare('INSERT INTO t (p) VALUES (randomblob(?))');
  db.transaction(() => {
    for (let i = 0; i < rows; i++) insert.run(bytes);
  })();
}
