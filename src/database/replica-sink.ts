import { join } from 'node:path';
import type { Applier } from '../apply/index.js';
import { closeSync, openSync, readSync, rmSync } from '../disk/index.js';
import { describeError, SluiceError } from '../errors.js';
import { decodeHeader, HEADER_SIZE, type LtxHeader, type Position } from '../ltx/index.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { DroppedDatabases, isLongGone } from './dropped-databases.js';
import { scanFolder } from './folder-scan.js';
import { writeWhole } from './log-segment.js';
import { checkName } from './names.js';
import { type Recovered, recoverReplica } from './recovery.js';
import { type OnLogged, ReplicaDatabase } from './replica-database.js';
import { SetAsides } from './set-asides.js';
import { MAX_SLOTS, type SharedState } from './shared.js';
import type { Retention } from './transaction-log.js';
import type { LargeReceiver, LocalWrites, ReplicaSink, ReplicatedDatabase, Standing, StoreSink } from './types.js';
import type { ToWorker } from './worker-messages.js';

export interface ReplicaSinkOptions {
  readonly folder: DataFolder;
  readonly mountPath: string;
  /** Databases that it takes; default: as many as there are slots. */
  readonly maxDatabases?: number;
  readonly shared: SharedState;
  readonly applier: Applier;
  readonly send: (message: ToWorker) => void;
  readonly onApplied: (db: ReplicatedDatabase, pages: number, bytes: number) => void;
  readonly warn: (name: string, message: string, error: unknown) => void;
  /** Left out where applications do not write. */
  readonly writes?: LocalWrites | undefined;
}

/** All databases of a replica, and what a stream does to them. Main thread. */
export class ReplicaDatabases implements ReplicaSink, StoreSink {
  /** Name by slot. */
  private readonly taken: (string | undefined)[] = [];
  private readonly byName = new Map<string, ReplicaDatabase>();
  /** Databases of which nothing can be opened or kept. They have no slot. */
  private readonly refused = new Map<string, { readonly error: SluiceError; readonly sinceMs: number }>();
  private readonly asides: SetAsides;
  private readonly gone: DroppedDatabases;
  private spooled = 0;
  /** The primary's run that is followed; 0n: not known. */
  private run = 0n;

  constructor(private readonly options: ReplicaSinkOptions) {
    const { folder, warn } = options;
    this.asides = new SetAsides(folder);
    this.gone = new DroppedDatabases(folder, (name) => this.byName.has(name), warn);
  }

  /** Before the mount answers. */
  async recover(live: boolean): Promise<Recovered[]> {
    const { folder, mountPath, warn } = this.options;
    folder.removeUnfinished();
    const known = folder.knownNames((path, error) => warn('', `${path} is of no database that is known`, error));
    const names = new Set([...known, ...scanFolder(folder.files).databases]);
    const outcomes: Recovered[] = [];
    for (const name of names) {
      if (isLongGone(folder, name)) {
        outcomes.push({ name, outcome: 'no database', compare: false });
        continue;
      }
      const replica = this.addOrRefuse(name);
      if (replica === undefined) continue;
      const { database } = replica;
      try {
        outcomes.push(await recoverReplica(database, live, { files: folder.files, mountPath }));
        this.release(replica);
      } catch (error) {
        database.fail(error, 'RECOVERY_FAILED', 'The others go on; a snapshot from the primary takes its place');
        warn(name, 'recovery failed', error);
        replica.distrust();
      }
    }
    return outcomes;
  }

  /** What is wrong with databases that are not among `every`. */
  *problems(): Generator<{ readonly name: string; readonly error: SluiceError; readonly sinceMs: number }> {
    for (const [name, problem] of this.refused) yield { name, ...problem };
  }

  /** Once the applier runs: opens all databases and applies what was logged but perhaps not applied. */
  async resume(): Promise<void> {
    await Promise.all(
      [...this.byName.values()].map(async (replica) => {
        try {
          await replica.resume();
        } catch (error) {
          const hint = replica.isKnown ? 'It is tried again' : 'A snapshot from the primary takes its place';
          replica.database.fail(error, 'REPLICA_FAILED', hint);
          this.options.warn(replica.database.name, 'it could not be brought to where it was', error);
        }
      }),
    );
  }

  slots(): { name: string; slot: number }[] {
    return this.every().map(({ name, slot }) => ({ name, slot }));
  }

