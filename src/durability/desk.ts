import type { DurabilityConfig } from '../config/index.js';
import type { CommitState } from '../database/index.js';
import type { DatabaseSet, ReplicatedDatabase } from '../database/types.js';
import { type Position, samePosition, type Txid } from '../ltx/index.js';
import type { DurabilityStatus, Problem } from '../status.js';
import { CommitWait, gotBy, storedBy, type WaitAction } from './commit-wait.js';
import { ruleFor } from './rules.js';

/** What takes part in waiting for other machines. */
export interface DurabilityParts {
  readonly rules: DurabilityConfig;
  readonly state: CommitState;
  readonly databases: DatabaseSet;
  /** Where connected replicas stand with a database, without the one of the id `except`. */
  readonly replicas: (name: string, except?: string) => readonly Position[];
  /** Up to where the store certainly has it. */
  readonly backup: (name: string) => Position | undefined;
  /** The store is to have what is committed as soon as it can. */
  readonly hurryBackup: (name: string) => void;
  readonly wakeWorker: () => void;
  /** A commit returned without being where it should, or failed for it. */
  readonly late: (name: string, outcome: 'degraded' | 'refused') => void;
  readonly log: { warn(fields: object, text: string): void; info(fields: object, text: string): void };
}

interface Waiting {
  readonly wait: CommitWait;
  readonly slot: number;
  readonly name: string;
  timer: NodeJS.Timeout | undefined;
}

/** A transaction that a replica sent, which counts as one that has it: its application is answered when the primary's commit is. */
interface Forward {
  readonly position: Position;
  readonly origin: string;
  /** It may have learnt already that this is committed. */
  isOrphaned: boolean;
}

/** Says when commits may return that have to be on other machines first, of all databases of a primary. Main thread. */
export class DurabilityDesk {
  private readonly bySlot = new Map<number, Waiting>();
  private readonly byName = new Map<string, Waiting>();
  /** Transactions of replicas that are being committed here. */
  private readonly forwards = new Map<string, Forward>();
  private unsubscribe: (() => void) | undefined;

  constructor(private readonly parts: DurabilityParts) {}

  /** Before the first database is recovered. */
  start(): void {
    const moved = (db: ReplicatedDatabase) => this.moved(db);
    this.unsubscribe = this.parts.databases.subscribe({
      opened: moved,
      transaction: moved,
      reset: moved,
      dropped: (name) => this.dropped(name),
    });
  }

  close(): void {
    this.unsubscribe?.();
    for (const { timer } of this.bySlot.values()) clearTimeout(timer);
  }

  /** What was committed in this database up to now may be logged, and somebody may wait for it. */
  attended(slot: number, name: string): void {
    const waiting = this.of(slot, name);
    const number = this.parts.state.awaiting(slot);
    if (waiting === undefined || number === 0) return;
    const { wait } = waiting;
    if (wait.awaits(number, performance.now()) && wait.rule.until === 'backup') this.parts.hurryBackup(name);
    if (this.parts.state.isStored(slot, wait.position.txid)) this.parts.wakeWorker();
    this.schedule(waiting);
  }

  /** Replicas have more of a database, or others are connected. */
  replicated(name: string): void {
    const waiting = this.byName.get(name);
    if (waiting === undefined || waiting.wait.rule.until !== 'replicas') return;
    const { wait } = waiting;
    const origin = this.committed(name, wait.position)?.origin;
    const others = this.parts.replicas(name, origin);
    const standings = origin === undefined ? others : [...others, wait.position];
    const { replicas } = wait.rule;
    this.reached(waiting, storedBy(replicas, standings, wait.position), gotBy(replicas, standings));
  }

  /** The store has everything up to this position. */
  backedUp(name: string, position: Position): void {
    const waiting = this.byName.get(name);
    if (waiting?.wait.rule.until !== 'backup') return;
    this.reached(waiting, storedBy(1, [position], waiting.wait.position), position.txid);
  }

  /** A transaction of the replica of this id is about to become the next one, and leads there. */
  forwarded(name: string, position: Position, origin: string): void {
    this.forwards.set(name, { position, origin, isOrphaned: false });
  }

  /** The replica whose transaction is being committed is told of it by another connection: it cannot be undone. */
  orphaned(name: string): void {
    const forward = this.forwards.get(name);
    if (forward !== undefined) forward.isOrphaned = true;
  }

  /** No replica's transaction is being committed any more. */
  decided(name: string): void {
    this.forwards.delete(name);
  }

  status(name: string): DurabilityStatus {
    const { until, replicas, onTimeout } = ruleFor(this.parts.rules, name);
    const waiting = this.byName.get(name);
    const wait = waiting?.wait;
    return {
      until,
      replicas,
      onTimeout,
      degradedSince: timeOf(wait?.degradedSinceMs),
      refusingSince: timeOf(wait?.refusingSinceMs),
      waitingMs: this.waitingMs(waiting),
      degraded: wait?.degraded ?? 0,
      refused: wait?.refused ?? 0,
    };
  }

