import { join } from 'node:path';
import { SluiceError } from '../errors.js';
import { Capture, FrameBuffer } from './capture.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { DatabaseEvents } from './events.js';
import { type FolderScan, scanFolder } from './folder-scan.js';
import { PinFlags } from './pin-flags.js';
import { PinnedSnapshot } from './pinned-snapshot.js';
import { type Recovered, recoverPrimary } from './recovery.js';
import type { SharedState } from './shared.js';
import type { Retention } from './transaction-log.js';
import type { DatabaseListener, DatabaseSet, ReplicatedDatabase, Snapshot } from './types.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** Wait for the worker to grant a pin; a long rollback transaction holds it up. */
const PIN_TIMEOUT_MS = 60_000;

export interface PrimaryOptions {
  readonly folder: DataFolder;
  readonly shared: SharedState;
  /** Messages to the fuse worker, with a wake-up. */
  readonly send: (message: ToWorker) => void;
  readonly wakeWorker: () => void;
  readonly onLogged: (db: ReplicatedDatabase, pages: number, bytes: number) => void;
  readonly warn: (name: string, message: string, error: unknown) => void;
}

interface Waiting {
  resolve(message: Extract<FromWorker, { kind: 'pinned' }>): void;
  reject(error: unknown): void;
}

/** All databases of a primary: found, recovered, captured. Main thread. */
export class PrimaryDatabases implements DatabaseSet {
  private readonly databases: Database[] = [];
  private readonly captures: Capture[] = [];
  private readonly byName = new Map<string, Database>();
  private readonly events: DatabaseEvents;
  private readonly buffer = new FrameBuffer();
  private readonly waitingPins = new Map<number, Waiting>();
  private readonly openSnapshots = new Map<PinnedSnapshot, Database>();
  private pins = 0;
  private stopped = false;

  constructor(private readonly options: PrimaryOptions) {
    this.events = new DatabaseEvents((error) => options.warn('', 'a listener failed', error));
  }

  /** Before the mount answers. `live`: applications may have files open. */
  async recover(live: boolean): Promise<Recovered[]> {
    const { folder } = this.options;
    const names = new Set([...folder.knownNames(), ...this.scan().databases]);
    const outcomes: Recovered[] = [];
    for (const name of names) {
      const database = this.openDatabase(name, this.databases.length);
      try {
        outcomes.push(await recoverPrimary(database, live));
      } catch (error) {
        database.fail(error, 'RECOVERY_FAILED', 'The others go on; check the disk, then restart');
        this.options.warn(name, 'recovery failed', error);
        database.distrust();
      }
      this.addCapture(database);
    }
    return outcomes;
  }

  /** After the worker began: what recovery left to do. */
  begin(outcomes: readonly Recovered[]): void {
    for (const { name, compare, outcome } of outcomes) {
      const database = this.byName.get(name);
      if (database === undefined) continue;
      if (compare || outcome === 'new') this.captures[database.slot]!.compare();
    }
    void this.attendLoop();
  }

  /** Name and slot of each, for the worker. */
  slots(): { name: string; slot: number }[] {
    return this.databases.map(({ name, slot }) => ({ name, slot }));
  }

  *all(): Iterable<Database> {
    for (const database of this.databases) if (database.live) yield database;
  }

  /** Also those that are damaged or gone. */
  every(): readonly Database[] {
    return this.databases;
  }

  get(name: string): Database | undefined {
    const database = this.byName.get(name);
    return database?.live ? database : undefined;
  }

  subscribe(listener: DatabaseListener): () => void {
    return this.events.subscribe(listener);
  }

  scan(): FolderScan {
    return scanFolder(this.options.folder.files);
  }

