import Sqlite from 'better-sqlite3';
import { ACCOUNTS, BALANCE, KEYS } from './operations.js';

/** Makes the database that clients work on: registers, accounts, how often it was written, and ballast. */
export function makeDatabase(path: string, mode: string): void {
  const db = new Sqlite(path);
  db.pragma(`journal_mode = ${mode}`);
  db.transaction(() => {
    for (const [table, rows, value] of [
      ['registers', KEYS, 0],
      ['accounts', ACCOUNTS, BALANCE],
      ['clock', 1, 0],
    ] as const) {
      db.exec(`CREATE TABLE ${table} (key INTEGER PRIMARY KEY, value INTEGER, "by" TEXT)`);
      const insert = db.prepare(`INSERT INTO ${table} VALUES (?, ?, '')`);
      for (let key = 0; key < rows; key++) insert.run(key, value);
    }
    // What makes some transactions large.
    db.exec('CREATE TABLE pad (bytes BLOB); INSERT INTO pad VALUES (NULL)');
  })();
  db.close();
}
