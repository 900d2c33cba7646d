import Sqlite from 'better-sqlite3';

/** A program: `counting-writer.js DATABASE WHO MS`: adds rows whose number is one more than the last, and prints each that was committed. */
const [path, who, ms] = process.argv.slice(2);
const db = new Sqlite(path!, { timeout: 20_000 });
const last = db.prepare('SELECT max(v) FROM t').pluck();
const insert = db.prepare('INSERT INTO t (v, who, seq) VALUES (?, ?, ?)');
const endMs = performance.now() + Number(ms);
for (let seq = 1; performance.now() < endMs; seq++) {
  try {
    db.exec('BEGIN IMMEDIATE');
    const v = (last.get() as number) + 1;
    insert.run(v, who, seq);
    db.exec('COMMIT');
    process.stdout.write(`${v}\n`);
  } catch (error) {
    const { code = '' } = error as { code?: string };
    if (db.inTransaction) db.exec('ROLLBACK');
    if (!/^SQLITE_(BUSY|IOERR)/.test(code)) throw error;
  }
}