  problems(): Problem[] {
    return [...this.byName.values()].flatMap(({ name, wait }) => {
      const { degradedSinceMs, refusingSinceMs, degraded, refused, rule } = wait;
      const isBackup = rule.until === 'backup';
      const where = isBackup ? 'the store' : `${rule.replicas} of its replicas`;
      const hint = `See ${isBackup ? 'backups' : 'replicas'} in sluice status`;
      if (refusingSinceMs !== undefined) {
        const message = `commits fail: ${where} did not have them in time (${refused} so far)`;
        return [{ code: 'DURABILITY_REFUSING', subject: name, message, hint, since: timeOf(refusingSinceMs)! }];
      }
      if (degradedSinceMs === undefined) return [];
      const message = `commits return before ${where} ${isBackup ? 'has' : 'have'} them (${degraded} so far)`;
      return [{ code: 'DURABILITY_DEGRADED', subject: name, message, hint, since: timeOf(degradedSinceMs)! }];
    });
  }

  private waitingMs(waiting: Waiting | undefined): number | null {
    if (waiting === undefined) return null;
    const sinceMs = waiting.wait.since(this.parts.state.awaiting(waiting.slot));
    return sinceMs === undefined ? null : Math.round(performance.now() - sinceMs);
  }

  private of(slot: number, name: string): Waiting | undefined {
    const known = this.bySlot.get(slot);
    if (known?.name === name) return known;
    const rule = ruleFor(this.parts.rules, name);
    if (rule.until === 'local') return undefined;
    this.forget(known);
    const position = this.parts.databases.get(name)?.position ?? { txid: 0, checksum: 0n };
    const waiting = { wait: new CommitWait(rule, position), slot, name, timer: undefined };
    this.bySlot.set(slot, waiting);
    this.byName.set(name, waiting);
    this.replicated(name);
    const stored = this.parts.backup(name);
    if (stored !== undefined) this.backedUp(name, stored);
    return waiting;
  }

  private moved(db: ReplicatedDatabase): void {
    const waiting = this.byName.get(db.name);
    if (waiting === undefined) return;
    const { wait } = waiting;
    const before = wait.degraded;
    wait.moved(db.position, performance.now());
    if (wait.degraded > before) this.parts.late(db.name, 'degraded');
    // What takes a commit back leads to what they have already.
    const isBack = wait.refusingSinceMs !== undefined;
    if (wait.rule.until === 'replicas' && (isBack || this.forwards.has(db.name))) this.replicated(db.name);
  }

  private dropped(name: string): void {
    const waiting = this.byName.get(name);
    if (waiting === undefined) return;
    this.forget(waiting);
    this.parts.state.forget(waiting.slot);
  }

  private forget(waiting: Waiting | undefined): void {
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.bySlot.delete(waiting.slot);
    if (this.byName.get(waiting.name) === waiting) this.byName.delete(waiting.name);
  }

  private reached(waiting: Waiting, txid: Txid, got: Txid): void {
    for (const action of waiting.wait.reached(txid, performance.now(), got)) this.act(waiting, action);
  }

  /** One timer for a database, however many commits come and go. */
  private schedule(waiting: Waiting): void {
    const { deadlineMs } = waiting.wait;
    if (waiting.timer !== undefined || deadlineMs === undefined) return;
    waiting.timer = setTimeout(
      () => {
        waiting.timer = undefined;
        this.tick(waiting);
      },
      Math.max(0, Math.ceil(deadlineMs - performance.now())),
    );
    waiting.timer.unref();
  }

  private tick(waiting: Waiting): void {
    const { wait, slot, name } = waiting;
    const number = this.parts.state.awaiting(slot);
    if (number === 0) return;
    const nowMs = performance.now();
    wait.awaits(number, nowMs);
    const action = wait.tick(number, nowMs, this.committed(name, wait.position)?.isOrphaned === true);
    if (action !== undefined) this.act(waiting, action);
    this.schedule(waiting);
  }

  /** The replica's transaction that led to where the database is, and whose commit is not decided. */
  private committed(name: string, position: Position): Forward | undefined {
    const forward = this.forwards.get(name);
    return forward !== undefined && samePosition(forward.position, position) ? forward : undefined;
  }

  private act({ slot, name, wait }: Waiting, action: WaitAction): void {
    const { state, late, log, wakeWorker } = this.parts;
    switch (action.kind) {
      case 'stored':
        state.setStored(slot, action.txid);
        break;
      case 'degrade':
        state.setOpen(slot, true);
        late(name, 'degraded');
        log.warn({ database: name }, 'commits return before they are on other machines: those do not answer in time');
        break;
      case 'let go':
        state.letGo(slot, action.number);
        late(name, 'degraded');
        break;
      case 'refuse':
        state.refuse(slot, action.number);
        late(name, 'refused');
        if (wait.refused === 1) log.warn({ database: name }, 'commits fail: other machines do not have them in time');
        break;
      case 'recover':
        state.setOpen(slot, false);
        log.info({ database: name }, 'commits wait for other machines again');
    }
    if (state.awaiting(slot) !== 0) wakeWorker();
  }
}

/** ISO 8601, of `performance.now()`. */
function timeOf(atMs: number | undefined): string | null {
  return atMs === undefined ? null : new Date(performance.timeOrigin + atMs).toISOString();
}
