import { writeSync } from 'node:fs';
import { Load, type Mode } from '../../database/support/load.js';
import { Random } from '../../database/support/random.js';

/**
 * An application that says what it has committed: `writer-process.js FILE MODE SYNCHRONOUS LOCKING SEED`. Every second
 * operation is a transaction that puts the next number into the tables `committed` and `twin`, at its beginning and at its
 * end; when COMMIT has returned, the number is a line on stdout. The others are Load's. SIGTERM ends it with a close.
 */

const REPORT_FD = 1;
const MAX_ROWS = 40;
/** Between two operations: nodes that start need a processor. */
const MAX_PAUSE_MS = 12;

class Writer {
  readonly #load: Load;
  readonly #random: Random;

  constructor([file, mode, synchronous, locking]: readonly string[], random: Random) {
    this.#random = random;
    this.#load = new Load(file!, mode as Mode, this.#random, [`locking_mode = ${locking}`]);
    const { db } = this.#load;
    db.pragma(`synchronous = ${synchronous}`);
    db.exec(
      'CREATE TABLE IF NOT EXISTS committed (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS twin (id INTEGER PRIMARY KEY, p BLOB)',
    );
  }

  step(): void {
    if (this.#random.chance(0.5)) this.#load.step();
    else this.#transaction();
  }

  close(): void {
    this.#load.db.close();
  }

  #transaction(): void {
    const { db } = this.#load;
    let id: number;
    try {
      db.exec('BEGIN IMMEDIATE');
      const next = db.prepare('INSERT INTO committed (id) SELECT coalesce(max(id), 0) + 1 FROM committed');
      id = Number(next.run().lastInsertRowid);
      const insert = db.prepare('INSERT INTO k (v, p) VALUES (?, randomblob(?))');
      for (let rows = this.#random.below(MAX_ROWS); rows > 0; rows--) insert.run(id, this.#random.below(1500));
      if (this.#random.chance(0.3)) db.prepare('UPDATE k SET v = v + 1 WHERE id % 11 = ?').run(id % 11);
      if (this.#random.chance(0.3)) db.exec('DELETE FROM k WHERE id IN (SELECT id FROM k ORDER BY v LIMIT 60)');
      db.prepare('INSERT INTO twin (id, p) VALUES (?, randomblob(30))').run(id);
      db.exec('COMMIT');
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      if (!(error as { code?: string }).code?.startsWith('SQLITE_BUSY')) throw error;
      return;
    }
    writeSync(REPORT_FD, `${id}\n`);
  }
}

let stopped = false;
process.once('SIGTERM', () => {
  stopped = true;
});
const random = new Random(Number(process.argv[6]));
const writer = new Writer(process.argv.slice(2), random);
while (!stopped) {
  writer.step();
  await new Promise((resolve) => setTimeout(resolve, random.below(MAX_PAUSE_MS)));
}
writer.close();
