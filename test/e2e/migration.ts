import { setTimeout as sleep } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';

/** A program: `migration.js DATABASE TRANSACTIONS PAUSE_MS`: a migration of so many transactions. Says `begun`, and in the end `done`. */
const [path, transactions, pauseMs] = process.argv.slice(2);
const db = new Sqlite(path!, { timeout: 2000 });
const insert = db.prepare("INSERT INTO t (who, seq) VALUES ('migration', ?)");
for (let seq = 1; seq <= Number(transactions); seq++) {
  insert.run(seq);
  if (seq === 1) console.log('begun');
  await sleep(Number(pauseMs));
}
db.close();
console.log('done');
