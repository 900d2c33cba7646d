import Sqlite from 'better-sqlite3';

/** A program: `busy-writer.js DATABASE MS` commits some MB at a time to a WAL that is never checkpointed. Says when it has begun. */
const TRANSACTION_BYTES = 6_000_000;
const MAX_TRANSACTIONS = 1200;

const [path, ms] = process.argv.slice(2);
const db = new Sqlite(path!);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = OFF');
db.pragma('wal_autocheckpoint = 0');
db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)');
const put = db.prepare('INSERT OR REPLACE INTO t VALUES (1, randomblob(?))');
const endMs = performance.now() + Number(ms);
for (let i = 0; i < MAX_TRANSACTIONS && performance.now() < endMs; i++) {
  put.run(TRANSACTION_BYTES);
  if (i === 5) process.send!('begun');
}
