import { join } from 'node:path';
import { SluiceError } from '../errors.js';
import { Capture } from './capture.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { DatabaseEvents } from './events.js';
import { type FolderScan, scanFolder } from './folder-scan.js';
import { FrameBuffer } from './frame-buffer.js';
import { PinFlags } from './pin-flags.js';
import { PinnedSnapshot } from './pinned-snapshot.js';
import { type Recovered, recoverPrimary } from './recovery.js';
import type { SharedState } from './shared.js';
import type { Retention } from './transaction-log.js';
import type { DatabaseListener, DatabaseSet, ReplicatedDatabase, Snapshot } from './types.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** Wait for the worker to grant a pin; a long rollback transaction holds it up. */
const PIN_TIMEOUT_MS = 60_000;
/** Between two tries to make the folder of a database. */
const REFUSED_RETRY_MS = 5000;

/** A commit that follows another within this time is one of a burst; those are gathered for so long and taken together. */
const BURST_MS = 0.3;
const GATHER_MS = 1;

export interface PrimaryOptions {
  readonly folder: DataFolder;
  readonly shared: SharedState;
  /** Where the kernel has the mount, which recovery must not touch. */
  readonly mountPath: string;
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
  /** Slots of databases whose folder could not be made, with their names. */
  private readonly refused = new Map<number, { readonly name: string; retryAtMs: number }>();
  private pins = 0;
  private stopped = false;

  constructor(private readonly options: PrimaryOptions) {
    this.events = new DatabaseEvents((error) => options.warn('', 'a listener failed', error));
  }

  /** Before the mount answers. `live`: applications may have files open. */
  async recover(live: boolean): Promise<Recovered[]> {
    const { folder, shared } = this.options;
    const names = new Set([...folder.knownNames(), ...this.scan().databases]);
    const outcomes: Recovered[] = [];
    for (const name of names) {
      const database = this.openDatabase(name, this.databases.length);
      try {
        outcomes.push(await this.recoverOne(database, live));
      } catch (error) {
        database.fail(error, 'RECOVERY_FAILED', 'The others go on; check the disk, then restart');
        this.options.warn(name, 'recovery failed', error);
        database.distrust();
      }
      this.addCapture(database);
    }
    for (const { name, compare, outcome, walFrames } of outcomes) {
      const { slot } = this.byName.get(name)!;
      if (compare || outcome === 'new') {
        shared.publishWal(slot, 0, walFrames);
        await this.captures[slot]!.compare();
      }
      if (!live) this.databases[slot]!.clearUnlogged();
    }
    return outcomes;
  }

  /** After the worker began. */
  begin(): void {
    void this.attendLoop();
  }

  /** Name and slot of each, for the worker. */
  slots(): { name: string; slot: number }[] {
    return this.every().map(({ name, slot }) => ({ name, slot }));
  }

  *all(): Iterable<Database> {
    for (const database of this.every()) if (database.live) yield database;
  }

  /** Also those that are damaged or gone. */
  every(): readonly Database[] {
    return [...this.byName.values()];
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
      case 'found':
        this.refused.set(message.slot, { name: message.name, retryAtMs: 0 });
        this.attend(message.slot);
        return;
      case 'changed': {
        const capture = this.captureOf(message.slot);
        if (capture === undefined) this.letGo(message.slot, message.sequence);
        else capture.changed(message.sequence, message.pages, message.marked);
        return;
      }
      case 'undo': {
        const capture = this.captureOf(message.slot);
        if (capture === undefined) this.letGo(message.slot, message.sequence);
        else capture.undo(message.sequence, message.generation, message.frames);
        return;
      }
      case 'leaving': {
        const capture = this.captureOf(message.slot);
        if (capture === undefined) this.letGo(message.slot, message.sequence);
        else capture.leaving(message.sequence, message.all, this.keepWal(message.slot));
        return;
      }
      case 'dropped':
        for (const [snapshot, database] of this.openSnapshots) {
          if (database.slot === message.slot) snapshot.break('the database was removed');
        }
        if (this.captures[message.slot] === undefined) this.letGo(message.slot, message.sequence);
        else this.captures[message.slot]!.dropped(message.sequence);
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
    for (const database of this.byName.values()) database.syncLog();
  }

  prune(retention: Retention): void {
    const nowMs = Date.now();
    for (const database of this.all()) (database as Database).log.prune(retention, nowMs);
  }

  /** Resolves when everything committed so far is in the logs. */
  async idle(): Promise<void> {
    await Promise.all(this.captures.map((capture) => capture?.idle()));
  }

  /** After the unmount, at a clean stop. */
  async saveClean(): Promise<void> {
    await this.idle();
    this.stopped = true;
    this.options.shared.wakeMain();
    for (const capture of this.captures) capture?.close();
    for (const database of this.every()) {
      if (database.live && database.problem === undefined) database.saveClean();
      database.close();
    }
  }

  private async recoverOne(database: Database, live: boolean): Promise<Recovered> {
    const { folder, mountPath, warn } = this.options;
    const recovered = await recoverPrimary(database, live, { files: folder.files, mountPath });
    if (recovered.journalLeft) {
      warn(
        database.name,
        'its journal is one of a transaction with a database elsewhere: its next opener ends it',
        undefined,
      );
    }
    return recovered;
  }

  private openDatabase(name: string, slot: number): Database {
    const { folder, shared } = this.options;
    const database = new Database(name, slot, folder, shared, (db) => this.snapshot(db));
    this.databases[slot] = database;
    this.byName.set(name, database);
    return database;
  }

  /** The capture of a database that the worker found; undefined while nothing can be kept of it, which is tried again. */
  private captureOf(slot: number): Capture | undefined {
    const refused = this.refused.get(slot);
    if (refused === undefined || performance.now() < refused.retryAtMs) return this.captures[slot];
    try {
      this.addCapture(this.openDatabase(refused.name, slot));
      this.refused.delete(slot);
    } catch (error) {
      refused.retryAtMs = performance.now() + REFUSED_RETRY_MS;
      this.options.warn(refused.name, 'it is not replicated: nothing can be kept of it in the data folder', error);
    }
    return this.captures[slot];
  }

  /** For the snapshots that are being read. Undefined if there are none. */
  private keepWal(slot: number): Promise<unknown> | undefined {
    const snapshots = [...this.openSnapshots].filter(([, database]) => database.slot === slot);
    return snapshots.length === 0 ? undefined : Promise.all(snapshots.map(([snapshot]) => snapshot.keepWal()));
  }

  private attend(slot: number): void {
    const capture = this.captureOf(slot);
    if (capture === undefined) this.letGo(slot, 0);
    else capture.attend();
  }

  /** Lets the application go on with a database that is not captured. */
  private letGo(slot: number, sequence: number): void {
    const { shared, wakeWorker } = this.options;
    const { generation, frames } = shared.wal(slot);
    shared.publishLogged(slot, generation, frames);
    if (sequence > 0) shared.settle(slot, sequence);
    if (shared.takeWaiting(slot)) wakeWorker();
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
    let lastMs = 0;
    while (!this.stopped) {
      if (performance.now() - lastMs < BURST_MS) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
      const seen = shared.bell();
      for (let slot = shared.takeAttention(); slot >= 0; slot = shared.takeAttention()) {
        // One that is not known here yet is attended to when it is.
        if (this.captures[slot] !== undefined || this.refused.has(slot)) this.attend(slot);
      }
      lastMs = performance.now();
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
          pageSize: granted.pageSize,
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
    } catch (error) {
      unpin();
      throw error;
    } finally {
      clearTimeout(timer);
      this.waitingPins.delete(pin);
    }
  }
}
