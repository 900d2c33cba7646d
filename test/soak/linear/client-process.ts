import Sqlite from 'better-sqlite3';
import { Random } from '../../database/support/random.js';
import { ACCOUNTS, KEYS, type NodeName, note, type Operation, type OperationName, type Row } from './operations.js';

/** An application that writes down all that it does: `client-process.js '{"client": 1, …}'`, see ClientTask. */

export interface ClientTask {
  readonly client: number;
  readonly node: NodeName;
  readonly path: string;
  /** Whether it writes too. */
  readonly writes: boolean;
  readonly seed: number;
  readonly millis: number;
  readonly busyMs: number;
  readonly history: string;
  /** It looks once at all that there is, and at whether it is sound, and ends. */
  readonly isLast?: boolean;
}

/** Between two operations: three nodes and their clients share the processors. */
const MAX_PAUSE_MS = 25;
/** Some think in the middle of a transaction, so that faults strike there. */
const DAWDLE_CHANCE = 0.04;
const MAX_DAWDLE_MS = 250;
const MAX_AMOUNT = 40;
/** Of writers: how many begin by reading, and of these and the others, how many write many pages. */
const UPGRADES = 0.25;
const LARGE = 0.1;
const MAX_PAD_BYTES = 200_000;
/** How many operations a connection lives on average. */
const CONNECTION_OPERATIONS = 60;
/** Values are unique: so many for each client. */
const VALUES = 1_000_000;

const WRITING: readonly OperationName[] = ['write', 'cas', 'cas', 'transfer', 'transfer', 'read', 'balances'];
const READING: readonly OperationName[] = ['read', 'balances'];

type Table = 'registers' | 'accounts' | 'clock';
type Draft = Pick<Operation, 'op' | 'input'> & {
  /** Whether it begins with the write lock. What only takes it when it writes is judged as if it had, if it got it. */
  readonly isImmediate: boolean;
  /** How much else a change writes: commits of one page, and of many. */
  readonly padBytes: number;
};

/** What is wrong at a step of a transaction. */
class StepError extends Error {
  constructor(
    readonly code: string,
    readonly step: string,
  ) {
    super(`${code} at ${step}`);
  }
}

class Client {
  readonly #task: ClientTask;
  readonly #random: Random;
  readonly #lastSeen = new Map<number, number>();
  #db: Sqlite.Database | undefined;
  #count = 0;

  constructor(task: ClientTask) {
    this.#task = task;
    this.#random = new Random(task.seed);
  }

