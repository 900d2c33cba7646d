import { createServer } from 'node:http';
import Database from 'better-sqlite3';

/** `node http-application.js PORT DATABASE`: GET reads a row, POST writes one. As a small application would. */
const [port, file] = [Number(process.argv[2]), process.argv[3] ?? ''];
const db = new Database(file, { timeout: 5000 });
try {
  db.pragma('journal_mode = wal');
  db.pragma('synchronous = normal');
  db.exec('CREATE TABLE IF NOT EXISTS kv (k INTEGER PRIMARY KEY, v TEXT)');
  db.prepare('INSERT OR REPLACE INTO kv VALUES (1, ?)').run('x'.repeat(300));
} catch {
  // A replica has what its primary wrote.
}
const get = db.prepare('SELECT v FROM kv WHERE k = 1');

const server = createServer((request, response) => {
  if (request.method === 'POST') db.prepare('INSERT OR REPLACE INTO kv VALUES (2, ?)').run(String(Math.random()));
  const body = JSON.stringify(get.get());
  request.resume();
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.keepAliveTimeout = 60_000;
server.listen(port, '127.0.0.1', () => console.log('listening'));
