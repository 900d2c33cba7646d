import type { DurabilityRule } from '../config/index.js';
import type { Position, Txid } from '../ltx/index.js';

/** What is to be done for a database. */
export type WaitAction =
  /** Everything up to this TXID is where it has to be. */
  | { readonly kind: 'stored'; readonly txid: Txid }
  /** The commit with this number is answered although it is nowhere else, and those that follow do not wait. */
  | { readonly kind: 'degrade'; readonly number: number }
  /** It is answered although it is nowhere else: it cannot be undone. Others wait as before. */
  | { readonly kind: 'let go'; readonly number: number }
  /** It fails, and is undone. */
  | { readonly kind: 'refuse'; readonly number: number }
  /** Commits wait again. */
  | { readonly kind: 'recover' };

/** A TXID that is to be reached in time. */
interface Target {
  readonly txid: Txid;
  readonly setMs: number;
}

/**
 * When commits of one database may return. Told of what happens, it says what to do; no clock and no I/O. Times are
 * milliseconds of one clock.
 */
export class CommitWait {
  position: Position;
  /** Since when commits return at once, although they should wait. */
  degradedSinceMs: number | undefined;
  /** Since when commits fail, as nothing that was committed has come to where it has to be. */
  refusingSinceMs: number | undefined;
  /** The last commit that failed led there. */
  private refusedTxid: Txid = 0;
  /** Commits that returned without being where they should; commits that failed for it. */
  degraded = 0;
  refused = 0;
  private stored: Txid = 0;
  private commit: { readonly number: number; readonly sinceMs: number; decided: boolean } | undefined;
  private target: Target | undefined;

  constructor(
    readonly rule: DurabilityRule,
    position: Position,
  ) {
    this.position = position;
  }

  /** Something was logged. */
  moved(position: Position, nowMs: number): void {
    this.position = position;
    if (this.degradedSinceMs === undefined) return;
    this.degraded++;
    this.aim(nowMs);
  }

  /** Everything up to `txid` is where it has to be; up to `got` it came there, and was not there by being taken back here. */
  reached(txid: Txid, nowMs: number, got = txid): WaitAction[] {
    const actions: WaitAction[] = [];
    if (txid > this.stored) {
      this.stored = txid;
      actions.push({ kind: 'stored', txid });
    }
    if (got >= this.refusedTxid) this.refusingSinceMs = undefined;
    if (this.isBack(nowMs)) {
      this.degradedSinceMs = undefined;
      this.target = undefined;
      actions.push({ kind: 'recover' });
    }
    return actions;
  }

  /** A commit waits for its answer. True if that is news. */
  awaits(number: number, nowMs: number): boolean {
    if (this.commit?.number === number) return false;
    this.commit = { number, sinceMs: nowMs, decided: false };
    return true;
  }

  /** Since when commit `number` waits. */
  since(number: number): number | undefined {
    return this.commit?.number === number ? this.commit.sinceMs : undefined;
  }

  /** When the time of the commit that waits is over. */
  get deadlineMs(): number | undefined {
    return this.commit === undefined || this.commit.decided ? undefined : this.commit.sinceMs + this.rule.timeoutMs;
  }

  /**
   * The time of commit `number` may be over; 0: none waits. `isTold`: somebody was told already that it is committed, so it
   * cannot be undone.
   */
  tick(number: number, nowMs: number, isTold: boolean): WaitAction | undefined {
    const { commit, deadlineMs } = this;
    if (commit?.number !== number || deadlineMs === undefined || nowMs < deadlineMs) return undefined;
    commit.decided = true;
    if (this.rule.onTimeout === 'refuse' && !isTold) {
      this.refused++;
      this.refusingSinceMs ??= nowMs;
      this.refusedTxid = this.position.txid;
      return { kind: 'refuse', number };
    }
    this.degraded++;
    if (this.rule.onTimeout === 'refuse') return { kind: 'let go', number };
    this.degradedSinceMs ??= nowMs;
    this.aim(nowMs);
    return { kind: 'degrade', number };
  }

  /** What is committed now is to be there in as much time as a commit would have waited. */
  private aim(nowMs: number): void {
    const { target } = this;
    if (target === undefined || nowMs - target.setMs >= this.rule.timeoutMs) {
      this.target = { txid: this.position.txid, setMs: nowMs };
    }
  }

  private isBack(nowMs: number): boolean {
    const { target, stored } = this;
    if (this.degradedSinceMs === undefined) return false;
    if (stored >= this.position.txid) return true;
    return target !== undefined && stored >= target.txid && nowMs - target.setMs < this.rule.timeoutMs;
  }
}

/**
 * Up to which TXID so many of them have everything. One that is where the database is, by another TXID, has the same
 * content: what came between was taken back.
 */
export function storedBy(count: number, replicas: readonly Position[], position: Position): Txid {
  return nth(
    count,
    replicas.map(({ txid, checksum }) => (checksum === position.checksum ? position.txid : txid)),
  );
}

/** Up to which TXID everything came to so many of them. */
export function gotBy(count: number, replicas: readonly Position[]): Txid {
  return nth(
    count,
    replicas.map(({ txid }) => txid),
  );
}

function nth(count: number, txids: Txid[]): Txid {
  return txids.sort((a, b) => b - a)[count - 1] ?? 0;
}
