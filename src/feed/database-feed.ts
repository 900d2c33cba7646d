import { setTimeout as sleep } from 'node:timers/promises';
import type { ManifestFile, Slots, Store } from '../backup/index.js';
import type { LargeReceiver, Standing, StoreSink } from '../database/types.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { decodeHeader, HEADER_SIZE, LtxError, type LtxHeader, type Position } from '../ltx/index.js';
import { type FeedLimits, FRESH_INTERVALS, STALE_LIMIT } from './limits.js';
import { ToldStore } from './told-store.js';
import type { FeedProblem } from './types.js';
import { decide, type Told } from './way.js';

/** Failures that stay until the primary stores something else, or a person helps. */
const LASTING = /^(RESTORE_|LTX_|DATABASE_|STORE_GAP$|STORE_MANIFEST$)/;

/** What the databases of a feed share. */
export interface DatabaseFeedContext {
  readonly sink: StoreSink;
  readonly intervalMs: number;
  readonly limits: FeedLimits;
  readonly downloads: Slots;
  readonly signal: AbortSignal;
  /** The store answered. */
  heard(): void;
  received(): void;
  applied(name: string, position: Position, lagMs: number): void;
  /** It is where the store is, now and perhaps before. */
  arrived(name: string): void;
  /** `isNew`: it did not fail so before. */
  failed(name: string, error: SluiceError, isNew: boolean): void;
}

/** One database: looks at its manifest again and again, and gives the files that lead on to the sink. */
export class DatabaseFeed {
  /** Resolves when it was at the store's position, or the store had nothing for it, or nothing that can be used. */
  readonly reached: Promise<void>;
  problem: FeedProblem | undefined;
  private resolveReached: () => void = () => undefined;
  private readonly source: ToldStore;
  private told: Told | undefined;
  private lookedMs: number | undefined;
  /** What the store told last is not done yet. */
  private pending = true;
  private failures = 0;
  private stale = 0;
  /** The position counts only if the store confirms it: a file did not lead on from it. */
  private forced = false;
  private waitsForList = false;

  constructor(
    readonly name: string,
    private readonly store: Store,
    private readonly context: DatabaseFeedContext,
  ) {
    this.source = new ToldStore(store, context.limits.listMs, Date.now);
    this.reached = new Promise((resolve) => {
      this.resolveReached = resolve;
    });
  }

