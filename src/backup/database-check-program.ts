/**
 * Run by database-check.ts: `quick|full`, then the path of a database. Says what is wrong with it; exit code 1 then, UNCHECKED if
 * SQLite could not tell.
 */
import Database from 'better-sqlite3';
import { describeError } from '../errors.js';
import { OWN_FUNCTIONS, UNCHECKED } from './database-check.js';

const [mode, path = ''] = process.argv.slice(2);

try {
  const db = new Database(path, { fileMustExist: true });
  const rows = db.pragma(mode === 'full' ? 'integrity_check(10)' : 'quick_check(10)', { simple: false });
  db.close();
  const lines = (rows as object[]).map((row) => String(Object.values(row)[0]));
  if (lines.length !== 1 || lines[0] !== 'ok') fail(lines.join('\n'));
} catch (error) {
  fail(describeError(error));
}

function fail(message: string): void {
  process.stdout.write(`${message}\n`);
  process.exitCode = OWN_FUNCTIONS.test(message) ? UNCHECKED : 1;
}
