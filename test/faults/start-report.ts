/** What start-program.ts says of one start with a fault, and of the one after it. */
export interface StartReport {
  readonly label: string;
  readonly error: string;
  /** What the data folder was: nothing, one that a crash left, one whose mount lives on. */
  readonly kind: 'fresh' | 'used' | 'taken over';
  /** Whether a call had the label. */
  readonly hit: boolean;
  /** Why it could not start, or go on; empty if it could. */
  readonly failed: string;
  /** The same, of the start without the fault. */
  readonly after: string;
  /** Of the database then. */
  readonly position: string;
}
