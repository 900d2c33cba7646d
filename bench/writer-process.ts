import Sqlite from 'better-sqlite3';

/** A program: `writer-process.js DATABASE`: commits rows, one after the other, until it is told to end; then it says how many. */

const db = new Sqlite(process.argv[2]!, { timeout: 20_000 });
const insert = db.prepare('INSERT INTO t (v) VALUES (?)');
let count = 0;
let longestMs = 0;

process.on('message', () => process.send!({ count, longestMs }, undefined, undefined, () => process.exit(0)));

function next(): void {
  const startMs = performance.now();
  insert.run(count++);
  longestMs = Math.max(longestMs, performance.now() - startMs);
  setImmediate(next);
}

insert.run(0);
process.send!('begun');
next();
