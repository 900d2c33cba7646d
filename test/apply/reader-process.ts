import Database from 'better-sqlite3';

/**
 * An application that reads: `reader-process.js PATH poll|hold|idle rw|ro TIMEOUT_MS`. `poll` checks the database in one
 * transaction after the other, `hold` keeps one open, `idle` keeps a connection. Says 'up' once it has read, and on
 * 'stop' how it went. `poll` counts a lock or an unrecovered journal in the way apart: it is no error.
 */
const [path = '', mode = 'poll', access = 'rw', timeout = '5000'] = process.argv.slice(2);

const db = new Database(path, { readonly: access === 'ro', timeout: Number(timeout), fileMustExist: true });
const sum =
  'SELECT (SELECT coalesce(sum(v), 0) FROM t) AS sum, (SELECT n FROM total) AS total, count(*) AS rows FROM t';
let reads = 0;
let refused = 0;
let last = -1;
const errors: string[] = [];
const refusals = /SQLITE_BUSY|SQLITE_READONLY|SQLITE_CANTOPEN/;

function read(): number {
  const row = db.prepare(sum).get() as { sum: number; total: number; rows: number };
  if (row.sum !== row.total) throw new Error(`mixed state: sum ${row.sum}, total ${row.total}`);
  return row.rows;
}

function check(): void {
  try {
    db.transaction(() => {
      const before = read();
      if (reads % 20 === 0) {
        const result = db.pragma('integrity_check', { simple: true });
        if (result !== 'ok') throw new Error(`integrity: ${String(result)}`);
      }
      if (read() !== before) throw new Error('not repeatable');
      last = before;
    })();
    reads++;
  } catch (error) {
    const code = String((error as { code?: string }).code);
    if (refusals.test(code)) refused++;
    else errors.push(`${code} ${(error as Error).message}`);
  }
  if (errors.length < 10) setTimeout(check, 1);
}

if (mode === 'poll') {
  check();
} else {
  if (mode === 'hold') db.exec('BEGIN');
  last = read();
}
process.send?.('up');
process.on('message', () => {
  if (mode !== 'poll' && read() !== last && mode === 'hold') errors.push('the snapshot has changed');
  process.send?.({ reads, refused, last, errors }, () => process.exit(0));
});
process.on('disconnect', () => process.exit(0));
