import { createInterface } from 'node:readline';
import Sqlite from 'better-sqlite3';

/**
 * An application that does what it is told: `sql-process.js FILE`. Each line of stdin is `TIMEOUT_MS SQL`; the answer is a
 * line of JSON: the first value of a SELECT, null for other statements, or `{"error": CODE}`.
 */

const db = new Sqlite(process.argv[2]!);

function answer(line: string): unknown {
  const gap = line.indexOf(' ');
  const sql = line.slice(gap + 1);
  db.pragma(`busy_timeout = ${line.slice(0, gap)}`);
  try {
    if (sql.startsWith('SELECT')) return db.prepare(sql).pluck().get() ?? null;
    db.exec(sql);
    return null;
  } catch (error) {
    return { error: (error as { code?: string }).code ?? String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(line)));
db.close();
