import { existsSync } from 'node:fs';
import { describeError, SluiceError } from '../errors.js';
import type { Position } from '../ltx/index.js';
import type { WalIndexHeader } from '../sqlite/index.js';
import { Attention } from './attention.js';
import { Capture } from './capture.js';
import { CatchUps } from './catch-ups.js';
import type { CommitState } from './commit-state.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { DroppedDatabases, isLongGone } from './dropped-databases.js';
import { DatabaseEvents } from './events.js';
import { type FolderScan, scanFolder } from './folder-scan.js';
import { FrameBuffer } from './frame-buffer.js';
import { nameProblem } from './names.js';
import { type Recovered, recoverPrimary } from './recovery.js';
import { type Refusal, RefusedDatabases } from './refused-databases.js';
import { Settler } from './settler.js';
import { NO_SLOT, type SharedState } from './shared.js';
import { SnapshotDesk } from './snapshot-desk.js';
import type { Retention } from './transaction-log.js';
import type { DatabaseListener, DatabaseSet, ReplicatedDatabase, Snapshot } from './types.js';
import { WalWatches } from './wal-watches.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** Somebody may be in the middle of a transaction that does not tell when it ends. */
const CATCH_UP_TRIES = 20;
const CATCH_UP_PAUSE_MS = 100;
const CAUGHT_UP_LIMIT_MS = 60_000;
/** While nobody may write. */
const SETTLED_LIMIT_MS = 10_000;

export interface PrimaryOptions {
  readonly folder: DataFolder;
  readonly shared: SharedState;
  /** Where the kernel has the mount, which recovery must not touch. */
  readonly mountPath: string;
  /** Messages to the fuse worker, with a wake-up. */
  readonly send: (message: ToWorker) => void;
  readonly wakeWorker: () => void;
  /** Has the kernel cache the start of a file of the mount; false if it cannot now. */
  readonly cache: (path: string, bytes: number) => boolean;
  /** An application writes: there is soon something to do. */
  readonly onWrite: () => void;
  /** Where commits may have to wait for other machines. */
  readonly commits?: CommitState | undefined;
  /** A database was attended to, so a commit that waits may be logged; by slot and name. */
  readonly onAttended?: (slot: number, name: string) => void;
  readonly onLogged: (db: ReplicatedDatabase, pages: number, bytes: number) => void;
  readonly warn: (name: string, message: string, error: unknown) => void;
}

/** All databases of a primary: found, recovered, captured. Main thread. */
export class PrimaryDatabases implements DatabaseSet {
  private readonly databases: Database[] = [];
  private readonly captures: Capture[] = [];
  private readonly byName = new Map<string, Database>();
  private readonly events: DatabaseEvents;
  private readonly buffer = new FrameBuffer();
  private readonly snapshots: SnapshotDesk;
  private readonly refused: RefusedDatabases;
  /** By slot: messages behind a `dropped` that is still at work. */
  private readonly ending = new Map<number, FromWorker[]>();
  private readonly gone: DroppedDatabases;
  private readonly settler: Settler;
  private readonly walWatches: WalWatches;
  private readonly catchUps: CatchUps;
  private readonly attention: Attention;

  constructor(private readonly options: PrimaryOptions) {
    const { folder, shared, send, warn } = options;
    const framesOf = (slot: number) => shared.wal(slot).frames;
    const doubt = ({ slot }: Database) => this.captures[slot]?.doubt();
    this.events = new DatabaseEvents((error) => warn('', 'a listener failed', error));
    this.snapshots = new SnapshotDesk(folder, send, framesOf, doubt);
    this.gone = new DroppedDatabases(folder, (name) => this.byName.has(name), warn);
    this.settler = new Settler(
      (slot) => shared.fileWrites(slot),
      (slot) => send({ kind: 'settle', slot }),
    );
    this.walWatches = new WalWatches({
      ask: (slot) => send({ kind: 'look', slot }),
      noticed: options.onWrite,
      published: (slot, index, before) => this.published(slot, index, before),
    });
    this.refused = new RefusedDatabases(folder.files, shared.slots);
    this.catchUps = new CatchUps(send);
    this.attention = new Attention(
      shared,
      (slot) => {
        // One that is not known here yet is attended to when it is.
        if (this.captures[slot] !== undefined || this.refused.has(slot)) this.attend(slot);
      },
      () => options.commits?.isAwaited === true,
    );
  }

