import { Conversation } from './conversation.js';

/** For what may have to wait for a new node. */
const PATIENCE_MS = 30_000;
/** Pages that a transaction with a small cache has written before its commit. */
const SPILLED_ROWS = 60;

/** An application with one connection, told what to do. */
export class Application {
  readonly #process: Conversation;

  constructor(
    readonly name: string,
    path: string,
  ) {
    this.#process = new Conversation(name, './sql-process.js', [path]);
  }

  /** The first value of a SELECT. Rejects with SQLite's code. */
  async run(sql: string): Promise<unknown> {
    const answer = await this.#process.ask(`${PATIENCE_MS} ${sql}`);
    const error = errorOf(answer);
    if (error !== undefined) throw new Error(`${this.name}: ${sql}: ${error}`);
    return answer;
  }

  /** SQLite's code if it fails at once; undefined if it works. */
  async refused(sql: string): Promise<string | undefined> {
    return errorOf(await this.#process.ask(`0 ${sql}`));
  }

  /** Begins a transaction and leaves it open; `spilled`: with pages in the files already. */
  async begin(rows: number, spilled: boolean): Promise<void> {
    await this.run(`PRAGMA cache_size = ${spilled ? 5 : 2000}`);
    await this.run('BEGIN IMMEDIATE');
    await this.insert(rows);
    if (spilled)
      await this.run(`UPDATE t SET p = randomblob(900) WHERE id > (SELECT max(id) FROM t) - ${SPILLED_ROWS}`);
  }

  async insert(rows: number): Promise<void> {
    await this.run(
      `INSERT INTO t (p) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${rows}) SELECT randomblob(300) FROM n`,
    );
  }

  count(): Promise<unknown> {
    return this.run('SELECT count(*) FROM t');
  }

  kill(): void {
    this.#process.kill();
  }

  get ended(): Promise<number | string> {
    return this.#process.ended;
  }

  end(): Promise<void> {
    return this.#process.end();
  }
}

/** Commits without a rest, and knows how long that took. */
export class Pulse {
  readonly #process: Conversation;

  constructor(path: string, mode: string) {
    this.#process = new Conversation(`the pulse of ${path}`, './pulse-process.js', [path, mode]);
  }

  /** Since the last call. */
  async beats(): Promise<{ readonly commits: number; readonly total: number; readonly longestMs: number }> {
    return (await this.#process.ask('?')) as { commits: number; total: number; longestMs: number };
  }

  end(): Promise<void> {
    return this.#process.end();
  }

  kill(): void {
    this.#process.kill();
  }
}

function errorOf(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null || !('error' in answer)) return undefined;
  return String(answer.error);
}
