import { type Position, samePosition } from '../ltx/index.js';

/** What comes of a halt for the lock by hand. */
export type HandVerdict = 'give' | 'go on' | 'lost';

/**
 * The lock by hand of one database of a replica: whether somebody here wants it or has it, and whether nobody else has written
 * since it was given. `given`: whoever wanted it may take it. `lost`: somebody has it, and it is worth nothing any more.
 */
export class HandHold {
  private state: 'no' | 'wanted' | 'given' | 'held' | 'lost' = 'no';
  /** Where the database may stand if nobody else has written; undefined: that is not known. */
  private standings: readonly Position[] | undefined;

  get isIdle(): boolean {
    return this.state === 'no';
  }

  /** A halt is to be had, and kept. */
  get wantsHalt(): boolean {
    return this.state === 'wanted' || this.state === 'given' || this.state === 'held';
  }

  /** It is waited for. */
  get isWanted(): boolean {
    return this.state === 'wanted';
  }

  get isLost(): boolean {
    return this.state === 'lost';
  }

  wanted(): void {
    if (this.state === 'no') this.state = 'wanted';
  }

  /** `inherited`: from an earlier process, which knew where the database stood. */
  taken(inherited: boolean): void {
    if (this.state === 'lost') return;
    this.state = 'held';
    if (inherited) this.standings = undefined;
  }

  released(): void {
    this.state = 'no';
    this.standings = undefined;
  }

  lost(): void {
    this.state = 'lost';
  }

  /** The primary is halted, and the database here stands where it does. */
  halted(position: Position): HandVerdict {
    if (this.state === 'wanted') {
      this.state = 'given';
      this.standings = [position];
      return 'give';
    }
    if (this.standings !== undefined && !this.standings.some((each) => samePosition(each, position))) return 'lost';
    this.standings = [position];
    return 'go on';
  }

  /** A transaction of an application here led there. */
  committed(position: Position): void {
    if (this.standings !== undefined) this.standings = [position];
  }

  /** The connection is gone. Whether the primary has what leads to `pending` is to be seen. */
  disconnected(pending: Position | undefined): void {
    if (this.standings !== undefined && pending !== undefined) this.standings = [...this.standings, pending];
  }
}
