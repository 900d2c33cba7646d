import Sqlite from 'better-sqlite3';

/**
 * A program: `commit-writer.js DATABASE WRITER COUNT [die]` inserts rows (writer, n) of table t, one commit each, and writes a line
 * to stdout for each: `ack N` when the commit returned, `fail N CODE` when it did not. COUNT 0: until it is killed. `die`: it kills
 * itself when a commit has failed, before SQLite has taken anything back.
 */
const [path = '', writer = '', count = '0', then = ''] = process.argv.slice(2);
const db = new Sqlite(path, { timeout: 30_000 });
const insert = db.prepare('INSERT INTO t (writer, n, filler) VALUES (?, ?, ?)');
const filler = 'x'.repeat(300);
for (let n = 1; Number(count) === 0 || n <= Number(count); n++) {
  try {
    insert.run(Number(writer), n, filler);
    process.stdout.write(`ack ${n}\n`);
  } catch (error) {
    if (then === 'die') process.kill(process.pid, 'SIGKILL');
    process.stdout.write(`fail ${n} ${(error as { code?: string }).code}\n`);
  }
  // Its output has to leave this process while it goes on.
  if (Number(count) === 0) await new Promise((resolve) => setImmediate(resolve));
}
