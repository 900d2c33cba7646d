/** Upper bounds of the buckets, seconds. */
const BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

/**
 * A histogram in Prometheus' text format that costs nothing but an addition for each value: prom-client's own makes
 * several objects each time, and this is called for each transaction.
 */
export class LagHistogram {
  /** One more than there are bounds: the last is for what is greater than all. */
  readonly #counts = new Float64Array(BOUNDS.length + 1);
  #sum = 0;

  constructor(
    readonly name: string,
    readonly help: string,
  ) {}

  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < BOUNDS.length && seconds > BOUNDS[bucket]!) bucket++;
    this.#counts[bucket]! += 1;
    this.#sum += seconds;
  }

  /** Its lines of the page. */
  render(): string {
    const lines = [`# HELP ${this.name} ${this.help}`, `# TYPE ${this.name} histogram`];
    let count = 0;
    BOUNDS.forEach((bound, i) => {
      count += this.#counts[i]!;
      lines.push(`${this.name}_bucket{le="${bound}"} ${count}`);
    });
    count += this.#counts[BOUNDS.length]!;
    lines.push(
      `${this.name}_bucket{le="+Inf"} ${count}`,
      `${this.name}_sum ${this.#sum}`,
      `${this.name}_count ${count}`,
    );
    return `${lines.join('\n')}\n`;
  }
}
