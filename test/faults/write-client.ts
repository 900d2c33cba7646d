import Sqlite from 'better-sqlite3';

/** A program: `write-client.js DATABASE TIMEOUT_MS`: an application that does the SQL it is sent, and says how it ended; of a query, what it found. */
const [path, timeout] = process.argv.slice(2);
const db = new Sqlite(path!, { timeout: Number(timeout) });

process.on('message', (sql: string) => {
  try {
    const found = sql.startsWith('SELECT') ? String(db.prepare(sql).pluck().get()) : undefined;
    if (found === undefined) db.exec(sql);
    process.send!({ code: found ?? 'OK' });
  } catch (error) {
    process.send!({ code: (error as { code?: string }).code ?? String(error) });
  }
});
process.on('disconnect', () => process.exit(0));
process.send!({ code: 'READY' });
