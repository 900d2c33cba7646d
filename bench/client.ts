/**
 * The application of the benchmarks: one process, better-sqlite3, no knowledge of Sluice. Run as
 * `client.js TASK FOLDER … `; prints one line of JSON.
 */
import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';

type Connection = Sqlite.Database;

const WARM_UP = 100;
const SEED_ROWS = 20_000;
const READ_PASSES = 9;
const BUSY_MS = 20_000;

function open(file: string, journal: string, synchronous: string): Connection {
  const db = new Sqlite(file, { timeout: BUSY_MS });
  db.pragma(`journal_mode=${journal}`);
  db.pragma(`synchronous=${synchronous}`);
  return db;
}

function fresh(folder: string, journal: string, synchronous: string): Connection {
  const file = join(folder, 'bench.db');
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
    try {
      unlinkSync(file + suffix);
    } catch {
      // was not there
    }
  }
  const db = open(file, journal, synchronous);
  db.exec('create table t(id integer primary key, a text, b int); create index ti on t(b)');
  const insert = db.prepare('insert into t(a, b) values (?, ?)');
  db.transaction(() => {
    for (let i = 0; i < SEED_ROWS; i++) insert.run('x'.repeat(80), (i * 7919) % 100_003);
  })();
  return db;
}

/** Microseconds of `count` calls, each. */
function time(count: number, work: (i: number) => void): { meanUs: number; p50Us: number; p99Us: number } {
  const each = new Float64Array(count);
  const begin = process.hrtime.bigint();
  for (let i = 0; i < count; i++) {
    const start = process.hrtime.bigint();
    work(i);
    each[i] = Number(process.hrtime.bigint() - start) / 1000;
  }
  const meanUs = Number(process.hrtime.bigint() - begin) / 1000 / count;
  each.sort();
  return { meanUs, p50Us: each[count >> 1]!, p99Us: each[Math.floor(count * 0.99)]! };
}

/** Single-row commits, then point reads. */
function commitsAndReads(folder: string, journal: string, synchronous: string, count: number) {
  const db = fresh(folder, journal, synchronous);
  const insert = db.prepare('insert into t(a, b) values (?, ?)');
  const row = 'y'.repeat(80);
  for (let i = 0; i < WARM_UP; i++) insert.run('warm', i);
  const commit = time(count, (i) => insert.run(row, (i * 7919) % 100_003));
  const get = db.prepare('select * from t where id = ?');
  for (let i = 0; i < SEED_ROWS; i++) get.get(i + 1);
  // A pass takes some 20 ms, less than the machine's own hiccups: the median of several.
  const passes = Array.from({ length: READ_PASSES }, () => time(count, (i) => get.get(1 + ((i * 7919) % SEED_ROWS))));
  passes.sort((a, b) => a.meanUs - b.meanUs);
  const read = passes[READ_PASSES >> 1]!;
  const integrity = db.pragma('integrity_check', { simple: true });
  db.close();
  return { commit, read, integrity };
}

/** For the mixed load: reads until `seconds` have passed. */
function reader(folder: string, seconds: number) {
  const db = new Sqlite(join(folder, 'bench.db'), { timeout: BUSY_MS });
  const get = db.prepare('select * from t where id = ?');
  const end = Date.now() + seconds * 1000;
  let operations = 0;
  while (Date.now() < end) {
    for (let i = 0; i < 50; i++) get.get(1 + ((operations * 7919) % SEED_ROWS));
    operations += 50;
  }
  db.close();
  return { perSecond: operations / seconds };
}

function writer(folder: string, journal: string, synchronous: string, seconds: number) {
  const db = open(join(folder, 'bench.db'), journal, synchronous);
  const insert = db.prepare('insert into t(a, b) values (?, ?)');
  const end = Date.now() + seconds * 1000;
  let operations = 0;
  while (Date.now() < end) insert.run('z'.repeat(80), operations++);
  db.close();
  return { perSecond: operations / seconds };
}

/** One of several that share a database: `count` operations, each fifth a single-row update, the others point reads. */
function sharer(folder: string, journal: string, synchronous: string, count: number, offset: number) {
  const db = open(join(folder, 'bench.db'), journal, synchronous);
  const get = db.prepare('select * from t where id = ?');
  const update = db.prepare('update t set b = b + 1 where id = ?');
  const begin = Date.now();
  for (let i = 0; i < count; i++) {
    const id = 1 + (((i + offset) * 7919) % SEED_ROWS);
    if (i % 5 === 0) update.run(id);
    else get.get(id);
  }
  const elapsedMs = Date.now() - begin;
  db.close();
  return { elapsedMs };
}

