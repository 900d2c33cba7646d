import { describeError, errorCode, SluiceError } from '../errors.js';
import type { Txid } from '../ltx/index.js';
import { compact } from './compaction.js';
import type { DatabaseBackup } from './database-backup.js';
import { compareFiles, type FileKey, formatObjectKey, LEVEL_INCREMENT } from './file-names.js';
import type { ManifestFile } from './manifest.js';
import { readFileHeader } from './newest.js';
import { planRetention, type RetentionPolicy } from './retention-plan.js';
import { Slots } from './slots.js';
import type { Store, StoreFile } from './store.js';
import { readChecksum } from './stored-state.js';
import { findSuspects } from './suspects.js';
import { type CompactionPlan, isSnapshotDue, planCompaction } from './upkeep-plan.js';

/** When a store's files are merged, made anew as a whole, and removed. */
export interface UpkeepPolicy {
  /** How long the oldest file of a level waits before those of it are merged: of level 0, 1, … */
  readonly levelsMs: readonly number[];
  readonly snapshotMs: number;
  readonly retain: RetentionPolicy;
}

/** Merges files where that disturbs nobody: on another thread. */
export interface Compactor {
  compact(database: string, files: readonly StoreFile[], level: number): Promise<ManifestFile>;
  close(): Promise<void>;
}

export interface UpkeepLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface UpkeepOptions {
  readonly policy: UpkeepPolicy;
  readonly databases: () => Iterable<DatabaseBackup>;
  /** For large files; without it they are merged here. */
  readonly compactor?: Compactor | undefined;
  /** A file of the way is gone; the uploads are to look at the store again. */
  readonly onLost: (backup: DatabaseBackup) => void;
  readonly log: UpkeepLog;
  readonly now?: () => number;
}

/**
 * Files of together at most so much are merged here, in slices: a thread takes 25 MB more memory. Meanwhile a commit is seen on
 * a replica 2 ms later (median of 500; p99 20 ms), so longer ones are left to the thread.
 */
const SMALL_BYTES = 2 * 1024 * 1024 * 1024;
/** How often it is looked for what is due: a part of the shortest wait, within these. */
const MIN_TICK_MS = 10;
const MAX_TICK_MS = 5_000;
/** Databases that something is done for at a time, in each lane. */
const AT_ONCE = 2;
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 600_000;
/** All files of a store are listed, to see which may go, at least so often. */
const MAX_PRUNE_MS = 24 * 3_600_000;
/** And for the first time so long after the start. */
const FIRST_PRUNE_MS = 15 * 60_000;
/** Files that were merged and wait to be removed, of one database; more are left to the listing. */
const MERGED_FILES = 10_000;

/** Snapshots may take hours: nothing else waits for them, of this database or of others. */
type Lane = 'files' | 'snapshot';
const LANES: readonly Lane[] = ['files', 'snapshot'];

/** What is kept of each lane of a database between two looks. */
interface LaneState {
  running: boolean;
  failures: number;
  retryMs: number;
  failure: { readonly error: unknown; readonly sinceMs: number } | undefined;
}

/** What is kept of each database between two looks. */
interface State {
  readonly lanes: Readonly<Record<Lane, LaneState>>;
  prunedMs: number;
  /** Where the way ended then: what may go does not change while nothing is stored. */
  prunedTxid: Txid;
  /** Of level 0, each with when it may go. */
  readonly merged: { readonly file: FileKey; readonly goesMs: number }[];
}

