import { createHash } from 'node:crypto';
import type Sqlite from 'better-sqlite3';

/** Rows of `roll`, which transactions change in turn. */
const ROLL = 5;
/** Times how big the database is. */
const BIG_ROWS = 120;
const BIG_BODY = 2000;

/**
 * What transaction `n` of a database does: it adds a row with its number, and changes another; some of a database that is
 * `big` (0: it is not) add many rows, and others delete them. So the content after `n` transactions is known.
 */
export function transact(
  db: Sqlite.Database,
  name: string,
  generation: number,
  n: number,
  big: number,
  schema = 'main',
): void {
  if (n === 1) {
    db.exec('CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)');
    db.exec('CREATE TABLE roll (id INTEGER PRIMARY KEY, n INTEGER, body BLOB)');
    db.exec('CREATE TABLE big (n INTEGER, i INTEGER, body BLOB)');
    db.exec('CREATE TABLE info (generation INTEGER, big INTEGER)');
    db.prepare('INSERT INTO info VALUES (?, ?)').run(generation, big);
  }
  const body = bodyOf(name, generation, n);
  db.prepare(`INSERT INTO ${schema}.t VALUES (?, ?)`).run(n, body.t);
  db.prepare(`INSERT OR REPLACE INTO ${schema}.roll VALUES (?, ?, ?)`).run(n % ROLL, n, body.roll);
  if (big > 0 && fills(n)) {
    const insert = db.prepare('INSERT INTO big VALUES (?, ?, ?)');
    for (let i = 0; i < big * BIG_ROWS; i++) insert.run(n, i, bodyOfBig(name, generation, n, i));
  }
  if (big > 0 && empties(n)) db.exec('DELETE FROM big');
}

/** What a database holds: which transactions. Throws if it is no prefix of them. */
export function transactionsIn(db: Sqlite.Database, name: string): { generation: number; n: number } | undefined {
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 't'").get() === undefined) return undefined;
  const info = db.prepare('SELECT generation, big FROM info').all() as { generation: number; big: number }[];
  if (info.length !== 1) throw new Error(`${name}: info has ${info.length} rows`);
  const { generation, big } = info[0]!;
  const rows = db.prepare('SELECT n, body FROM t ORDER BY n').all() as { n: number; body: Buffer }[];
  for (const [i, { n, body }] of rows.entries()) {
    if (n !== i + 1) throw new Error(`${name}: row ${i + 1} is ${n}`);
    if (!body.equals(bodyOf(name, generation, n).t)) throw new Error(`${name}: row ${n} has another content`);
  }
  const { length: n } = rows;
  const roll = db.prepare('SELECT id, n, body FROM roll').all() as { id: number; n: number; body: Buffer }[];
  if (roll.length !== Math.min(n, ROLL))
    throw new Error(`${name}: roll has ${roll.length} rows after ${n} transactions`);
  for (const { id, n: of, body } of roll) {
    const last = n - ((((n - id) % ROLL) + ROLL) % ROLL);
    if (of !== last || !body.equals(bodyOf(name, generation, of).roll)) {
      throw new Error(`${name}: after ${n} transactions roll ${id} is of ${of}, not ${last}`);
    }
  }
  if (big > 0) checkBig(db, name, generation, n, big * BIG_ROWS);
  return { generation, n };
}

function checkBig(db: Sqlite.Database, name: string, generation: number, n: number, perFill: number): void {
  let expected: number[] = [];
  for (let each = 1; each <= n; each++) {
    if (fills(each)) expected.push(each);
    if (empties(each)) expected = [];
  }
  const rows = db.prepare('SELECT n, i, body FROM big ORDER BY n, i').all() as { n: number; i: number; body: Buffer }[];
  if (rows.length !== expected.length * perFill) throw new Error(`${name}: big has ${rows.length} rows after ${n}`);
  for (const [at, { n: of, i, body }] of rows.entries()) {
    const [wanted, index] = [expected[Math.floor(at / perFill)]!, at % perFill];
    if (of !== wanted || i !== index || !body.equals(bodyOfBig(name, generation, of, i))) {
      throw new Error(`${name}: after ${n} transactions big ${wanted}/${index} is another`);
    }
  }
}

const fills = (n: number): boolean => n % 6 === 3;
const empties = (n: number): boolean => n % 6 === 5;

function bodyOf(name: string, generation: number, n: number): { readonly t: Buffer; readonly roll: Buffer } {
  return {
    t: bytes(`${name} ${generation} ${n} t`, 50 + ((n * 397) % 3000)),
    roll: bytes(`${name} ${generation} ${n} roll`, 700),
  };
}

const bodyOfBig = (name: string, generation: number, n: number, i: number): Buffer =>
  bytes(`${name} ${generation} ${n} big ${i}`, BIG_BODY);

const bytes = (text: string, outputLength: number): Buffer =>
  createHash('shake128', { outputLength }).update(text).digest();
