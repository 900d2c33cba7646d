import { createInterface } from 'node:readline';
import Sqlite from 'better-sqlite3';

/**
 * An application that commits without a rest: `pulse-process.js FILE MODE`. For each line on stdin it says in JSON how many
 * commits there were since the last one, how many in all, and how long the longest of them took. It ends with stdin.
 */

const db = new Sqlite(process.argv[2]!, { timeout: 30_000 });
db.pragma(`journal_mode = ${process.argv[3]}`);
db.exec('CREATE TABLE IF NOT EXISTS pulse (id INTEGER PRIMARY KEY, p BLOB)');
const insert = db.prepare('INSERT INTO pulse (p) VALUES (randomblob(60))');
let ended = false;
let commits = 0;
let total = 0;
let longestMs = 0;
createInterface({ input: process.stdin })
  .on('line', () => {
    console.log(JSON.stringify({ commits, total, longestMs }));
    commits = 0;
    longestMs = 0;
  })
  .once('close', () => {
    ended = true;
  });
while (!ended) {
  const startMs = performance.now();
  insert.run();
  longestMs = Math.max(longestMs, performance.now() - startMs);
  commits++;
  total++;
  await new Promise((resolve) => setImmediate(resolve));
}
db.close();
