import Sqlite from 'better-sqlite3';

/** A program: `steady-writer.js DATABASE` commits one row after the other until it is killed. Says when it has begun. */
const db = new Sqlite(process.argv[2]!, { timeout: 10_000 });
db.pragma('journal_mode = WAL');
db.pragma('synchronous = NORMAL');
const insert = db.prepare('INSERT INTO t VALUES (2)');
insert.run();
process.send!('begun');
const endMs = performance.now() + 60_000;
while (performance.now() < endMs) insert.run();
