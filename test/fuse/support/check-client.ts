/** `check-client DB`: prints the row count, the greatest `n`, and what integrity_check says. */
import Database from 'better-sqlite3';

const db = new Database(process.argv[2]!, { timeout: 60_000 });
const { rows, top } = db.prepare('select count(*) as rows, max(n) as top from t').get() as {
  rows: number;
  top: number;
};
process.stdout.write(`${rows} ${top} ${String(db.pragma('integrity_check', { simple: true }))}\n`);
db.close();