/** Looks after what a store holds: levels, snapshots, retention. Of each database one thing at a time in each lane, beside its uploads. */
export class Upkeep {
  private readonly states = new WeakMap<DatabaseBackup, State>();
  private readonly slots: Readonly<Record<Lane, Slots>> = { files: new Slots(AT_ONCE), snapshot: new Slots(AT_ONCE) };
  private readonly running = new Set<Promise<void>>();
  private readonly now: () => number;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: UpkeepOptions) {
    this.now = options.now ?? Date.now;
  }

  start(): void {
    const { levelsMs, snapshotMs, retain } = this.options.policy;
    const shortestMs = Math.min(snapshotMs, retain.ageMs, retain.fineMs, ...levelsMs);
    const tickMs = Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, shortestMs / 4));
    this.timer = setInterval(() => this.look(), tickMs).unref();
  }

  /** Begins nothing more, breaks merges off, and waits for what is under way. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    await this.options.compactor?.close();
    await Promise.all(this.running);
  }

  /** What fails now, of one database. */
  failureOf(backup: DatabaseBackup): { readonly error: unknown; readonly sinceMs: number } | undefined {
    const lanes = this.states.get(backup)?.lanes;
    return lanes?.files.failure ?? lanes?.snapshot.failure;
  }

  /** Begins what is due. */
  private look(): void {
    for (const backup of this.options.databases()) {
      const state = this.stateOf(backup);
      for (const lane of LANES) this.lookAt(backup, state, lane);
    }
  }

  private lookAt(backup: DatabaseBackup, state: State, lane: Lane): void {
    const own = state.lanes[lane];
    if (own.running || this.now() < own.retryMs) return;
    if (this.next(backup, state, lane) === undefined) {
      // What failed was done after all, or need not be done any more.
      if (backup.ledger.isKnown) this.succeeded(backup, own);
      return;
    }
    own.running = true;
    const done = this.run(backup, state, lane).finally(() => {
      own.running = false;
      this.running.delete(done);
    });
    this.running.add(done);
  }

  private async run(backup: DatabaseBackup, state: State, lane: Lane): Promise<void> {
    const own = state.lanes[lane];
    await this.slots[lane].acquire();
    try {
      for (let job = this.next(backup, state, lane); job !== undefined; job = this.next(backup, state, lane)) {
        if (this.timer === undefined || !(await backup.ledger.own())) return;
        await job();
      }
      this.succeeded(backup, own);
    } catch (error) {
      this.failed(backup, own, error);
    } finally {
      this.slots[lane].release();
    }
  }

  /** What is due first, if anything is. */
  private next(backup: DatabaseBackup, state: State, lane: Lane): (() => Promise<void>) | undefined {
    const { policy } = this.options;
    const nowMs = this.now();
    const { way, isKnown } = backup.ledger;
    // From another node only an upload takes a store over; and who is of another history never does.
    if (!isKnown || backup.ledger.state?.foreign || backup.isAtOdds || backup.isClosed) return undefined;
    if (lane === 'snapshot') {
      const isDue = isSnapshotDue(way, backup.database.position.txid, policy.snapshotMs, nowMs);
      return isDue ? () => backup.uploadSnapshot(false) : undefined;
    }
    const compaction = planCompaction(way, policy.levelsMs, nowMs);
    if (compaction !== undefined) return () => this.compact(backup, state, compaction);
    if (state.merged.length > 0 && nowMs >= state.merged[0]!.goesMs) return () => this.removeMerged(backup, state);
    const end = way.at(-1)?.maxTxid ?? 0;
    if (end !== state.prunedTxid && nowMs - state.prunedMs >= this.pruneMs) return () => this.prune(backup, state);
    return undefined;
  }

  private get pruneMs(): number {
    const { snapshotMs, retain } = this.options.policy;
    return Math.min(MAX_PRUNE_MS, snapshotMs, retain.ageMs / 2);
  }

  private async compact(backup: DatabaseBackup, state: State, plan: CompactionPlan<ManifestFile>): Promise<void> {
    const { inputs, level } = plan;
    const { store, ledger } = backup;
    if (level === LEVEL_INCREMENT + 1) await this.setStrangersAside(backup, inputs);
    const startMs = performance.now();
    const output = await this.mergeOnce(backup, plan);
    await ledger.merged(inputs, output);
    if (level === LEVEL_INCREMENT + 1) {
      const goesMs = this.now() + this.options.policy.retain.fineMs;
      for (const file of inputs) if (state.merged.length < MERGED_FILES) state.merged.push({ file, goesMs });
    }
    backup.report({ ...output, transactions: 0 }, startMs);
    this.options.log.debug(
      { database: backup.database.name, store: store.url, level, files: inputs.length, bytes: output.sizeBytes },
      'merged',
    );
  }

  /** The file may be there, of a time when the answer was lost or the process died: then it is taken. */
  private async mergeOnce(
    backup: DatabaseBackup,
    { inputs, level }: CompactionPlan<ManifestFile>,
  ): Promise<ManifestFile> {
    const { store, database } = backup;
    const totalBytes = inputs.reduce((sum, file) => sum + file.sizeBytes, 0);
    try {
      const { compactor } = this.options;
      return totalBytes <= SMALL_BYTES || compactor === undefined
        ? await compact(store, inputs, level, () => this.timer === undefined)
        : await compactor.compact(database.name, inputs, level);
    } catch (error) {
      if (errorCode(error) !== 'STORE_EXISTS') throw error;
      const last = inputs.at(-1)!;
      const found = await findFile(store, { level, minTxid: inputs[0]!.minTxid, maxTxid: last.maxTxid });
      if (found === undefined) throw error;
      if (found.checksum === (last.checksum === 0n ? await readChecksum(store, last) : last.checksum)) return found;
      await backup.ledger.stillOwn();
      await store.setAside(found);
      throw new SluiceError(
        'STORE_CHANGED',
        `${store.url}: a file of another history was in the way, and was set aside`,
      );
    }
  }

  /** Files of level 0 between those of this process: of a primary that had lost the store while it uploaded. */
  private async setStrangersAside(backup: DatabaseBackup, inputs: readonly StoreFile[]): Promise<void> {
    const { store } = backup;
    const [first, last] = [inputs[0]!, inputs.at(-1)!];
    const range = { firstLevel: LEVEL_INCREMENT, lastLevel: LEVEL_INCREMENT, afterMinTxid: first.minTxid - 1 };
    const strangers: StoreFile[] = [];
    for await (const file of store.list(range)) {
      if (file.minTxid > last.maxTxid) break;
      if (!inputs.some((input) => compareFiles(input, file) === 0)) strangers.push(file);
    }
    if (strangers.length > 0) await this.setAside(backup, strangers);
  }

  private async setAside(backup: DatabaseBackup, strangers: readonly StoreFile[]): Promise<void> {
    const { store, database, ledger } = backup;
    await ledger.stillOwn();
    for (const file of strangers) {
      await store.setAside(file);
      this.options.log.warn({ database: database.name, store: store.url, ...file }, 'set aside: not of this history');
    }
  }

  private async removeMerged(backup: DatabaseBackup, state: State): Promise<void> {
    const nowMs = this.now();
    const due = state.merged.filter(({ goesMs }) => goesMs <= nowMs);
    const needed = new Set(backup.ledger.way.map(formatObjectKey));
    await backup.store.delete(due.flatMap(({ file }) => (needed.has(formatObjectKey(file)) ? [] : [file])));
    state.merged.splice(0, due.length);
  }

  private async prune(backup: DatabaseBackup, state: State): Promise<void> {
    // As it is before the listing: what is uploaded meanwhile may be in it or not.
    const way = [...backup.ledger.way];
    const files = await backup.store.listAll();
    const there = new Set(files.map(formatObjectKey));
    if (!way.every((file) => there.has(formatObjectKey(file)))) {
      backup.ledger.forget();
      this.options.onLost(backup);
      return;
    }
    const ours = await this.withoutStrangers(backup, files);
    const goes = planRetention(ours, backup.ledger.way, this.options.policy.retain, this.now());
    if (goes.length > 0) await backup.ledger.stillOwn();
    await backup.store.delete(goes);
    state.prunedMs = this.now();
    state.prunedTxid = way.at(-1)?.maxTxid ?? 0;
    if (goes.length === 0) return;
    const fields = { database: backup.database.name, store: backup.store.url, files: goes.length };
    this.options.log.debug(fields, 'removed what is not kept any more');
  }

  /** Sets aside what a primary left that had lost the store while it uploaded. */
  private async withoutStrangers(backup: DatabaseBackup, files: readonly StoreFile[]): Promise<readonly StoreFile[]> {
    const { ledger } = backup;
    for (let left = files; ; ) {
      const suspects = findSuspects(left);
      const strangers = new Set(await ledger.strangers(suspects, backup.wentThrough));
      if (strangers.size === 0) return left;
      await this.setAside(backup, [...strangers]);
      left = left.filter((file) => !strangers.has(file));
    }
  }

  private succeeded(backup: DatabaseBackup, state: LaneState): void {
    if (state.failure !== undefined) this.options.log.info({ database: backup.database.name }, 'upkeep works again');
    state.failures = 0;
    state.failure = undefined;
  }

  private failed(backup: DatabaseBackup, state: LaneState, error: unknown): void {
    // What was broken off did not fail.
    if (backup.isClosed || this.timer === undefined) return;
    const code = errorCode(error);
    if (code === 'STORE_NOT_FOUND') backup.ledger.forget();
    // What is there that should not be, or seemed to fail, is for the uploads to look at; and to tell what others changed.
    else if (code === 'STORE_EXISTS') backup.ledger.doubt();
    if (!backup.ledger.isKnown || code === 'STORE_FENCED') {
      this.options.onLost(backup);
      return;
    }
    state.failures++;
    state.retryMs = this.now() + Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(state.failures - 1, 20));
    const isNew = errorCode(state.failure?.error) !== errorCode(error);
    state.failure = { error, sinceMs: state.failure?.sinceMs ?? this.now() };
    const fields = { database: backup.database.name, error: describeError(error) };
    if (isNew) this.options.log.warn(fields, 'upkeep of the backup fails; trying again');
  }

  private stateOf(backup: DatabaseBackup): State {
    let state = this.states.get(backup);
    if (state === undefined) {
      state = {
        lanes: { files: newLane(), snapshot: newLane() },
        // A process that does not live for so long is to remove something, too.
        prunedMs: this.now() - Math.max(0, this.pruneMs - FIRST_PRUNE_MS),
        prunedTxid: 0,
        merged: [],
      };
      this.states.set(backup, state);
    }
    return state;
  }
}

function newLane(): LaneState {
  return { running: false, failures: 0, retryMs: 0, failure: undefined };
}

async function findFile(store: Store, key: FileKey): Promise<ManifestFile | undefined> {
  const range = { firstLevel: key.level, lastLevel: key.level, afterMinTxid: key.minTxid - 1 };
  for await (const file of store.list(range)) {
    if (file.minTxid > key.minTxid) return undefined;
    if (compareFiles(file, key) !== 0) continue;
    const header = await readFileHeader(store, file);
    return header && { ...file, checksum: header.postApply };
  }
  return undefined;
}
