/** `committer.js FILE`: commits a row with the time, all the time, and tells of each commit that returned. */
import Sqlite from 'better-sqlite3';

const PAUSE_MS = 1;

const db = new Sqlite(process.argv[2]!, { timeout: 20_000 });
db.pragma('journal_mode=wal');
db.pragma('synchronous=normal');
db.exec('create table t(ms real)');
const insert = db.prepare('insert into t values (?)');
for (;;) {
  const ms = performance.timeOrigin + performance.now();
  insert.run(ms);
  process.stdout.write(`${ms}\n`);
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