  *all(): Iterable<Database> {
    for (const { database } of this.byName.values()) if (database.live) yield database;
  }

  every(): readonly Database[] {
    return Array.from(this.byName.values(), ({ database }) => database);
  }

  positions(): ReadonlyMap<string, Position> {
    const positions = new Map<string, Position>();
    // One whose files are not known to be what its position says takes part in nothing but a snapshot.
    for (const { name, position } of this.all()) {
      const { isKnown } = this.byName.get(name)!;
      positions.set(name, isKnown ? position : { txid: position.txid, checksum: 0n });
    }
    return positions;
  }

  follows(run: bigint, positions: ReadonlyMap<string, Position>): void {
    this.run = run;
    for (const [name, position] of positions) this.byName.get(name)?.confirm(position, run);
  }

  async receive(name: string, ltx: Uint8Array, onLogged?: OnLogged): Promise<Position> {
    const { maxTxid, postApply } = decodeHeader(ltx);
    this.options.writes?.arrived(name, { txid: maxTxid, checksum: postApply });
    return this.ensure(name).receive(ltx, this.run, onLogged);
  }

  /**
   * Looks whether these pages (undefined: all) are as they have to be at the database's position. If not, its files are not known to
   * be that any more, and a snapshot has to come. Resolves with how many are not.
   */
  async checkPages(name: string, pages: Uint32Array | undefined): Promise<number> {
    return (await this.byName.get(name)?.checkPages(pages)) ?? 0;
  }

  logAhead(name: string, ltx: Uint8Array, header: LtxHeader): Position | undefined {
    return this.byName.get(name)?.logAhead(ltx, header, this.run);
  }

  async receiveForwarded(name: string, position: Position, onLogged?: OnLogged): Promise<Position> {
    this.options.writes?.arrived(name, position);
    return this.ensure(name).receiveForwarded(position, this.run, onLogged);
  }

  get(name: string): Database | undefined {
    return this.byName.get(name)?.database;
  }

  receiveLarge(name: string): LargeReceiver {
    this.ensure(name);
    const { run } = this;
    return this.spool((path) => {
      this.arrivedIn(name, path);
      return this.ensure(name).receiveFile(path, run, false);
    });
  }

  /** Bad bytes are found later. */
  private arrivedIn(name: string, path: string): void {
    const { writes } = this.options;
    if (writes === undefined) return;
    const head = Buffer.alloc(HEADER_SIZE);
    const fd = openSync(path, 'r');
    try {
      readSync(fd, head, 0, HEADER_SIZE, 0);
      const { maxTxid, postApply } = decodeHeader(head);
      writes.arrived(name, { txid: maxTxid, checksum: postApply });
    } finally {
      closeSync(fd);
    }
  }

  receiveSnapshot(name: string, reason: 'new' | 'behind' | 'diverged'): LargeReceiver {
    this.ensure(name);
    const { run } = this;
    return this.spool((path) => this.ensure(name).replace(path, reason, run, false));
  }

  standing(name: string): Standing | undefined {
    const replica = this.byName.get(name);
    if (replica === undefined || !replica.database.live) return undefined;
    const { position, state } = replica.database;
    return { position, isKnown: replica.isKnown, isStray: state.stray, origin: state.origin };
  }

  confirm(name: string, position: Position, run: bigint): void {
    this.byName.get(name)?.confirm(position, run);
  }

  receiveStored(name: string, run: bigint): LargeReceiver {
    this.ensure(name);
    return this.spool((path) => this.ensure(name).receiveFile(path, run, true));
  }

  receiveStoredSnapshot(name: string, reason: 'new' | 'behind' | 'diverged', run: bigint): LargeReceiver {
    this.ensure(name);
    return this.spool((path) => this.ensure(name).replace(path, reason, run, true));
  }

  async drop(name: string, position: Position): Promise<void> {
    const replica = this.byName.get(name);
    if (replica === undefined) return;
    await replica.drop(position);
    this.release(replica);
  }

  async retain(names: ReadonlySet<string>): Promise<void> {
    const unknown = [...this.byName.values()].filter((replica) => replica.isThere && !names.has(replica.database.name));
    await Promise.all(unknown.map((replica) => this.setAside(replica)));
  }

  /** Makes the logs durable, on other threads: what a position is found by after a power loss. */
  syncLogs(): void {
    for (const { database } of this.byName.values()) database.syncLog();
  }