  handle(message: FromWorker): void {
    switch (message.kind) {
      case 'found': {
        const database = this.openDatabase(message.name, message.slot);
        this.addCapture(database);
        this.captures[message.slot]!.attend();
        return;
      }
      case 'changed':
        this.captures[message.slot]?.changed(message.sequence, message.pages);
        return;
      case 'undo':
        this.captures[message.slot]?.undo(message.sequence, message.generation, message.frames);
        return;
      case 'dropped':
        for (const [snapshot, database] of this.openSnapshots) {
          if (database.slot === message.slot) snapshot.break('the database was removed');
        }
        this.captures[message.slot]?.dropped(message.sequence);
        return;
      case 'pinned':
        this.waitingPins.get(message.pin)?.resolve(message);
        return;
      case 'pin-failed':
        this.waitingPins.get(message.pin)?.reject(new SluiceError('SNAPSHOT_FAILED', `no snapshot: ${message.reason}`));
        return;
      default:
    }
  }

  /** Makes the logs durable; called every now and then. */
  syncLogs(): void {
    for (const database of this.databases) database.syncLog();
  }

  prune(retention: Retention): void {
    const nowMs = Date.now();
    for (const database of this.all()) (database as Database).log.prune(retention, nowMs);
  }

  /** Resolves when everything committed so far is in the logs. */
  async idle(): Promise<void> {
    await Promise.all(this.captures.map((capture) => capture.idle()));
  }

  /** After the unmount, at a clean stop. */
  async saveClean(): Promise<void> {
    await this.idle();
    this.stopped = true;
    this.options.shared.wakeMain();
    for (const capture of this.captures) capture.close();
    for (const database of this.databases) {
      if (database.live && database.problem === undefined) database.saveClean();
      database.close();
    }
  }

  private openDatabase(name: string, slot: number): Database {
    const { folder, shared } = this.options;
    const database = new Database(name, slot, folder, shared, (db) => this.snapshot(db));
    this.databases[slot] = database;
    this.byName.set(name, database);
    return database;
  }

  private addCapture(database: Database): void {
    const hooks = {
      wakeWorker: this.options.wakeWorker,
      logged: this.options.onLogged,
      warn: (db: Database, text: string, error: unknown) => this.options.warn(db.name, text, error),
    };
    this.captures[database.slot] = new Capture(
      database,
      this.options.shared,
      this.events,
      hooks,
      this.buffer,
      database.live,
    );
  }

  private async attendLoop(): Promise<void> {
    const { shared } = this.options;
    while (!this.stopped) {
      const seen = shared.bell();
      for (let slot = shared.takeAttention(); slot >= 0; slot = shared.takeAttention()) this.captures[slot]?.attend();
      await shared.untilBell(seen);
    }
  }

  private async snapshot(db: Database): Promise<Snapshot> {
    const { folder, send } = this.options;
    const pin = ++this.pins;
    const path = join(folder.spool, `pin-${pin}`);
    const { slot, name } = db;
    const unpin = () => send({ kind: 'unpin', slot, pin });
    let timer: NodeJS.Timeout | undefined;
    try {
      const granted = await new Promise<Extract<FromWorker, { kind: 'pinned' }>>((resolve, reject) => {
        this.waitingPins.set(pin, { resolve, reject });
        timer = setTimeout(() => {
          unpin();
          reject(new SluiceError('SNAPSHOT_BUSY', `${name}: no moment between two transactions was found`));
        }, PIN_TIMEOUT_MS);
        send({ kind: 'pin', slot, pin, path });
      });
      const snapshot = new PinnedSnapshot(
        {
          name,
          databasePath: db.path,
          walPath: db.walPath,
          savedPath: path,
          flags: new PinFlags(granted.flags),
          frames: granted.frames,
          position: { txid: granted.txid, checksum: granted.checksum },
          pageSize: db.pageSize,
          pageCount: granted.pageCount,
          timestampMs: db.positionTimeMs,
          nodeId: BigInt(`0x${folder.nodeId}`),
        },
        () => {
          this.openSnapshots.delete(snapshot);
          unpin();
        },
      );
      this.openSnapshots.set(snapshot, db);
      return snapshot;
    } finally {
      clearTimeout(timer);
      this.waitingPins.delete(pin);
    }
  }
}
