import type { Random } from '../../database/support/random.js';

/** What a browser met. */
export interface Seen {
  writes: number;
  /** Reads that were answered, by the node whose application did. */
  readonly reads: Map<string, number>;
  /** Answers other than 200, and requests without one, by what they were. */
  readonly errors: Map<string, number>;
}

const ANSWER_LIMIT_MS = 20_000;
const MAX_PAUSE_MS = 60;
const WRITES = 0.4;

/**
 * Somebody with a browser who is now at one node's proxy, now at another's, with his cookie. He has a counter of his own, so what
 * he has to read is known: what he was last told is written, or something that he tried since.
 */
export class Browser {
  readonly seen: Seen = { writes: 0, reads: new Map(), errors: new Map() };
  /** What he read and should not have. */
  readonly wrong: string[] = [];
  private cookie: string | undefined;
  private acknowledged = 0;
  private tried = 0;

  constructor(
    private readonly name: string,
    /** The nodes' proxies. */
    private readonly urls: readonly string[],
    private readonly random: Random,
  ) {}

  async work(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      if (this.random.chance(WRITES)) await this.write();
      else await this.read();
      await new Promise((resolve) => setTimeout(resolve, this.random.below(MAX_PAUSE_MS)));
    }
  }

  /** On each node. */
  async lookEverywhere(): Promise<void> {
    for (const url of this.urls) await this.read(url);
  }

  private async write(): Promise<void> {
    const value = ++this.tried;
    const answer = await this.ask('POST', `${this.random.pick(this.urls)}/${this.name}/${value}`);
    if (answer === undefined) return;
    this.acknowledged = value;
    this.seen.writes++;
  }

  private async read(url = this.random.pick(this.urls)): Promise<void> {
    const answer = await this.ask('GET', `${url}/${this.name}`);
    if (answer === undefined) return;
    const value = Number(answer.text);
    this.seen.reads.set(answer.node, (this.seen.reads.get(answer.node) ?? 0) + 1);
    if (value >= this.acknowledged && value <= this.tried) return;
    this.wrong.push(
      `${this.name} read ${value} on the ${answer.node}, after ${this.acknowledged} was acknowledged to it`,
    );
  }

  private async ask(method: string, url: string): Promise<{ text: string; node: string } | undefined> {
    try {
      const answer = await fetch(url, {
        method,
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
        ...(this.cookie !== undefined && { headers: { cookie: this.cookie } }),
      });
      const text = await answer.text();
      if (answer.status !== 200) {
        this.noteError(`${method} ${answer.status}`);
        return undefined;
      }
      this.cookie = answer.headers.getSetCookie()[0]?.split(';')[0] ?? this.cookie;
      return { text, node: answer.headers.get('x-node') ?? 'nobody' };
    } catch (error) {
      this.noteError(`${method} ${(error as Error).name}`);
      return undefined;
    }
  }

  private noteError(what: string): void {
    this.seen.errors.set(what, (this.seen.errors.get(what) ?? 0) + 1);
  }
}
