import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';

/** Run by Litestream: writes 3 times (or as often as is said) 100 rows to the database named, a little longer than its sync interval apart. */
const db = new Database(process.argv[2]);
const insert = db.prepare('insert into t(x) values (hex(randomblob(200)))');
for (let round = 0; round < Number(process.argv[3] ?? 3); round++) {
  for (let i = 0; i < 100; i++) insert.run();
  await sleep(1300);
}
db.close();
