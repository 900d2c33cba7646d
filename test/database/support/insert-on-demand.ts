/**
 * `insert-on-demand FILE`: opens a database in DELETE mode, prints `open`, and then commits one row for each line of its
 * input and prints `done` after each.
 */
import { createInterface } from 'node:readline';
import Sqlite from 'better-sqlite3';

const db = new Sqlite(process.argv[2]!, { timeout: 10_000 });
db.pragma('journal_mode = DELETE');
db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, p BLOB)');
const insert = db.prepare('INSERT INTO t (p) VALUES (randomblob(100))');
process.stdout.write('open\n');
for await (const _ of createInterface({ input: process.stdin })) {
  insert.run();
  process.stdout.write('done\n');
}
db.close();
