import type { LeftOver } from './left-over.js';
import { type Baseline, complaints, type Outcome } from './outcome.js';
import type { Place } from './place.js';

/** One test of a suite: a file, or a program with its arguments. */
export interface SuiteTest {
  readonly name: string;
  /** What ext4 is known to give; left out: what it gives in this run. */
  readonly baseline?: Baseline;
  run(folder: string): Promise<Outcome>;
}

export interface Suite {
  readonly name: string;
  readonly tests: readonly SuiteTest[];
}

/** What came of one test at one place. */
export interface Verdict {
  readonly test: string;
  readonly place: string;
  readonly outcome: Outcome;
  /** Empty: it passed. */
  readonly complaints: readonly string[];
  readonly leftOver: LeftOver;
}

const NOTHING: LeftOver = { compared: 0, excused: [], differences: [] };

/** Runs one test at a place, which is emptied before, and compares what it left. A place that hangs is made anew. */
export async function runAt(place: Place, test: SuiteTest, baseline: Baseline | undefined): Promise<Verdict> {
  let outcome: Outcome = { cases: 0, failed: [], seconds: 0 };
  let leftOver = NOTHING;
  let broken: string | undefined;
  try {
    await place.empty();
    outcome = await test.run(place.folder);
    leftOver = await place.leftOver();
  } catch (error) {
    broken = error instanceof Error ? error.message : String(error);
    await place.renew();
  }
  return {
    test: test.name,
    place: place.name,
    outcome,
    complaints: [
      ...complaints(outcome, broken === undefined ? baseline : undefined),
      ...leftOver.differences,
      ...(broken === undefined ? [] : [broken]),
    ],
    leftOver,
  };
}

/** What ext4 gave in this run, by suite and test. */
export type Baselines = Map<SuiteTest, Baseline>;

/**
 * Runs suites at a place. What ext4 gives is noted in `baselines`, and expected elsewhere of tests that do not say
 * themselves what ext4 gives.
 */
export async function runSuites(
  suites: readonly Suite[],
  place: Place,
  baselines: Baselines,
  onVerdict: (suite: Suite, verdict: Verdict) => void,
): Promise<void> {
  for (const suite of suites) {
    for (const test of suite.tests) {
      const verdict = await runAt(place, test, test.baseline ?? baselines.get(test));
      const first = place.plain && test.baseline === undefined;
      if (first) baselines.set(test, verdict.outcome);
      onVerdict(suite, first ? { ...verdict, complaints: complaints(verdict.outcome, verdict.outcome) } : verdict);
    }
  }
}
