/** What the watching process asks of the fuzzing one, as JSON in its argument. */
export interface Task {
  readonly target: string;
  /** 0: as many as the target's `quickInputs`. */
  readonly inputs: number;
  readonly seed: number;
  /** A file with the one input to run instead. */
  readonly replay: string | undefined;
  /** The target's own; not there yet. */
  readonly folder: string;
  /** See current-input.ts. */
  readonly current: string;
}

/** How the fuzzing process ends if an input failed; any other code but 0 is a crash. */
export const FAILED_EXIT_CODE = 3;
