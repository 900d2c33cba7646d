import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { type ClusterNode, waitFor, waitForReplica } from '../../support/cluster.js';
import { Application, type ApplicationOptions } from './application.js';
import { transact } from './content.js';
import { WORKLOADS } from './workloads.js';

const REPLICA_LIMIT_MS = 90_000;

/** A primary on which applications work, and the replica whose I/O is recorded. */
export interface ReplicaStage {
  readonly primary: ClusterNode;
  readonly replica: ClusterNode;
  readonly trace: string;
  readonly times: number;
}

export interface ReplicaWorkload {
  /** The databases' names begin with it: letters only. */
  readonly name: string;
  readonly run: (on: ReplicaStage) => Promise<void>;
}

const wal = { journal: 'wal', synchronous: 'NORMAL', promise: 'checkpoint', autoCheckpoint: 12 } as const;
const delete_ = { journal: 'delete', synchronous: 'FULL', promise: 'commit' } as const;
/** The replica checkpoints by itself at 1,000 frames. */
const huge = { pageSize: 512, big: 4, cacheSize: 12 } as const;

/** What the primary's own recording has, and what only a replica does. */
export const REPLICA_WORKLOADS: readonly ReplicaWorkload[] = [
  ...WORKLOADS.filter(({ name }) => !['killed', 'stopped'].includes(name)).map(({ name, run }) => ({
    name,
    run: ({ primary, trace, times }: ReplicaStage) => run({ node: primary, trace, times }),
  })),
  {
    name: 'huge',
    async run({ primary, replica, trace, times }) {
      for (const options of [
        { ...wal, ...huge, autoCheckpoint: 400 },
        { ...delete_, ...huge },
      ]) {
        const app = new Application(primary, trace, `huge${options.journal}.db`, options).make();
        for (let i = 0; i < times; i++) {
          app.commit(4);
          await same(primary, replica, app.name);
          app.commit(2);
        }
        app.close();
      }
    },
  },
  {
    name: 'behind',
    async run({ primary, replica, trace, times }) {
      const apps = modes(primary, trace, 'behind');
      for (const app of apps) app.make().commit(2);
      for (let i = 0; i < times; i++) {
        const readers: Sqlite.Database[] = [];
        for (const app of apps) {
          await same(primary, replica, app.name);
          readers.push(await readerOf(replica, app.name));
          app.commit(3);
        }
        for (const app of apps) await same(primary, replica, app.name);
        // With a reader that stays the WAL is not checkpointed at the end.
        await replica.stop();
        for (const reader of readers) closeQuietly(reader);
        for (const app of apps) app.commit(3);
        await replica.start();
        for (const app of apps) app.commit(2);
      }
      for (const app of apps) app.close();
    },
  },
  {
    name: 'killed',
    async run({ primary, replica, trace, times }) {
      const apps = modes(primary, trace, 'killed');
      for (const app of apps) app.make().commit(2);
      for (let i = 0; i < times; i++) {
        for (const app of apps) app.commit(2);
        const applier = replica.applierPid();
        if (applier !== undefined) process.kill(applier, 'SIGKILL');
        for (const app of apps) app.commit(2);
        for (const app of apps) await same(primary, replica, app.name);
        for (const app of apps) app.commit(1);
        await replica.killNode();
        for (const app of apps) app.commit(1);
        await replica.killAll();
        await replica.start();
      }
      for (const app of apps) app.close();
    },
  },
  {
    name: 'copied',
    async run({ primary, replica, trace, times }) {
      for (const options of [wal, delete_]) {
        const app = new Application(primary, trace, `copied${options.journal}.db`, options).make().commit(4);
        for (let i = 0; i < times; i++) {
          await same(primary, replica, app.name);
          app.close();
          copyIn(app, join(primary.dir, 'copied'), i % 2 === 0 ? 1024 : 4096);
          app.open().commit(3);
        }
        app.close();
      }
    },
  },
  {
    name: 'lost',
    async run({ primary, replica, trace, times }) {
      const apps = modes(primary, trace, 'lost');
      for (let i = 0; i < times; i++) {
        for (const app of apps) {
          app.make().commit(4);
          await same(primary, replica, app.name);
          app.close();
        }
        await primary.stop();
        for (const app of apps) {
          app.mark('dropping');
          remove(primary, app.name);
          app.mark('dropped');
        }
        await primary.start();
        await waitFor(
          async () => (await Promise.all(apps.map(({ name }) => replica.position(name)))).every((at) => !at),
          REPLICA_LIMIT_MS,
          'the replica to set aside what the primary has not',
        );
      }
    },
  },
  {
    name: 'other',
    async run({ primary, replica, trace, times }) {
      const apps = modes(primary, trace, 'other');
      for (let i = 0; i < times; i++) {
        for (const app of apps) app.make().commit(3).close();
        await primary.stop();
        const kept = join(primary.dir, 'kept');
        copyDatabases(primary.data, kept, apps);
        await primary.start();
        for (const app of apps) {
          app.open().commit(3);
          await same(primary, replica, app.name);
          app.close();
        }
        // The primary goes back to what it was, and then another way.
        await primary.stop();
        for (const app of apps) remove(primary, app.name);
        copyDatabases(kept, primary.data, apps);
        rmSync(kept, { recursive: true });
        await primary.start();
        for (const app of apps) {
          app.open().drop();
          app.make().commit(4);
          await same(primary, replica, app.name);
          app.drop();
        }
      }
    },
  },
];

/** One database in WAL mode, one not. */
const modes = (node: ClusterNode, trace: string, name: string): Application[] =>
  ([wal, delete_] satisfies ApplicationOptions[]).map(
    (options) => new Application(node, trace, `${name}${options.journal}.db`, options),
  );

const same = (primary: ClusterNode, replica: ClusterNode, db: string): Promise<string> =>
  waitForReplica(primary, replica, db, REPLICA_LIMIT_MS);

/** An application on the replica that has read, and stays. */
async function readerOf(replica: ClusterNode, name: string): Promise<Sqlite.Database> {
  const reader = new Sqlite(replica.path(name), { readonly: true, timeout: 20_000 });
  reader.prepare('SELECT count(*) FROM sqlite_schema').get();
  return reader;
}

function closeQuietly(db: Sqlite.Database): void {
  try {
    db.close();
  } catch {
    // its mount is gone
  }
}

/** Another file takes the place of the database, by a rename. Nobody has it open. */
function copyIn(app: Application, folder: string, pageSize: number): void {
  app.generation++;
  app.n = 1;
  mkdirSync(folder, { recursive: true });
  const made = join(folder, app.name);
  const db = new Sqlite(made);
  db.pragma(`page_size = ${pageSize}`);
  db.exec('BEGIN');
  transact(db, app.name, app.generation, 1, 0);
  db.exec('COMMIT');
  db.close();
  app.mark('made');
  app.mark('begun');
  const incoming = `${app.path}.incoming`;
  cpSync(made, incoming);
  renameSync(incoming, app.path);
  rmSync(folder, { recursive: true });
}

function remove(node: ClusterNode, db: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(node.backing(db + suffix), { force: true });
  rmSync(join(node.data, 'meta', db), { recursive: true });
}

/** Copies databases, with what is known of them, from one data folder to another. Their node is stopped. */
function copyDatabases(from: string, to: string, apps: readonly Application[]): void {
  for (const { name } of apps) {
    for (const part of [join('files', name), join('meta', name)]) {
      cpSync(join(from, part), join(to, part), { recursive: true, preserveTimestamps: true });
    }
  }
}