  /** Until the signal. Never rejects. */
  async run(): Promise<void> {
    const { signal, intervalMs } = this.context;
    while (!signal.aborted) {
      const startMs = performance.now();
      const failed = await this.poll();
      if (signal.aborted) return;
      const waitMs = failed ? this.retryMs() : Math.max(0, intervalMs - (performance.now() - startMs));
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** How old the content is: 0 where it has all that the store had when it was read last. Null if that is not known. */
  lagMs(nowMs: number): number | null {
    if (this.lookedMs === undefined || this.told === undefined) return null;
    const silentMs = nowMs - this.lookedMs;
    const lagMs = silentMs <= FRESH_INTERVALS * this.context.intervalMs ? 0 : silentMs;
    const txid = this.standing?.position.txid ?? 0;
    if (txid >= this.told.position.txid) return lagMs;
    const missing = this.told.files.find((file) => file.maxTxid > txid);
    return Math.max(lagMs, nowMs - (missing?.timeMs ?? this.lookedMs));
  }

  private get standing(): Standing | undefined {
    return this.context.sink.standing(this.name);
  }

  /** True if it failed. */
  private async poll(): Promise<boolean> {
    try {
      const look = await this.source.look(this.standing?.position.txid ?? 0);
      this.heard();
      this.told = look.told;
      if (look.isNew || this.pending || this.standing?.isKnown === false) {
        this.pending = true;
        this.pending = !(await this.follow(look.told, look.doubtful));
      }
      if (!this.pending) this.succeeded();
      return false;
    } catch (error) {
      if (!this.context.signal.aborted) this.note(error);
      return true;
    }
  }

  /** True if it is where the store is. */
  private async follow(told: Told, doubtful: boolean): Promise<boolean> {
    while (!this.context.signal.aborted) {
      const step = decide(this.standing, told, doubtful || this.forced);
      switch (step.kind) {
        case 'none':
          if (step.confirmed) this.confirm(told);
          this.arrived();
          return true;
        case 'stale':
          return this.meetStale(told);
        case 'list':
          this.source.doubt();
          if (this.waitsForList) throw noWay(this.store, this.standing);
          this.waitsForList = true;
          return false;
        case 'file':
          if (step.confirmed) this.confirm(told);
          await this.take(step.file, () => this.context.sink.receiveStored(this.name, told.run));
          break;
        case 'snapshot':
          if (step.reason === 'behind' && (await this.isConfirmedByFile(told))) continue;
          await this.take(step.file, () => this.context.sink.receiveStoredSnapshot(this.name, step.reason, told.run));
          this.forced = false;
      }
      this.stale = 0;
      this.waitsForList = false;
      this.source.settle();
      doubtful = false;
    }
    return false;
  }

  /** What the manifest does not name any more may still be there to say that the position is the store's. */
  private async isConfirmedByFile(told: Told): Promise<boolean> {
    const { standing } = this;
    if (standing === undefined || told.run === 0n || standing.origin === told.run) return false;
    if (!(await this.source.hasBeenAt(standing.position))) return false;
    this.confirm(told);
    return this.standing?.origin === told.run;
  }

  private confirm({ run }: Told): void {
    const { standing } = this;
    if (standing !== undefined && run !== 0n) this.context.sink.confirm(this.name, standing.position, run);
  }

  /** An old answer is waited out. Without a manifest nobody says whose files these are: in the end they are believed. */
  private meetStale(told: Told): never {
    if (told.run === 0n && ++this.stale >= STALE_LIMIT) this.forced = true;
    if (told.run === 0n) this.source.doubt();
    throw new SluiceError(
      'STORE_BEHIND',
      `the store has ${this.name} only up to TXID ${told.position.txid}, this replica has more`,
      'It is looked at again; what is here can be read meanwhile',
    );
  }

  private async take(file: ManifestFile, open: () => LargeReceiver): Promise<void> {
    const { downloads, signal } = this.context;
    await downloads.acquire();
    try {
      if (signal.aborted) throw new SluiceError('STOPPING', 'the node stops');
      const position = await this.download(file, open);
      this.context.applied(this.name, position, Math.max(0, Date.now() - file.timeMs));
    } catch (error) {
      const code = errorCode(error) ?? '';
      if (code === 'STORE_NOT_FOUND') this.source.doubt();
      // What is here is not what the files lead on from.
      if (code === 'REPLICA_GAP' || code === 'REPLICA_DIVERGED') this.forced = true;
      if (code.startsWith('LTX_')) throw damaged(this.store, file, error);
      throw error;
    } finally {
      downloads.release();
    }
  }

  private async download(file: ManifestFile, open: () => LargeReceiver): Promise<Position> {
    const { signal } = this.context;
    const receiver = open();
    try {
      let head = Buffer.alloc(0);
      for await (const piece of this.store.get(file)) {
        if (signal.aborted) throw new SluiceError('STOPPING', 'the node stops');
        if (head.length < HEADER_SIZE) {
          head = Buffer.concat([head, piece]);
          if (head.length >= HEADER_SIZE) mustBe(file, decodeHeader(head));
        }
        this.heard();
        this.context.received();
        await receiver.write(piece);
      }
    } catch (error) {
      await receiver.abort();
      throw error;
    }
    return receiver.finish();
  }

  private heard(): void {
    this.lookedMs = Date.now();
    this.context.heard();
  }

  private arrived(): void {
    this.stale = 0;
    this.forced = false;
    this.waitsForList = false;
    this.source.settle();
    this.resolveReached();
    this.context.arrived(this.name);
  }

  private succeeded(): void {
    this.failures = 0;
    this.problem = undefined;
  }

  private note(cause: unknown): void {
    const code = errorCode(cause) ?? 'REPLICA_FAILED';
    // What the store has of it cannot be used: applications start with what is there.
    if (LASTING.test(code)) this.resolveReached();
    const error = cause instanceof SluiceError ? cause : new SluiceError(code, describeError(cause), '', { cause });
    const sinceMs = this.problem?.code === error.code ? this.problem.sinceMs : Date.now();
    this.context.failed(this.name, error, this.problem?.code !== error.code);
    this.problem = { name: this.name, code: error.code, message: error.message, hint: error.hint, sinceMs };
    this.failures++;
  }

  /** The upper half of it is random, so that many databases do not come back at once. */
  private retryMs(): number {
    const { retryMinMs, retryMaxMs } = this.context.limits;
    const fullMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(this.failures - 1, 30));
    return fullMs / 2 + (fullMs / 2) * Math.random();
  }
}

/** Else the position would be thought to be another than it is. */
function mustBe({ minTxid, maxTxid }: ManifestFile, header: LtxHeader): void {
  if (header.minTxid === minTxid && header.maxTxid === maxTxid) return;
  throw new LtxError('LTX_HEADER', `its header is of TXID ${header.minTxid} to ${header.maxTxid}`);
}

function noWay(store: Store, standing: Standing | undefined): SluiceError {
  return new SluiceError(
    'STORE_GAP',
    `${store.url}: no file leads on from TXID ${standing?.position.txid ?? 0}`,
    'It is looked at again; a snapshot of the primary makes up for it',
  );
}

function damaged(store: Store, file: ManifestFile, cause: unknown): SluiceError {
  return new SluiceError(
    errorCode(cause) ?? 'LTX_HEADER',
    `${store.url}: transactions ${file.minTxid} to ${file.maxTxid} (level ${file.level}) are damaged: ${describeError(cause)}`,
    'It is tried again; the next snapshot of the primary passes it by (sluice backup now makes one)',
    { cause },
  );
}
