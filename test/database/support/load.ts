import { pathToFileURL } from 'node:url';
import Sqlite from 'better-sqlite3';
import { Random } from './random.js';

/**
 * A SQLite application with a mind of its own: `load.js FILE MODE SECONDS SEED`. Inserts, updates, deletes, spilled
 * transactions, rollbacks, savepoints, VACUUM, and all kinds of checkpoints, as the seed says. Prints `<rows> <ops>` when
 * its time is over; a SQLITE_BUSY is no error.
 */
export type Mode = 'wal' | 'delete' | 'truncate' | 'persist' | 'memory';

const CHECKPOINTS = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'];

export class Load {
  readonly db: Sqlite.Database;
  ops = 0;

  constructor(
    file: string,
    mode: Mode,
    private readonly random: Random,
    /** Before anything else is asked of the database. */
    first: readonly string[] = [],
  ) {
    this.db = new Sqlite(file, { timeout: 15_000 });
    for (const pragma of first) this.db.pragma(pragma);
    this.db.pragma(`journal_mode = ${mode}`);
    if (random.chance(0.5)) this.db.pragma('synchronous = NORMAL');
    if (random.chance(0.5)) this.db.pragma('cache_size = 5');
    this.db.exec('CREATE TABLE IF NOT EXISTS k (id INTEGER PRIMARY KEY, v INT, p BLOB)');
    this.db.exec('CREATE INDEX IF NOT EXISTS ki ON k (v)');
  }

  /** One operation. */
  step(): void {
    this.ops++;
    try {
      this.choose(this.random.below(100));
    } catch (error) {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
      if (!(error as { code?: string }).code?.startsWith('SQLITE_BUSY')) throw error;
    }
  }

  private choose(dice: number): void {
    const { db, random } = this;
    if (dice < 70) this.insert(random.below(400));
    else if (dice < 80) db.prepare('UPDATE k SET v = v + 1 WHERE id % 13 = ?').run(random.below(13));
    else if (dice < 85)
      db.prepare('DELETE FROM k WHERE id IN (SELECT id FROM k ORDER BY v LIMIT ?)').run(random.below(60));
    else if (dice < 88) this.rolledBack();
    else if (dice < 91) this.savepoints();
    else if (dice < 94) this.spilled();
    else if (dice < 98) db.pragma(`wal_checkpoint(${CHECKPOINTS[random.below(4)]})`);
    else if (dice < 99) db.exec('VACUUM');
    else db.exec('DELETE FROM k WHERE id % 2 = 0');
  }

  private insert(bytes: number): void {
    this.db.prepare('INSERT INTO k (v, p) VALUES (?, randomblob(?))').run(this.ops, bytes);
  }

  private rolledBack(): void {
    this.db.exec('BEGIN');
    this.db.prepare('UPDATE k SET p = zeroblob(900)').run();
    this.db.exec('ROLLBACK');
  }

  private savepoints(): void {
    this.db.exec('BEGIN; SAVEPOINT a');
    for (let i = 0; i < 40; i++) this.insert(700);
    this.db.exec('SAVEPOINT b');
    this.db.prepare('UPDATE k SET v = -v').run();
    this.db.exec('ROLLBACK TO b; RELEASE a; COMMIT');
  }

  /** Pages leave the cache before the commit, and some are changed again after that. */
  private spilled(): void {
    this.db.exec('BEGIN');
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 60; i++) this.insert(900);
      this.db.prepare('UPDATE k SET v = v + 1, p = randomblob(500) WHERE id % 7 = ?').run(round);
    }
    this.db.exec(this.random.chance(0.8) ? 'COMMIT' : 'ROLLBACK');
  }
}

function main([file, mode, seconds, seed]: string[]): void {
  const load = new Load(file!, mode as Mode, new Random(Number(seed)));
  const untilMs = Date.now() + Number(seconds) * 1000;
  while (Date.now() < untilMs) load.step();
  const { n } = load.db.prepare('SELECT count(*) AS n FROM k').get() as { n: number };
  load.db.close();
  console.log(n, load.ops);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