/** `count` times one operation, so that its requests can be counted from outside. */
function repeat(folder: string, operation: string, journal: string, synchronous: string, count: number) {
  const db = fresh(folder, journal, synchronous);
  const insert = db.prepare('insert into t(a, b) values (?, ?)');
  const get = db.prepare('select * from t where id = ?');
  const file = join(folder, 'bench.db');
  const operations: Record<string, (i: number) => void> = {
    commit: (i) => insert.run('c', i),
    'commit of 100 rows': (i) =>
      db.transaction(() => {
        for (let row = 0; row < 100; row++) insert.run('c'.repeat(80), i);
      })(),
    'point read': (i) => get.get(1 + ((i * 7919) % SEED_ROWS)),
    'open, read, close': (i) => {
      const other = new Sqlite(file, { timeout: BUSY_MS });
      other.prepare('select * from t where id = ?').get(i + 1);
      other.close();
    },
  };
  const work = operations[operation];
  if (work === undefined) throw new Error(`no operation ${operation}`);
  for (let i = 0; i < SEED_ROWS; i++) get.get(i + 1);
  for (let i = 0; i < count; i++) work(i);
  db.close();
  return { count };
}

/** Time from a commit's return on the primary to the row's visibility on the replica, polled without sleep. */
function visibility(primary: string, replica: string, count: number, pauseMs: number) {
  const db = open(join(primary, 'bench.db'), 'wal', 'normal');
  db.exec('create table if not exists v(id integer primary key, n int)');
  const insert = db.prepare('insert into v(n) values (?)');
  const sleep = new Int32Array(new SharedArrayBuffer(4));
  let other: Connection | undefined;
  for (const giveUp = Date.now() + BUSY_MS; other === undefined; ) {
    try {
      const attempt = new Sqlite(join(replica, 'bench.db'), { readonly: true, timeout: BUSY_MS });
      attempt.prepare('select max(id) from v').get();
      other = attempt;
    } catch (error) {
      if (Date.now() > giveUp) throw error;
      Atomics.wait(sleep, 0, 0, 50);
    }
  }
  const look = other.prepare('select max(id) as id from v');
  const lags: number[] = [];
  for (let i = 0; i < count + WARM_UP; i++) {
    if (pauseMs > 0) Atomics.wait(sleep, 0, 0, pauseMs);
    const { lastInsertRowid } = insert.run(i);
    const start = process.hrtime.bigint();
    while (Number((look.get() as { id: number | null }).id ?? 0) < Number(lastInsertRowid)) {
      if (process.hrtime.bigint() - start > 20_000_000_000n) throw new Error('not visible after 20 s');
    }
    if (i >= WARM_UP) lags.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  db.close();
  other.close();
  lags.sort((a, b) => a - b);
  return { p50Us: lags[count >> 1]!, p99Us: lags[Math.floor(count * 0.99)]! };
}

/** A database of about `megabytes`, of rows that compress about by half. */
function fill(folder: string, megabytes: number) {
  const db = fresh(folder, 'wal', 'normal');
  db.exec('create table big(id integer primary key, data blob)');
  const insert = db.prepare('insert into big(data) values (randomblob(500) || zeroblob(450))');
  const rowsPerTransaction = 10_000;
  const transactions = Math.ceil((megabytes * 1024 * 1024) / (1000 * rowsPerTransaction));
  for (let i = 0; i < transactions; i++) {
    db.transaction(() => {
      for (let row = 0; row < rowsPerTransaction; row++) insert.run();
    })();
  }
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  return { transactions };
}

/** Small transactions on what `fill` made, `count` of them with a pause, so that backups get increments. */
function touch(folder: string, count: number, pauseMs: number) {
  const db = open(join(folder, 'bench.db'), 'wal', 'normal');
  const update = db.prepare('update big set data = randomblob(900) where id % 5003 = ?');
  const sleep = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < count; i++) {
    update.run(i % 5003);
    Atomics.wait(sleep, 0, 0, pauseMs);
  }
  db.close();
  return { count };
}

const [task = '', ...args] = process.argv.slice(2);
const text = (i: number) => args[i] ?? '';
const number = (i: number) => Number(text(i));
const tasks: Record<string, () => object> = {
  commits: () => commitsAndReads(text(0), text(1), text(2), number(3)),
  reader: () => reader(text(0), number(1)),
  writer: () => writer(text(0), text(1), text(2), number(3)),
  seed: () => {
    fresh(text(0), text(1), text(2)).close();
    return {};
  },
  sharer: () => sharer(text(0), text(1), text(2), number(3), number(4)),
  repeat: () => repeat(text(0), text(1), text(2), text(3), number(4)),
  visibility: () => visibility(text(0), text(1), number(2), number(3)),
  fill: () => fill(text(0), number(1)),
  touch: () => touch(text(0), number(1), number(2)),
};
const chosen = tasks[task];
if (chosen === undefined) throw new Error(`no task ${JSON.stringify(task)}`);
console.log(JSON.stringify(chosen()));