  prune(retention: Retention): void {
    const nowMs = Date.now();
    for (const database of this.all()) database.log.prune(retention, nowMs);
    this.gone.prune(nowMs);
  }

  /** After the unmount, at a clean stop. */
  saveClean(): void {
    this.end();
    for (const database of this.every()) {
      if (database.live && !database.state.untrusted) database.saveClean();
      database.close();
    }
  }

  /** Closes everything as it is; nothing is made durable, since the machine goes on. */
  close(): void {
    this.end();
    for (const database of this.every()) database.close();
  }

  private end(): void {
    this.asides.stop();
    for (const replica of this.byName.values()) replica.end();
  }

  /** Its trouble is its own: it is shown, and tried again after the next hello. */
  private async setAside(replica: ReplicaDatabase): Promise<void> {
    const { database } = replica;
    try {
      await replica.drop(undefined);
      this.release(replica);
    } catch (error) {
      database.fail(error, 'SET_ASIDE_FAILED', 'The primary has no such database; it is tried again');
      this.options.warn(database.name, 'it could not be set aside', error);
    }
  }

  private ensure(name: string): ReplicaDatabase {
    checkName(name);
    const known = this.byName.get(name);
    if (known !== undefined) return known;
    const refused = this.refused.get(name);
    if (refused !== undefined) throw refused.error;
    const replica = this.add(name);
    this.options.send({ kind: 'slot', slot: replica.database.slot, name });
    return replica;
  }

  /** At the start: what is there could not be told from what comes, so it waits for the next one. */
  private addOrRefuse(name: string): ReplicaDatabase | undefined {
    try {
      return this.add(name);
    } catch (cause) {
      const hint = 'The others go on. Put it right, then start the node again';
      const error = new SluiceError('RECOVERY_FAILED', describeError(cause), hint, { cause });
      this.refused.set(name, { error, sinceMs: Date.now() });
      this.options.warn(name, 'recovery failed', cause);
      return undefined;
    }
  }

  private add(name: string): ReplicaDatabase {
    const { applier, onApplied, maxDatabases = MAX_SLOTS } = this.options;
    if (this.byName.size >= maxDatabases) {
      const text = `${name}: this node has ${maxDatabases} databases, as many as it can hold`;
      throw new SluiceError('DATABASE_LIMIT', text, 'It is not replicated here; the others are');
    }
    const database = this.open(name);
    const replica = new ReplicaDatabase(database, this.asides, applier, onApplied, this.options.writes);
    this.taken[database.slot] = name;
    this.byName.set(name, replica);
    return replica;
  }

  /** After a drop its slot may be another's. Its last position stays on disk, for its name may come back. */
  private release(replica: ReplicaDatabase): void {
    const { database } = replica;
    const { name, slot } = database;
    if (replica.isThere || !replica.isIdle || this.byName.get(name) !== replica) return;
    replica.end();
    database.close();
    this.byName.delete(name);
    this.taken[slot] = undefined;
    this.options.shared.forget(slot);
    this.options.send({ kind: 'slot', slot: undefined, name });
  }

  private freeSlot(): number {
    const slot = this.taken.indexOf(undefined);
    return slot < 0 ? this.taken.length : slot;
  }

  private open(name: string): Database {
    const { folder, shared } = this.options;
    try {
      return new Database(name, this.freeSlot(), folder, shared, () =>
        Promise.reject(new Error('a replica gives no snapshots')),
      );
    } catch (cause) {
      const text = `${name}: its state in ${folder.meta} cannot be opened: ${describeError(cause)}`;
      throw new SluiceError('REPLICA_FAILED', text, 'Check the disk, and the files there', { cause });
    }
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
      write: async (chunk) => {
        writeWhole(fd, chunk, chunk.length, size);
        size += chunk.length;
      },
      finish: async () => {
        close();
        try {
          return await finish(path);
        } finally {
          this.removeSpooled(path);
        }
      },
      abort: async () => {
        close();
        this.removeSpooled(path);
      },
    };
  }

  /** What it was for is done, or not: that it stays does not change that, and the next start removes it. */
  private removeSpooled(path: string): void {
    try {
      rmSync(path, { force: true });
    } catch (error) {
      this.options.warn('', `${path} could not be removed; the next start of the node does it`, error);
    }
  }
}
