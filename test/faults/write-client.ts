import Sqlite from 'better-sqlite3';

/** A program: `write-client.js DATABASE TIMEOUT_MS`: an application that does the SQL it is sent, and says how it ended. */
const [path, timeout] = process.argv.slice(2);
const db = new Sqlite(path!, { timeout: Number(timeout) });

process.on('message', (sql: string) => {
  try {
    db.exec(sql);
    process.send!({ code: 'OK' });
  } catch (error) {
    process.send!({ code: (error as { code?: string }).code ?? String(error) });
  }
});
process.on('disconnect', () => process.exit(0));
process.send!({ code: 'READY' });
