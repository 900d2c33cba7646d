/** `pragma-client FOLDER`: less usual ways to use SQLite. */
import Database from 'better-sqlite3';

const folder = process.argv[2]!;

function fill(name: string, pragmas: readonly string[]): Database.Database {
  const db = new Database(`${folder}/${name}.db`);
  for (const pragma of pragmas) db.pragma(pragma);
  db.exec('create table t(n integer, pad text)');
  const insert = db.prepare('insert into t values(?, ?)');
  for (let i = 0; i < 200; i++) insert.run(i, 'x'.repeat(i * 10));
  return db;
}

function report(name: string, db: Database.Database): void {
  const { rows } = db.prepare('select count(*) as rows from t').get() as { rows: number };
  process.stdout.write(`${name} ${rows} ${String(db.pragma('integrity_check', { simple: true }))}\n`);
  db.close();
}

report('exclusive', fill('exclusive', ['locking_mode=exclusive', 'journal_mode=wal']));
report('mapped', fill('mapped', ['journal_mode=wal', 'mmap_size=10000000']));
const db = fill('vacuum', ['page_size=1024', 'journal_mode=delete']);
db.exec('delete from t where n % 2');
db.pragma('page_size=4096');
db.exec('vacuum');
const pageSize = db.pragma('page_size', { simple: true });
process.stdout.write(`vacuum ${String(pageSize)} ${String(db.pragma('integrity_check', { simple: true }))}\n`);
db.close();
