import { Coverage } from './coverage.js';
import { Mutator } from './mutator.js';
import { Random } from './random.js';
import type { Target, TargetEntry } from './target.js';

/** One input may take so long; if it does so three times over in the processor's time, that is a failure. */
const SLOW_MS = 1000;
const SLOW_TRIES = 3;
/** What one input of at most some 100 KB may leave in memory, before the garbage collector has run. */
const GROWTH_LIMIT_BYTES = 64 << 20;
/** Every so many inputs one is measured. */
const MEASURED_EVERY = 32;
/** What the process may keep after the garbage collector has run. */
const KEPT_LIMIT_BYTES = 256 << 20;
/** So many inputs are led by coverage. The rest, from what those found, runs at full speed, without V8 counting blocks. */
const GUIDED_INPUTS = 20_000;
/** Looking at coverage takes about this share of the time at most. */
const COVERAGE_SHARE = 0.25;
const MIN_BATCH = 8;
const MAX_BATCH = 1024;
const CORPUS_LIMIT = 4096;
/** Different failures after which a target is given up. */
const FAILURE_LIMIT = 8;
const SHRINK_RUNS = 500;

export interface Failure {
  readonly what: string;
  readonly input: Buffer;
}

export interface Outcome {
  readonly name: string;
  readonly inputs: number;
  readonly elapsedMs: number;
  /** Inputs that came to new code. */
  readonly corpus: number;
  /** Characters of src that ran. */
  readonly covered: number;
  readonly failures: readonly Failure[];
}

/** Gives one target seeds, changed ones, and changed ones of those that came to new code. */
export class Fuzzer {
  private readonly random: Random;
  private readonly mutator: Mutator;
  private readonly corpus: Uint8Array[];
  private readonly failures = new Map<string, Failure>();
  private readonly other = (): Uint8Array => this.random.pick(this.corpus);
  private coverage: Coverage | undefined;
  private batchSize = 64;
  private done = 0;

  /** `before` is told of each input, in case it ends the process. */
  constructor(
    private readonly entry: TargetEntry,
    private readonly target: Target,
    seed: number,
    private readonly before: (input: Uint8Array) => void,
  ) {
    this.random = new Random(seed ^ hashOf(entry.name));
    this.mutator = new Mutator(this.random, target.dictionary ?? [], target.maxBytes);
    this.corpus = target.seeds.length > 0 ? [...target.seeds] : [new Uint8Array(0)];
  }

  async run(inputs: number): Promise<Outcome> {
    const startMs = performance.now();
    this.coverage = new Coverage();
    try {
      for (const seed of [...this.corpus]) await this.check(Buffer.from(seed));
      this.coverage.take();
      this.coverage.keep();
      await this.batches(Math.min(inputs, GUIDED_INPUTS));
    } finally {
      this.coverage.close();
    }
    const { size } = this.coverage;
    this.coverage = undefined;
    await this.batches(inputs);
    return {
      name: this.entry.name,
      inputs: this.done,
      elapsedMs: performance.now() - startMs,
      corpus: this.corpus.length,
      covered: size,
      failures: [...this.failures.values()],
    };
  }

  private async batches(inputs: number): Promise<void> {
    while (this.done < inputs && this.failures.size < FAILURE_LIMIT) {
      await this.batch(Math.min(this.batchSize, inputs - this.done));
    }
  }

  private async batch(size: number): Promise<void> {
    const startMs = performance.now();
    const batch: Buffer[] = [];
    for (let i = 0; i < size; i++) {
      const input = this.next();
      if (await this.check(input)) batch.push(input);
    }
    const ranMs = performance.now();
    if (this.coverage !== undefined) {
      if (this.coverage.take() > 0) await this.sift(this.coverage, batch);
      else this.adapt(ranMs - startMs, performance.now() - ranMs);
    }
    if (process.memoryUsage.rss() > KEPT_LIMIT_BYTES) this.checkKept(batch);
  }