  /** Before the mount answers. `live`: applications may have files open. */
  async recover(live: boolean): Promise<Recovered[]> {
    const { folder, shared, warn } = this.options;
    const known = folder.knownNames((path, error) => warn('', `${path} is of no database that is known`, error));
    const present = this.scan().databases;
    const outcomes: Recovered[] = [];
    let slot = 0;
    // Those that are gone keep no slot: the others find it free.
    for (const name of new Set([...withoutThose(known, present), ...present])) {
      if (slot >= shared.slots || nameProblem(name) !== undefined) {
        this.refuse(name);
        continue;
      }
      const outcome = await this.recoverOne(name, slot, live);
      if (outcome !== undefined) outcomes.push(outcome);
      if (this.databases[slot] !== undefined || this.refused.has(slot)) slot++;
    }
    for (const { name, compare, outcome, wal } of outcomes) {
      const database = this.byName.get(name);
      if (database === undefined) continue;
      const { slot } = database;
      if (compare || outcome === 'new') {
        if (wal !== undefined) {
          shared.beginWal(slot, 0, wal);
          shared.publishWal(slot, 0, wal.frames);
        }
        await this.captures[slot]!.compare();
      }
      if (!live) database.clearUnlogged(true);
    }
    return outcomes;
  }

  /** After the worker began. */
  begin(): void {
    this.walWatches.start();
    this.attention.begin();
  }

