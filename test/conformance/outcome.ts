/** How one test of a suite went at one place. */
export interface Outcome {
  readonly cases: number;
  /** Names of those of its cases that failed. */
  readonly failed: readonly string[];
  /** Names of those that passed, and of those that were skipped, from suites that say them: what passed on ext4 must not be left out. */
  readonly passed?: readonly string[];
  readonly skipped?: readonly string[];
  /** That it did not come to its end, why, or what else is wrong with it as a whole. */
  readonly problem?: string;
  readonly seconds: number;
  /** What it measured itself, for those that measure. */
  readonly measuredSeconds?: number;
}

/** How it goes on ext4: so many cases, and those that fail there too, which have to do with how it is run. */
export type Baseline = Pick<Outcome, 'cases' | 'failed' | 'passed'>;

/** With fewer cases than this share of the baseline's it has left some out, because something was not as it should be. */
const MIN_CASES_SHARE = 0.9;

/** What speaks against an outcome, next to what is known to fail on ext4. Empty: it passed. */
export function complaints(outcome: Outcome, baseline: Baseline | undefined): string[] {
  const known = new Set(baseline?.failed ?? []);
  const failed = outcome.failed.filter((name) => !known.has(name));
  const short = baseline !== undefined && outcome.cases < baseline.cases * MIN_CASES_SHARE;
  return [
    ...(outcome.problem === undefined ? [] : [outcome.problem]),
    ...failed,
    ...leftOut(outcome, baseline),
    ...(outcome.cases === 0 ? ['it ran no case'] : []),
    ...(short ? [`${outcome.cases} cases, but ${baseline.cases} on ext4`] : []),
  ];
}

/** What passed on ext4, and neither passed nor failed here. */
function leftOut({ passed, failed, skipped = [] }: Outcome, baseline: Baseline | undefined): string[] {
  if (passed === undefined || baseline?.passed === undefined) return [];
  const ran = new Set([...passed, ...failed]);
  const missing = baseline.passed.filter((name) => !ran.has(name));
  return missing.map((name) => `${name} ${skipped.includes(name) ? 'was skipped' : 'did not run'}`);
}
