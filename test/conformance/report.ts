import type { Verdict } from './campaign.js';

const MAX_SHOWN = 12;

/** Prints each verdict as it comes, and a table at the end. */
export class Report {
  readonly #verdicts: { readonly suite: string; readonly verdict: Verdict }[] = [];
  #failed = 0;

  add(suite: string, verdict: Verdict): void {
    this.#verdicts.push({ suite, verdict });
    const { outcome, complaints, leftOver } = verdict;
    const passed = complaints.length === 0;
    if (!passed) this.#failed++;
    const counts = `${outcome.cases - outcome.failed.length}/${outcome.cases}`;
    const figure = this.#figure(suite, verdict);
    const compared = leftOver.compared === 0 ? '' : `  ${leftOver.compared} databases compared`;
    const head = `${passed ? 'ok  ' : 'FAIL'} ${verdict.place}: ${suite}: ${verdict.test}`;
    console.log(`${head}  ${counts}  ${outcome.seconds.toFixed(1)} s${figure}${compared}`);
    for (const complaint of complaints.slice(0, MAX_SHOWN)) console.log(`       ${complaint}`);
    if (complaints.length > MAX_SHOWN) console.log(`       and ${complaints.length - MAX_SHOWN} more`);
    for (const excuse of leftOver.excused) console.log(`     not compared: ${excuse}`);
  }

  /** What it measured, beside what it measured at the first place. */
  #figure(suite: string, { test, outcome }: Verdict): string {
    const seconds = outcome.measuredSeconds;
    if (seconds === undefined) return '';
    const first = this.#verdicts.find((each) => each.suite === suite && each.verdict.test === test)?.verdict;
    const ratio = seconds / (first?.outcome.measuredSeconds ?? seconds);
    return `  measured ${seconds.toFixed(2)} s, ${ratio.toFixed(2)} times ${first?.place}`;
  }

  /** A suite that cannot run here. */
  skip(suite: string, reason: string): void {
    console.log(`SKIP ${suite}: ${reason}`);
  }

  /** How a place ended. */
  end(place: string, wrong: readonly string[]): void {
    for (const text of wrong) console.log(`FAIL ${place}: ${text}`);
    this.#failed += wrong.length;
  }

  /** The table, cases and seconds of each suite at each place, and the last line. */
  print(): void {
    const places = [...new Set(this.#verdicts.map(({ verdict }) => verdict.place))];
    const rows = [...new Set(this.#verdicts.map(({ suite }) => suite))];
    console.log(`\n| cases passed | ${places.join(' | ')} |\n|${' --- |'.repeat(places.length + 1)}`);
    for (const row of rows) {
      console.log(`| ${row} | ${places.map((place) => this.#cell(row, place)).join(' | ')} |`);
    }
    const passed = this.#verdicts.filter(({ verdict }) => verdict.complaints.length === 0).length;
    console.log(`\n${passed} passed, ${this.#failed} failed`);
    process.exitCode = this.#failed === 0 ? 0 : 1;
  }

  #cell(suite: string, place: string): string {
    const found = this.#verdicts.filter((each) => each.suite === suite && each.verdict.place === place);
    const sum = (of: (verdict: Verdict) => number): number =>
      found.reduce((total, { verdict }) => total + of(verdict), 0);
    const cases = sum(({ outcome }) => outcome.cases);
    const passed = cases - sum(({ outcome }) => outcome.failed.length);
    const failed = found.filter(({ verdict }) => verdict.complaints.length > 0).length;
    const seconds = sum(({ outcome }) => outcome.seconds);
    return `${passed}/${cases}, ${seconds.toFixed(0)} s${failed > 0 ? ` (${failed} of ${found.length} tests failed)` : ''}`;
  }
}