  /** Name and slot of each, for the worker. */
  slots(): { name: string; slot: number }[] {
    return [...this.every().map(({ name, slot }) => ({ name, slot })), ...this.refused.names()];
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

  /** Databases that are not replicated. */
  refusals(): Refusal[] {
    return [...this.refused.refusals()];
  }

  subscribe(listener: DatabaseListener): () => void {
    return this.events.subscribe(listener);
  }

  scan(): FolderScan {
    return scanFolder(this.options.folder.files);
  }

  handle(message: FromWorker): void {
    const behind = 'sequence' in message || message.kind === 'found' ? this.ending.get(message.slot) : undefined;
    if (behind !== undefined) {
      behind.push(message);
      return;
    }
    switch (message.kind) {
      case 'found':
        if (message.slot === NO_SLOT) this.refuse(message.name);
        else this.found(message.slot, message.name);
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
        else capture.leaving(message.sequence, message.compare, this.snapshots.keepWal(message.slot));
        return;
      }
      case 'dropped':
        this.dropped(message.slot, message.sequence);
        return;
      case 'watch-wal':
        if (message.path === undefined) this.walWatches.end(message.slot);
        else this.walWatches.begin(message.slot, message.path);
        return;
      case 'looked':
        this.walWatches.looked(message.slot, message.looked);
        return;
      case 'unjournaled':
        this.settler.watch(message.slot);
        return;
      case 'settled':
        this.settler.answered(message.slot, message.ended);
        return;
      case 'caught-up':
        this.catchUps.answered(message);
        return;
      case 'pinned':
      case 'pin-failed':
        this.snapshots.handle(message);
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
    this.gone.prune(nowMs);
  }

  /** The mount is gone, its worker too, and all is logged: snapshots are granted without it. */
  workerEnded(): void {
    this.snapshots.workerEnded();
    this.catchUps.workerEnded();
  }

  /**
   * Resolves when what was committed before the call is in the logs. False if that cannot be said of all: one is in the middle
   * of a transaction without a journal, also after so many `tries` more, or it takes too long.
   */
  async caughtUp(tries = CATCH_UP_TRIES): Promise<boolean> {
    const deadlineMs = performance.now() + CAUGHT_UP_LIMIT_MS;
    let complete = await this.catchUps.ask();
    for (let tried = 0; !complete && tried < tries; tried++) {
      await new Promise((resolve) => setTimeout(resolve, CATCH_UP_PAUSE_MS));
      complete = await this.catchUps.ask();
    }
    const logged = await Promise.all(this.captures.map((capture) => capture?.logged(deadlineMs) ?? true));
    return complete && logged.every(Boolean);
  }

  /**
   * Where the database stands once what was committed before the call is in the log; undefined if there is none, or that
   * cannot be said now.
   */
  async settledPosition(name: string): Promise<Position | undefined> {
    const database = this.byName.get(name);
    if (database === undefined) return undefined;
    const complete = await this.catchUps.ask(database.slot);
    const logged = await this.captures[database.slot]?.logged(performance.now() + SETTLED_LIMIT_MS);
    return complete && logged === true && database.live ? database.position : undefined;
  }

  /** Resolves when everything that this thread knows to be committed is in the logs. */
  async idle(): Promise<void> {
    await Promise.all(this.captures.map((capture) => capture?.idle()));
  }

  /** After the unmount, at a clean stop. */
  async saveClean(): Promise<void> {
    await this.endCaptures();
    for (const database of this.every()) {
      if (database.live && database.problem === undefined) database.saveClean();
      database.close();
    }
  }

  /** Logs what was committed and closes everything; nothing is made durable, since the machine goes on. */
  async close(): Promise<void> {
    await this.endCaptures();
    for (const database of this.every()) database.close();
  }

  private async endCaptures(): Promise<void> {
    this.settler.close();
    this.walWatches.close();
    await this.idle();
    this.attention.close();
    for (const capture of this.captures) capture?.close();
  }

  /** Undefined if nothing of it can be opened. One that is gone is not open afterwards, and its slot free. */
  private async recoverOne(name: string, slot: number, live: boolean): Promise<Recovered | undefined> {
    const { folder, mountPath, warn } = this.options;
    let database: Database;
    try {
      if (isLongGone(folder, name)) return { name, outcome: 'no database', compare: false };
      database = this.openDatabase(name, slot);
    } catch (error) {
      this.refused.expect(slot, name);
      this.refused.failed(slot, error);
      warn(name, 'it is not replicated: what is kept of it cannot be opened', error);
      return undefined;
    }
    let recovered: Recovered | undefined;
    try {
      recovered = await recoverPrimary(database, live, { files: folder.files, mountPath });
    } catch (error) {
      database.fail(error, 'RECOVERY_FAILED', 'The others go on; check the disk, then restart');
      warn(name, 'recovery failed', error);
      database.distrust();
    }
    if (recovered?.outcome === 'gone' || recovered?.outcome === 'no database') this.forget(database);
    else this.addCapture(database);
    if (recovered?.journalLeft) {
      warn(name, 'its journal is one of a transaction with a database elsewhere: its next opener ends it', undefined);
    }
    return recovered;
  }

  /** A wal-index went on from `before` frames, which are all that are known. False: the worker has to be asked. */
  private published(slot: number, index: WalIndexHeader, before: number): boolean {
    const capture = this.captures[slot];
    return capture !== undefined && capture.committedFrames === before && capture.published(index);
  }

  private refuse(name: string): void {
    const reason = this.refused.refuse(name);
    if (reason !== undefined) this.options.warn(name, describeError(reason), undefined);
  }

  private found(slot: number, name: string): void {
    this.refused.expect(slot, name);
    this.attend(slot);
  }

  private dropped(slot: number, sequence: number): void {
    this.snapshots.removed(slot);
    this.settler.forget(slot);
    this.refused.delete(slot);
    const capture = this.captures[slot];
    if (capture === undefined) {
      this.letGo(slot, sequence);
      return;
    }
    this.ending.set(slot, []);
    capture.dropped(sequence);
  }

  /** A capture is at its end, and about to say so to the worker. */
  private ended(database: Database): void {
    this.forget(database);
    setImmediate(() => {
      const behind = this.ending.get(database.slot) ?? [];
      this.ending.delete(database.slot);
      for (const message of behind) this.handle(message);
    });
  }

  private forget(database: Database): void {
    const { name, slot } = database;
    if (!existsSync(database.path)) database.clearUnlogged(true);
    database.close();
    delete this.captures[slot];
    delete this.databases[slot];
    this.byName.delete(name);
    this.options.shared.forget(slot);
    this.options.commits?.forget(slot);
  }

  private async snapshot(db: Database): Promise<Snapshot> {
    if (this.byName.get(db.name) !== db) throw new SluiceError('SNAPSHOT_FAILED', `${db.name} was removed`);
    return this.snapshots.take(db);
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
    const name = this.refused.due(slot);
    if (name === undefined) return this.captures[slot];
    try {
      const database = this.openDatabase(name, slot);
      // It could not be opened when it was to be recovered.
      if (database.live) database.distrust();
      this.addCapture(database);
      this.refused.delete(slot);
      this.options.commits?.setLost(slot, false);
    } catch (error) {
      this.refused.failed(slot, error);
      this.options.warn(name, 'it is not replicated: nothing can be kept of it in the data folder', error);
    }
    return this.captures[slot];
  }

  private attend(slot: number): void {
    const capture = this.captureOf(slot);
    if (capture === undefined) this.letGo(slot, 0);
    else {
      capture.attend();
      this.options.onAttended?.(slot, capture.database.name);
    }
  }

  /** Lets the application go on with a database that is not captured. */
  private letGo(slot: number, sequence: number): void {
    const { shared, wakeWorker, commits, onAttended } = this.options;
    const name = this.refused.nameOf(slot);
    // What is not captured is nowhere else: a commit that waits for that waits until its time is over.
    if (name !== undefined) commits?.setLost(slot, true);
    const { generation, frames } = shared.wal(slot);
    shared.publishLogged(slot, generation, frames);
    if (sequence > 0) shared.settle(slot, sequence);
    if (shared.takeWaiting(slot)) wakeWorker();
    if (name !== undefined) onAttended?.(slot, name);
  }

  private addCapture(database: Database): void {
    const hooks = {
      wakeWorker: this.options.wakeWorker,
      cache: this.options.cache,
      logged: this.options.onLogged,
      warn: (db: Database, text: string, error: unknown) => this.options.warn(db.name, text, error),
      ended: (db: Database) => this.ended(db),
      captured: (db: Database) => this.options.onAttended?.(db.slot, db.name),
      lost: (db: Database, lost: boolean) => this.options.commits?.setLost(db.slot, lost),
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
}

function withoutThose(names: readonly string[], others: readonly string[]): string[] {
  const set = new Set(others);
  return names.filter((name) => !set.has(name));
}
