/** What start-program.ts says of one start with a fault, and of the one after it. */
export interface StartReport {
  readonly label: string;
  readonly error: string;
  /** What the data folder was: see start-program.ts. */
  readonly kind: 'fresh' | 'used' | 'left over' | 'taken over' | 'held' | 'outlived';
  /** Whether a call had the label. */
  readonly hit: boolean;
  /** Why it could not start, or go on; empty if it could. */
  readonly failed: string;
  /** The same, of the start without the fault. */
  readonly after: string;
  /** Of the database then. */
  readonly position: string;
}