  step(draft: Draft = this.#draft()): void {
    if (this.#random.chance(1 / CONNECTION_OPERATIONS)) this.close();
    const id = `${this.#task.client}.${++this.#count}`;
    const { client, node, history } = this.#task;
    const start_ns = nowNs();
    const { op, input, isImmediate } = draft;
    const base = { op, input, locked: isImmediate, id, client, node, start_ns, wrote: false } as const;
    let intent: Operation | undefined;
    try {
      const transaction = this.#run(draft, id, (before) => {
        intent = { ...base, ...before, kind: 'unknown', end_ns: nowNs() };
        note(history, intent);
      });
      note(history, { ...base, ...transaction, kind: 'ok', end_ns: nowNs() });
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      const { code, step } = error;
      // Busy at COMMIT: it has not happened, and is rolled back. Any other error there does not say.
      const isUnknown = intent !== undefined && step === 'commit' && !code.startsWith('SQLITE_BUSY');
      const kind = isUnknown ? 'unknown' : 'fail';
      note(history, { output: {}, ...base, ...intent, kind, end_ns: nowNs(), error: { code, step } });
    }
  }

  /** What was acknowledged last is seen by nobody else. */
  lookAtAll(): void {
    const plain = { isImmediate: false, padBytes: 0 } as const;
    for (let key = 0; key < KEYS; key++) this.step({ op: 'read', input: { key }, ...plain });
    this.step({ op: 'balances', input: {}, ...plain });
    const check = this.#open().pragma('integrity_check', { simple: true });
    if (check !== 'ok') throw new Error(`integrity_check: ${check}`);
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
  }

  #draft(): Draft {
    const op = this.#random.pick(this.#task.writes ? WRITING : READING);
    const key = this.#random.below(KEYS);
    const value = this.#task.client * VALUES + this.#count + 1;
    const isImmediate = !this.#random.chance(UPGRADES);
    const how = { isImmediate, padBytes: this.#random.chance(LARGE) ? this.#random.below(MAX_PAD_BYTES) : 0 };
    switch (op) {
      case 'write':
        return { op, ...how, input: { key, value } };
      case 'cas':
        return { op, ...how, input: { key, value, expect: this.#lastSeen.get(key) ?? 0 } };
      case 'transfer': {
        const from = this.#random.below(ACCOUNTS);
        const to = (from + 1 + this.#random.below(ACCOUNTS - 1)) % ACCOUNTS;
        return { op, ...how, input: { from, to, amount: 1 + this.#random.below(MAX_AMOUNT) } };
      }
      default: {
        const withLock = this.#task.writes && this.#random.chance(0.5);
        return { op, isImmediate: withLock, padBytes: 0, input: op === 'read' ? { key } : {} };
      }
    }
  }

  /** One transaction. Throws a StepError with nothing open any more. */
  #run(draft: Draft, id: string, beforeCommit: (so: Transaction) => void): Transaction {
    const db = this.#open();
    try {
      at(draft.isImmediate ? 'lock' : 'begin', () => db.exec(draft.isImmediate ? 'BEGIN IMMEDIATE' : 'BEGIN'));
      const seen = at('read', () => this.#look(db, draft));
      if (this.#random.chance(DAWDLE_CHANCE)) dawdle(this.#random.below(MAX_DAWDLE_MS));
      const change = changes(draft, seen);
      const found = at('read', () => rowOf(db, 'clock', 0));
      const version = change.rows.length === 0 ? found : { value: found.value + 1, by: id };
      const output = { seen, ...(change.done === undefined ? {} : { done: change.done }) };
      const wrote = change.rows.length > 0;
      const transaction = { output, version, wrote, locked: draft.isImmediate || wrote };
      at('write', () => {
        for (const { table, key, value } of change.rows) writeRow(db, table, key, { value, by: id });
        if (wrote) writeRow(db, 'clock', 0, version);
        if (wrote && draft.padBytes > 0) db.prepare('UPDATE pad SET bytes = randomblob(?)').run(draft.padBytes);
      });
      if (wrote) beforeCommit(transaction);
      at('commit', () => db.exec('COMMIT'));
      if (draft.input.key !== undefined) this.#lastSeen.set(draft.input.key, this.#valueAfter(draft, change, seen));
      return transaction;
    } catch (error) {
      this.#giveUp(db, error);
      throw error;
    }
  }

  /** Some errors have rolled it back already. */
  #giveUp(db: Sqlite.Database, error: unknown): void {
    if (!db.inTransaction) return;
    try {
      at('rollback', () => db.exec('ROLLBACK'));
    } catch (second) {
      this.close();
      // What COMMIT came to is as unknown as after an error of its own.
      if (error instanceof StepError && second instanceof StepError) throw new StepError(second.code, error.step);
      throw second;
    }
  }

  #look(db: Sqlite.Database, { op, input }: Draft): Record<number, Row> {
    const { key, from, to } = input;
    if (key !== undefined) return { [key]: rowOf(db, 'registers', key) };
    if (op === 'transfer') return { [from!]: rowOf(db, 'accounts', from!), [to!]: rowOf(db, 'accounts', to!) };
    const rows = db.prepare('SELECT key, value, "by" FROM accounts').all() as (Row & { key: number })[];
    return Object.fromEntries(rows.map((row) => [row.key, { value: row.value, by: row.by }]));
  }

  #valueAfter({ input }: Draft, change: Change, seen: Record<number, Row>): number {
    return change.rows[0]?.value ?? seen[input.key!]!.value;
  }

  #open(): Sqlite.Database {
    this.#db ??= at('open', () => new Sqlite(this.#task.path, { timeout: this.#task.busyMs, fileMustExist: true }));
    return this.#db;
  }
}

type Transaction = Pick<Operation, 'output' | 'wrote' | 'locked'> & { readonly version: Row };

interface Change {
  readonly rows: readonly { readonly table: Table; readonly key: number; readonly value: number }[];
  readonly done?: boolean;
}

/** What an operation changes, given what it has read. */
function changes({ op, input }: Draft, seen: Readonly<Record<number, Row>>): Change {
  const { key = 0, value = 0, expect, from = 0, to = 0, amount = 0 } = input;
  switch (op) {
    case 'write':
      return { rows: [{ table: 'registers', key, value }] };
    case 'cas': {
      const done = seen[key]!.value === expect;
      return { done, rows: done ? [{ table: 'registers', key, value }] : [] };
    }
    case 'transfer': {
      const done = seen[from]!.value >= amount;
      const account = (number: number, by: number) =>
        ({ table: 'accounts', key: number, value: seen[number]!.value + by }) as const;
      return { done, rows: done ? [account(from, -amount), account(to, amount)] : [] };
    }
    default:
      return { rows: [] };
  }
}

function rowOf(db: Sqlite.Database, table: Table, key: number): Row {
  return db.prepare(`SELECT value, "by" FROM ${table} WHERE key = ?`).get(key) as Row;
}

function writeRow(db: Sqlite.Database, table: Table, key: number, { value, by }: Row): void {
  db.prepare(`UPDATE ${table} SET value = ?, "by" = ? WHERE key = ?`).run(value, by, key);
}

function at<T>(step: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code } = error as { code?: string };
    if (code?.startsWith('SQLITE_') !== true) throw error;
    throw new StepError(code, step);
  }
}

function dawdle(millis: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
}

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

const task = JSON.parse(process.argv[2]!) as ClientTask;
const client = new Client(task);
const random = new Random(task.seed + 1);
const endMs = performance.now() + task.millis;
if (task.isLast === true) client.lookAtAll();
while (performance.now() < endMs) {
  client.step();
  await new Promise((resolve) => setTimeout(resolve, random.below(MAX_PAUSE_MS)));
}
client.close();
