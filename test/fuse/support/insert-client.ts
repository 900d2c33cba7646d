/**
 * `insert-client DB MODE SYNC ROWS`: adds ROWS rows to the table `t`, one transaction each, with other processes doing
 * the same. Each row holds the number of rows before it, read in the same transaction: no two may be equal.
 */
import Database from 'better-sqlite3';

const [path, mode, synchronous, rows] = process.argv.slice(2) as [string, string, string, string];
const db = new Database(path, { timeout: 60_000 });
db.pragma(`journal_mode=${mode}`);
db.pragma(`synchronous=${synchronous}`);
db.exec('create table if not exists t(id integer primary key, n integer not null unique, pad text)');
const count = db.prepare('select coalesce(max(n), -1) + 1 as n from t');
const insert = db.prepare('insert into t(n, pad) values(?, ?)');
const add = db.transaction((i: number) => {
  const { n } = count.get() as { n: number };
  insert.run(n, 'x'.repeat((i * 37) % 6000));
});
for (let i = 0; i < Number(rows); i++) add.immediate(i);
db.close();