  /** Finds those of a batch that came to new code, half by half. */
  private async sift(coverage: Coverage, batch: readonly Buffer[]): Promise<void> {
    for (const input of batch) await runQuietly(this.target, input);
    if (coverage.take() === 0) return;
    if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.sift(coverage, batch.slice(0, middle));
      await this.sift(coverage, batch.slice(middle));
    } else {
      coverage.keep();
      if (this.corpus.length < CORPUS_LIMIT) this.corpus.push(batch[0]!);
    }
  }

  private adapt(runMs: number, coverageMs: number): void {
    const wanted = coverageMs / Math.max(runMs + coverageMs, 1e-3);
    this.batchSize = Math.min(
      MAX_BATCH,
      Math.max(MIN_BATCH, Math.round(this.batchSize * (wanted / COVERAGE_SHARE + 0.5))),
    );
  }

  private next(): Buffer {
    const { random, target, corpus } = this;
    const made = target.make !== undefined && random.chance(0.3) ? target.make(random) : undefined;
    if (made !== undefined && random.chance(0.5)) return made;
    // The newest are the least explored.
    const from = random.chance(0.5) ? corpus.length - 1 - random.small(corpus.length) : random.below(corpus.length);
    const input = this.mutator.mutate(made ?? corpus[from]!, this.other);
    return target.repair !== undefined && random.chance(0.7) ? target.repair(input, random) : input;
  }

  /** Whether the input did no harm. */
  private async check(input: Buffer): Promise<boolean> {
    this.before(input);
    const measured = this.done++ % MEASURED_EVERY === 0;
    const memory = measured ? allocated() : 0;
    const startMs = performance.now();
    try {
      const running = this.target.run(input);
      if (running !== undefined) await running;
    } catch (error) {
      await this.fail(signatureOf(error), input);
      return false;
    }
    if (performance.now() - startMs > SLOW_MS) return this.checkTime(input);
    if (measured && allocated() - memory > GROWTH_LIMIT_BYTES) {
      this.note(`allocated ${(allocated() - memory) >> 20} MiB for ${input.length} bytes`, input);
      return false;
    }
    return true;
  }

  private async checkTime(input: Buffer): Promise<boolean> {
    let leastMs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < SLOW_TRIES && leastMs > SLOW_MS; i++) {
      const start = process.cpuUsage();
      await runQuietly(this.target, input);
      const { user, system } = process.cpuUsage(start);
      leastMs = Math.min(leastMs, (user + system) / 1000);
    }
    if (leastMs <= SLOW_MS) return true;
    this.note(`took ${Math.round(leastMs)} ms for ${input.length} bytes`, input);
    return false;
  }

  private checkKept(batch: readonly Buffer[]): void {
    global.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    if (heapUsed + arrayBuffers > KEPT_LIMIT_BYTES) {
      this.note(`keeps ${(heapUsed + arrayBuffers) >> 20} MiB`, batch.at(-1) ?? Buffer.alloc(0));
    }
  }

  private async fail(what: string, input: Buffer): Promise<void> {
    if (!this.failures.has(signatureText(what))) this.note(what, await this.shrink(input, what));
  }

  private note(what: string, input: Buffer): void {
    const key = signatureText(what);
    if (!this.failures.has(key)) this.failures.set(key, { what, input });
  }

  /** Leaves out of a failing input what is not needed for the failure. */
  private async shrink(input: Buffer, what: string): Promise<Buffer> {
    let best = input;
    let runs = 0;
    for (let size = best.length >> 1; size > 0 && runs < SHRINK_RUNS; size >>= 1) {
      for (let at = 0; at < best.length && runs < SHRINK_RUNS; runs++) {
        const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
        this.before(shorter);
        if (signatureText((await failureOf(this.target, shorter)) ?? '') === signatureText(what)) best = shorter;
        else at += size;
      }
    }
    return best;
  }
}

/** What happens with an input, if it must not; undefined if all is well. */
export async function failureOf(target: Target, input: Buffer): Promise<string | undefined> {
  try {
    await target.run(input);
    return undefined;
  } catch (error) {
    return signatureOf(error);
  }
}

async function runQuietly(target: Target, input: Buffer): Promise<void> {
  try {
    await target.run(input);
  } catch {
    // it was told before
  }
}

function allocated(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** The error, and where it came from. */
function signatureOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = error.stack?.split('\n').find((line) => /dist\/src\/|node_modules/.test(line));
  return `${error.name}: ${error.message.slice(0, 300)}${place === undefined ? '' : ` ${place.trim()}`}`;
}

/** Failures that differ in numbers only are one. */
function signatureText(what: string): string {
  return what.replace(/0x[0-9a-f]+|\d+/g, '#').replace(/"[^"]*"|'[^']*'/g, '""');
}

function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
