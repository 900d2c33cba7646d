import Database from 'better-sqlite3';

/**
 * A program that works on databases for so long: `node session-writer.js SEED SECONDS PATH…`. Prints how many
 * transactions it committed; ends with an error when SQLite gives one.
 */
const [seed = '1', seconds = '1', ...paths] = process.argv.slice(2);
const BUSY_MS = 30_000;
const MODES = ['wal', 'delete', 'truncate', 'persist'];

/** Numerical Recipes' generator: good enough to choose by, and the same for the same seed. */
let state = Number(seed);
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

/** Of several that change a database to WAL at once SQLite refuses some without waiting, on any file system. */
function setMode(db: Database.Database, mode: string): void {
  for (const endMs = performance.now() + BUSY_MS; ; ) {
    try {
      db.pragma(`journal_mode = ${mode}`);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== 'SQLITE_BUSY' || performance.now() > endMs) throw error;
    }
  }
}

const databases = paths.map((path, i) => {
  const db = new Database(path, { timeout: BUSY_MS });
  setMode(db, MODES[i % MODES.length]!);
  db.exec('create table if not exists t(id integer primary key, by int, x blob)');
  return db;
});

function work(db: Database.Database): void {
  const kind = below(100);
  const size = below(3000);
  if (kind < 70) db.prepare('insert into t(by, x) values (?, randomblob(?))').run(seed, size);
  else if (kind < 85) db.prepare('update t set x = randomblob(?) where id % 17 = ?').run(size, below(17));
  else if (kind < 92) db.prepare('delete from t where id in (select id from t limit ?)').run(below(5));
  else {
    db.exec('begin immediate');
    db.exec('savepoint a; update t set x = zeroblob(500) where id % 3 = 0; rollback to a');
    for (let i = below(100); i >= 0; i--) db.prepare('insert into t(by, x) values (?, randomblob(900))').run(seed);
    db.exec(kind < 98 ? 'commit' : 'rollback');
  }
}

let transactions = 0;
for (const endMs = performance.now() + Number(seconds) * 1000; performance.now() < endMs; transactions++) {
  work(databases[below(databases.length)]!);
}
for (const db of databases) db.close();
console.log(`${transactions}`);
