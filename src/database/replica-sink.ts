import { closeSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Applier } from '../apply/index.js';
import type { Position } from '../ltx/index.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { scanFolder } from './folder-scan.js';
import { writeWhole } from './log-segment.js';
import { checkName } from './names.js';
import { type Recovered, recoverReplica } from './recovery.js';
import { ReplicaDatabase } from './replica-database.js';
import type { SharedState } from './shared.js';
import type { Retention } from './transaction-log.js';
import type { LargeReceiver, ReplicaSink, ReplicatedDatabase } from './types.js';
import type { ToWorker } from './worker-messages.js';

export interface ReplicaSinkOptions {
  readonly folder: DataFolder;
  readonly shared: SharedState;
  readonly applier: Applier;
  readonly send: (message: ToWorker) => void;
  readonly onApplied: (db: ReplicatedDatabase, pages: number, bytes: number) => void;
  readonly warn: (name: string, message: string, error: unknown) => void;
}

/** All databases of a replica, and what a stream does to them. Main thread. */
export class ReplicaDatabases implements ReplicaSink {
  private readonly databases: Database[] = [];
  private readonly byName = new Map<string, ReplicaDatabase>();
  private spooled = 0;

  constructor(private readonly options: ReplicaSinkOptions) {}

  /** Before the mount answers. */
  async recover(): Promise<Recovered[]> {
    const { folder } = this.options;
    const names = new Set([...folder.knownNames(), ...scanFolder(folder.files).databases]);
    const outcomes: Recovered[] = [];
    for (const name of names) {
      const { database } = this.add(name);
      try {
        outcomes.push(await recoverReplica(database));
      } catch (error) {
        database.fail(error, 'RECOVERY_FAILED', 'The others go on; a snapshot from the primary takes its place');
        this.options.warn(name, 'recovery failed', error);
        database.distrust();
      }
    }
    return outcomes;
  }

  /** Once the applier runs: opens all databases and applies what was logged but perhaps not applied. */
  async resume(): Promise<void> {
    await Promise.all(
      [...this.byName.values()].map(async (replica) => {
        try {
          await replica.resume();
        } catch (error) {
          replica.database.fail(error, 'REPLICA_FAILED', 'A snapshot from the primary takes its place');
          replica.database.distrust();
          this.options.warn(replica.database.name, 'it could not be brought to where it was', error);
        }
      }),
    );
  }

  slots(): { name: string; slot: number }[] {
    return this.databases.map(({ name, slot }) => ({ name, slot }));
  }

  *all(): Iterable<Database> {
    for (const database of this.databases) if (database.live) yield database;
  }

  every(): readonly Database[] {
    return this.databases;
  }

  positions(): ReadonlyMap<string, Position> {
    const positions = new Map<string, Position>();
    // One whose files are not known to be what its position says takes part in nothing but a snapshot.
    for (const { name, position, state } of this.all() as Iterable<Database>) {
      positions.set(name, state.untrusted ? { txid: position.txid, checksum: 0n } : position);
    }
    return positions;
  }

  async receive(name: string, ltx: Uint8Array): Promise<Position> {
    return this.ensure(name).receive(ltx);
  }

  receiveLarge(name: string): LargeReceiver {
    const replica = this.ensure(name);
    return this.spool((path) => replica.receiveFile(path));
  }

  receiveSnapshot(name: string, reason: 'new' | 'behind' | 'diverged'): LargeReceiver {
    const replica = this.ensure(name);
    return this.spool((path) => replica.replace(path, reason));
  }

  async drop(name: string, position: Position): Promise<void> {
    await this.byName.get(name)?.drop(position);
  }

  async retain(names: ReadonlySet<string>): Promise<void> {
    for (const { name } of this.all() as Iterable<Database>) {
      if (!names.has(name)) await this.byName.get(name)?.drop(undefined);
    }
  }

  prune(retention: Retention): void {
    const nowMs = Date.now();
    for (const database of this.all() as Iterable<Database>) database.log.prune(retention, nowMs);
  }

  /** After the unmount, at a clean stop. */
  saveClean(): void {
    for (const database of this.databases) {
      if (database.live && !database.state.untrusted) database.saveClean();
      database.close();
    }
  }

  private ensure(name: string): ReplicaDatabase {
    checkName(name);
    const known = this.byName.get(name);
    if (known !== undefined) return known;
    const replica = this.add(name);
    this.options.send({ kind: 'slot', slot: replica.database.slot, name });
    return replica;
  }

  private add(name: string): ReplicaDatabase {
    const { folder, shared, applier, onApplied } = this.options;
    const database = new Database(name, this.databases.length, folder, shared, () =>
      Promise.reject(new Error('a replica gives no snapshots')),
    );
    const replica = new ReplicaDatabase(database, folder, applier, onApplied);
    this.databases.push(database);
    this.byName.set(name, replica);
    return replica;
  }

  private spool(finish: (path: string) => Promise<Position>): LargeReceiver {
    const path = join(this.options.folder.spool, `incoming-${++this.spooled}`);
    const fd = openSync(path, 'w');
    let size = 0;
    let open = true;
    const close = () => {
      if (open) closeSync(fd);
      open = false;
    };
    return {
      async write(chunk) {
        writeWhole(fd, chunk, chunk.length, size);
        size += chunk.length;
      },
      async finish() {
        close();
        try {
          return await finish(path);
        } finally {
          rmSync(path, { force: true });
        }
      },
      async abort() {
        close();
        rmSync(path, { force: true });
      },
    };
  }
}
