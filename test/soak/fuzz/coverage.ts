import { type Profiler, Session } from 'node:inspector';
import { fileURLToPath } from 'node:url';

/** Only what was compiled from src counts. */
const SOURCES = fileURLToPath(new URL('../../../src/', import.meta.url));

/**
 * Which characters of the decoders' code have run, as V8's own block coverage tells: so an input that comes to new code
 * is known, without instrumenting anything. (Jazzer.js needs a newer C library than Debian 12 has; jsfuzz cannot see
 * ES modules.)
 */
export class Coverage {
  private readonly session = new Session();
  /** By script: 1 for each character that ran in an input that counted. */
  private readonly seen = new Map<string, Uint8Array>();
  private latest: readonly Profiler.ScriptCoverage[] = [];
  private characters = 0;

  constructor() {
    this.session.connect();
    this.session.post('Profiler.enable');
    this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Characters that have run. */
  get size(): number {
    return this.characters;
  }

  /** How many characters ran since the last `take` that had not before; they are still new afterwards, until `keep`. */
  take(): number {
    this.session.post('Profiler.takePreciseCoverage', (error, reply) => {
      if (error) throw error;
      this.latest = reply.result.filter(({ url }) => url.startsWith('file:') && fileURLToPath(url).startsWith(SOURCES));
    });
    return this.paint(false);
  }

  /** What the last `take` saw is no longer new. */
  keep(): void {
    this.characters += this.paint(true);
  }

  close(): void {
    this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
  }

  private paint(keep: boolean): number {
    let found = 0;
    for (const { url, functions } of this.latest) {
      const length = functions.reduce((most, { ranges }) => Math.max(most, ranges[0]!.endOffset), 0);
      const ran = new Uint8Array(length);
      // An inner function or block comes after the outer one, and is right about itself.
      for (const { ranges, isBlockCoverage } of functions) {
        if (ranges[0]!.count === 0 && !isBlockCoverage) continue;
        for (const { startOffset, endOffset, count } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      }
      found += this.addNew(url, ran, keep);
    }
    return found;
  }

  private addNew(url: string, ran: Uint8Array, keep: boolean): number {
    let seen = this.seen.get(url);
    if (seen === undefined || seen.length < ran.length) {
      const larger = new Uint8Array(ran.length);
      if (seen !== undefined) larger.set(seen);
      seen = larger;
      this.seen.set(url, seen);
    }
    let found = 0;
    for (let i = 0; i < ran.length; i++) {
      if (ran[i] === 0 || seen[i] === 1) continue;
      found++;
      if (keep) seen[i] = 1;
    }
    return found;
  }
}
